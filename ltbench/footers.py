"""What stands over and under a block of the leaderboard: what it holds, and what one must know to believe it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import paired
from .data.spec import IN_FILES
from .schema import TableRow
from .scores import is_resampled


def heading(of: Mapping[str, Any]) -> str:
    """What a block holds, in a line; of: a row of it, or whatever else names its suite, data, backbone and recipe."""
    return f"{of['suite']}: {of['data']}, {of['backbone']}, recipe {of['recipe'] or '(unnamed)'}"


LEFT_OUT = "Only the rows that --only names, and the baseline; the suite may have more."
TRAIN_MIN = "Train min: of the run alone, without those that it starts from."


def limits(many: int, few: int) -> str:
    """Which classes are many, medium and few; no class has fewer images than none."""
    if not few:
        return f"many > {many} training images, the others medium"
    return f"many > {many}, medium {few}..{many}, few < {few} training images"


def reasons(rows: Sequence[TableRow]) -> list[str]:
    """Why rows of a block are not complete, where that is known."""
    return [f"{row['label']}: {row['reason']}" for row in rows if row["reason"]]


def footer(
    rows: Sequence[TableRow], shown: Sequence[str] | None = None, *, bold: bool = True, only: bool = False
) -> list[str]:
    """What one must know to believe a block's figures.

    shown: the keys of the columns that are; None for all. bold: whether the best can be seen to be bold. only: whether
    the block may have more rows.
    """
    return [*([LEFT_OUT] if only else []), *_footer(rows, shown, bold)]


def _footer(rows: Sequence[TableRow], shown: Sequence[str] | None, bold: bool) -> list[str]:
    ran = [row for row in rows if row["n"]]
    if not ran:
        return ["Nothing has run." if all(row["status"] == "missing" for row in rows) else "No figures."]
    commits = sorted({commit for row in ran for commit in row["commits"]})
    devices = sorted({device for row in ran for device in row["devices"]})
    (many, few), prints = ran[0]["groups"] or (0, 0), ran[0]["fingerprints"] or {}
    several = any(row["n"] > 1 for row in ran)
    run = "draw" if is_resampled(ran[0]["data"]) else "seed"
    spread = f"± is Student's 95 % half-width over {run}s" if several else f"one {run}: no interval"
    baseline = next((row["gain"]["baseline"] for row in rows if row["gain"]), None)
    of = "" if ran[0]["metric"] == "top1" else f" of {ran[0]['metric']}"
    return [
        f"Top-1 in per cent at the last epoch; {spread}; n {run}s."
        + (f" Gain{of}: over {baseline}, by the {run}s that both have." if baseline else ""),
        *_rescored(ran),
        *(_about_best(ran) if bold and (shown is None or {"top1", "score"} & set(shown)) else []),
        *(_about_published(rows) if shown is None or "reported" in shown else []),
        *(_about_alone(ran) if shown is None or "alone" in shown else []),
        *([TRAIN_MIN] if shown is None or "seconds" in shown else []),
        f"{limits(many, few)}. MACs of convolutions and matrix products.",
        f"Rows {prints.get('rows', '')[:8]}, {'files' if ran[0]['data'].partition('(')[0] in IN_FILES else 'pixels'} "
        f"{prints.get('train', '')[:8]}, commit {', '.join(commits)}, "
        f"{', '.join(devices)}.",
    ]


def _rescored(ran: Sequence[TableRow]) -> list[str]:
    notes = []
    if ran[0]["test_list"] != "uniform":
        weights = f"Test images weigh as in {ran[0]['test_list']} (LADE, SADE)"
        notes.append(f"{weights}: top-1 and macro F1 are expected values over its draws.")
    adjust = ran[0]["adjust"]
    if adjust and adjust["oracle"]:
        notes.append("Oracle: each row's tau is the best on the test set; an upper bound, not ranked.")
    elif adjust:
        notes.append(f"All logits lowered by {adjust['tau']:g} * log(training frequency) after training.")
    return notes


def _about_best(ran: Sequence[TableRow]) -> list[str]:
    best = [row["label"] for row in ran if row["best"]]
    if not best:
        return []
    metric, untested = ran[0]["metric"], [row["label"] for row in ran if row["best"] is None]
    highest = f"Bold: the highest {metric.replace('top1', 'top-1')}"
    why = "no seed in common, too few, no predictions, or no spread"
    if len(best) + len(untested) == len(ran) and len(best) == 1:
        return [f"{highest}. The others could not be tested against it: {why}."]
    test = "Student's, paired over seeds"
    if metric in ("top1", "balanced"):
        plain = metric == "top1" and ran[0]["test_list"] == "uniform"
        alone = "McNemar's mid-p" if plain else "McNemar's mid-p, or Student's where images weigh differently,"
        test = f"paired over seeds and test images (Behrens-Fisher; {alone} at one seed)"
    return [
        f"{highest}, and those not told apart from it: p >= {paired.LEVEL}, {test}, uncorrected."
        + (" At one seed: over other test images, not over another seed." if any(row["n"] == 1 for row in ran) else ""),
        *([f"Not tested against it ({why}): {', '.join(untested)}."] if untested else []),
    ]


def _about_alone(ran: Sequence[TableRow]) -> list[str]:
    known = any(row["alone"]["mean"] is not None for row in ran)
    return (
        ["Alone: the mean top-1 of the single experts, or of an ensemble's networks, by themselves."] if known else []
    )


def _about_published(rows: Sequence[TableRow]) -> list[str]:
    found = [row["reported"] for row in rows if row["reported"]]
    if not found:
        return []
    elsewhere = sorted({r["epochs"] for r in found if not r["same_recipe"]})
    other = (
        f"; @{' and @'.join(map(str, elsewhere))}: epochs of another recipe, not to be compared" if elsewhere else ""
    )
    apart = "; !: further from ours than another seed of ours would be" if any(r["differs"] for r in found) else ""
    best = "; best: of the best epoch on test, not the last" if any(r["best_epoch"] for r in found) else ""
    return [f"Published: top-1, see reported.csv{best}{other}{apart}."]
