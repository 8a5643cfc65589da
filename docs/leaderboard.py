"""Write what the committed records say into README.md and docs/: make leaderboard.

--check: is a page stale, or is a figure of its prose none of the records?
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import claims

from ltbench import analysis_writers, blocks, figures
from ltbench.analysis import analyze
from ltbench.compare import Gap
from ltbench.digits import fixed
from ltbench.tables import Options, load
from ltbench.writers import render

HERE = Path(__file__).parent.parent
RESULTS = HERE / "results"
FULL, SHORT = RESULTS / "cifar100_lt", RESULTS / "cifar100_lt_short"
PICTURE = HERE / "docs" / "cifar100-lt-gain.svg"
PARTS = ("top1", "many", "medium", "few")
COLUMNS = ("label", "n", *PARTS, "gain", "ece", "alone", "macs", "macs_used")
RIDE, INDIVIDUAL = "ride(experts=3)", "ride(experts=3, diversity=0)"
HEADLINE = "ride_ea(base=ride_distill(experts=3))"
PAIRS = (  # A, B, what the difference between them shows
    (RIDE, "ce", "all of RIDE"),
    (RIDE, "ldam_drw", "RIDE over its base loss on one full network"),
    ("ride(experts=2)", "ldam_drw", "RIDE at the cost of about one full network of its base loss"),
    ("ldam_drw", "ce", "that loss alone"),
    ("ldam_drw", "ce_drw", "LDAM's margins and cosine head; both rows have late class weights"),
    ("ride(experts=1)", "ce", "that loss on one expert of three quarters of the channels"),
    (RIDE, "ride(experts=1)", "three experts in place of one, with the diversity loss"),
    ("ride(experts=2)", "ride(experts=1)", "a second expert"),
    (RIDE, "ride(experts=2)", "a third"),
    ("ride(experts=4)", RIDE, "a fourth"),
    (INDIVIDUAL, "ride(experts=1)", "three experts in place of one, no diversity loss"),
    (RIDE, INDIVIDUAL, "the diversity loss"),
    (INDIVIDUAL, "ride(experts=3, diversity=0, joint=true)", "each expert's loss by itself, not that of their mean"),
    (RIDE, "ride(experts=3, loss=ce)", "LDAM-DRW in place of cross-entropy, within RIDE"),
    (
        "ride(experts=3, loss=ce)",
        "ce",
        "three cosine experts of cross-entropy in place of one linear network",
    ),
    ("ride_ea", RIDE, "routing"),
    ("ride_distill(experts=3)", RIDE, "distillation from six experts"),
    (HEADLINE, "ride_distill(experts=3)", "routing, after distillation"),
    (HEADLINE, "ce", "RIDE as its paper reports it: distilled and routed"),
    ("ensemble(size=3)", "ce", "three whole networks of cross-entropy over one"),
    ("ride(experts=3, loss=ce)", "ensemble(size=3)", "three cosine experts of cross-entropy over those three networks"),
    (RIDE, "ensemble(size=3)", "RIDE over three whole networks of cross-entropy"),
    (RIDE, "ensemble(base=ldam_drw, size=3)", "RIDE over three whole networks of its base loss"),
    ("ride(experts=4)", "ensemble(base=ldam_drw, size=3)", "four experts over those three networks"),
    ("ride(experts=4)", "ldam_drw", "four experts over one full network of their loss"),
    ("ensemble(base=ldam_drw, size=3)", "ldam_drw", "what three whole networks gain over one"),
    (RIDE, "crt", "RIDE over a classifier that is trained again"),
    (RIDE, "lws", "RIDE over a classifier whose rows are scaled"),
    (RIDE, "tau_norm(tau=1)", "RIDE over a classifier of equal norms, which costs no training"),
    (RIDE, "ncm", "RIDE over the nearest class mean of cross-entropy's features"),
    (RIDE, "balanced_softmax", "RIDE over the simplest re-balanced loss"),
    (RIDE, "ce_drw", "RIDE over cross-entropy whose class weights come late"),
    ("logit_adjustment", "balanced_softmax", "one loss under two names: any difference is chance"),
    (RIDE, "bbn", "RIDE over two branches on two streams"),
)


def leaderboard(folder: Path, *more: str) -> str:
    """The rows that have run, and how many have not; more: columns besides COLUMNS."""
    options = Options(columns=(*COLUMNS, *more))
    board = load(folder, options)
    ran = [row for row in board.rows if row["n"]]
    table = render(replace(board, rows=ran), "md", options)
    left = len(board.rows) - len(ran)
    return (
        f"{table}\nRows of the suite that have not run yet: {left}; `ltbench table results` shows all."
        if left
        else table
    )


def comparisons(folder: Path) -> str:
    """A line per pair that has run: A minus B in points, with its interval, and A's multiply-adds over B's."""
    ran = {row["label"] for row in load(folder).rows if row["n"]}
    lines = [
        "| A | B | what it shows | n | all | many | medium | few | MACs |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for a, b, shows in PAIRS:
        if a in ran and b in ran:
            found = claims.compared(folder.name, a, b)
            gaps = (found["top1"], found["many"], found["medium"], found["few"])
            cost = claims.cost(folder.name, a, b, found["seeds"])
            shown = [f"`{a}`", f"`{b}`", shows, str(len(found["seeds"])), *map(_gap, gaps), f"x {fixed(cost, 2)}"]
            lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines)


def _gap(gap: Gap) -> str:
    value, low, high = (fixed(gap[key], sign=True) for key in ("difference", "low", "high"))
    return value if gap["low"] is None else f"{value} [{low}, {high}]"


def example() -> str:
    """One row of `table --format json`, a key a line."""
    (row,) = (row for row in json.loads(render(load(FULL), "json")) if row["label"] == RIDE)
    return (
        "```json\n{" + ",\n ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in row.items()) + "}\n```"
    )


def bias_variance() -> str:
    """What `ltbench analyze` prints of the committed draws, without what needs their logits."""
    return analysis_writers.render(
        analyze(RESULTS / "bias_variance", Path("runs that are not committed")), "md"
    ).rstrip()


PAGES: dict[Path, dict[str, Callable[[], str]]] = {
    HERE / "README.md": {
        "leaderboard": partial(leaderboard, FULL, "reported"),
        "comparisons": partial(comparisons, FULL),
        "example": example,
    },
    HERE / "docs" / "short-suite.md": {
        "leaderboard": partial(leaderboard, SHORT),
        "comparisons": partial(comparisons, SHORT),
    },
    HERE / "docs" / "bias-variance.md": {"analysis": bias_variance},
    HERE / "docs" / "how-sure.md": {},  # its table is that of benchmarks/null.py
}


PROSE = {  # page -> the results that it is about
    HERE / "README.md": FULL,
    HERE / "docs" / "short-suite.md": SHORT,
    HERE / "docs" / "how-sure.md": FULL,
}


def picture() -> str:
    """The gains of the 200-epoch rows by group, as `ltbench plot` draws them, marked with what they were drawn from."""
    (block,), _ = blocks.load(FULL, Path("runs that are not committed"))
    (gain,) = (kind for kind in figures.KINDS if kind.name == "gain")
    return figures.drawn(gain, block, "svg").decode() + mark()


def mark() -> str:
    """The last line of the picture: other versions of matplotlib draw other bytes, so what it shows is compared."""
    shown = [[dict(row)[key] for key in ("label", "n", *PARTS)] for row in load(FULL).rows if row["n"]]
    return f"<!-- of: {hashlib.sha256(json.dumps(shown).encode()).hexdigest()} -->\n"


def written(page: Path) -> str:
    """A page as it should be."""
    text = page.read_text(encoding="utf-8")
    for name, make in PAGES[page].items():
        begin, end = f"<!-- {name}: made by `make leaderboard` -->", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n\n{make()}\n\n{end}{rest.split(end)[1]}"
    return text


def stale(page: Path) -> bool:
    """Whether a page, or the picture, is not what the records make now."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    return not text.endswith(mark()) if page == PICTURE else text != written(page)


def unfounded(page: Path) -> list[str]:
    """What docs/claims.py finds wrong with the figures in a page's prose."""
    if page not in PROSE:
        return []
    results, _, _ = page.read_text(encoding="utf-8").partition("## A first tour")
    return claims.wrong(results, PROSE[page].name)


def main() -> int:
    """Write what is stale. Arguments: names of pages, else all; --check: write nothing.

    0; 1 where --check finds a page stale, or the figures of its prose are not those of the records: those a person
    writes; 2 for a name of no page.
    """
    check, named = "--check" in sys.argv[1:], {word for word in sys.argv[1:] if word != "--check"}
    pages = {page.name: page for page in (*PAGES, PICTURE)}
    if named - set(pages):
        print("no such page:", *named - set(pages), "of", *pages, file=sys.stderr)
        return 2
    chosen = [page for name, page in pages.items() if not named or name in named]
    found = [page for page in chosen if stale(page) or (page == PICTURE and not check)]  # it may be drawn otherwise
    if check and found:
        print("stale:", *found, file=sys.stderr)
    for page in found if not check else []:
        page.write_text(picture() if page == PICTURE else written(page), encoding="utf-8")
    prose = [f"{page.name} {complaint}" for page in chosen for complaint in unfounded(page)]
    print(*prose, sep="\n", end="\n" if prose else "", file=sys.stderr)
    return int(bool(prose) or (check and bool(found)))


if __name__ == "__main__":
    sys.exit(main())
