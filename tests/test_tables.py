"""Records -> leaderboard: figures worked by hand, every status, every format, every option."""

from __future__ import annotations

import json
import re
from pathlib import Path

import make_records
import numpy as np
import pytest
from make_records import make, predicted, row, text, write

from ltbench import columns, footers, record, tables
from ltbench.errors import LtbenchError
from ltbench.schema import TableRow
from ltbench.tables import Options, load
from ltbench.writers import render

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """The results folder of make_records.five()."""
    return write(tmp_path_factory.mktemp("five"), *make_records.five()).parent


def by_label(board: tables.Leaderboard) -> dict[str, dict]:
    return {row["label"]: row for row in board.rows}


def cells(shown: str, label: str) -> list[str]:
    """The words of a row, as printed."""
    (line,) = (line for line in shown.splitlines() if line.startswith(label))
    return line.removeprefix(label).split()


# Figures


def test_figures_are_those_worked_by_hand(five):
    rows = by_label(load(five))
    # ce: 50, 60, 70; sd 10; t(2) = 4.302653, over sqrt 3
    # ride: 60 and 90; sd 30 / sqrt 2; t(1) = 12.706205, over sqrt 2
    assert rows["ce"]["top1"] == pytest.approx({"mean": 60, "sd": 10, "ci95": 24.841377})
    assert rows["ride(experts=3)"]["top1"] == pytest.approx({"mean": 75, "sd": 21.213203, "ci95": 12.7062047 * 15})
    # of ce: the class of 200 images is 90, 90, 90; that of 60 is 50, 60, 70; that of 5 is 10, 30, 50
    for name, mean, sd in (("many", 90, 0), ("medium", 60, 10), ("few", 30, 20), ("ece", 10, 0)):
        assert (rows["ce"][name]["mean"], rows["ce"][name]["sd"]) == pytest.approx((mean, sd)), name
    # seeds 0 and 2, which both have: 60 - 50 and 90 - 70
    expected = {"mean": 15, "ci95": 12.7062047 * 5, "n": 2}
    gain = rows["ride(experts=3)"]["gain"]
    assert gain["baseline"] == "ce" and {key: gain[key] for key in expected} == pytest.approx(expected)
    assert rows["ce"]["gain"] is None and rows["bbn"]["gain"] is None
    assert rows["bbn"]["top1"] == {"mean": None, "sd": None, "ci95": None}


def test_a_row_has_the_fields_of_its_type_in_that_order(five):
    for found in json.loads(render(load(five), "json")):
        assert list(found) == list(TableRow.__annotations__)


def test_the_example_in_the_readme_names_fields_in_their_order():
    (example,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    documented = list(json.loads(example))
    assert documented == [key for key in TableRow.__annotations__ if key in documented]


@pytest.mark.parametrize("key", ["suite", "data", "params", "macs_used", "seconds", "commits", "groups", "seeds"])
def test_a_documented_field_has_the_documented_type(five, key):
    (example,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    assert type(load(five).rows[0][key]) is type(json.loads(example)[key])


def test_the_mean_of_what_varies_from_run_to_run(tmp_path):
    speeds = [make("ce", seed, volatile=record.Volatile(seconds=60.0 * seed, commit="a" * 40)) for seed in (1, 2)]
    (found,) = load(write(tmp_path, [row(speeds)], speeds)).rows
    assert found["seconds"] == 90 and found["commits"] == ["aaaaaaaaaa+"]


def test_a_row_names_every_commit_and_device_that_trained_its_runs(tmp_path):
    part = record.Stretch(first=0, until=7, device="cpu: another chip", commit="b" * 40, clean=True)
    made = record.Volatile(device="cpu: a chip", commit="a" * 40, clean=True, earlier=(part,))
    runs = [make("ce", volatile=made)]
    (found,) = load(write(tmp_path, [row(runs)], runs)).rows
    assert found["commits"] == ["aaaaaaaaaa", "bbbbbbbbbb"] and found["devices"] == ["cpu: a chip", "cpu: another chip"]


def test_one_seed_has_no_interval(tmp_path):
    ours, theirs = make("ride(experts=3)", right=(9, 9, 9)), make("ce")
    board = load(write(tmp_path, [row([theirs]), row([ours])], [theirs, ours]))
    assert by_label(board)["ride(experts=3)"]["gain"] == {"baseline": "ce", "mean": 40, "ci95": None, "n": 1}
    shown = text(board, 100)
    assert cells(shown, "ride(experts=3)")[:6] == ["1", "90.0", "90.0", "90.0", "90.0", "+40.0"]
    assert "one seed: no interval" in shown


# Statuses


def ended(status: str, reason: str = "") -> list[record.Record]:
    return [make("bbn", seed, status=status, reason=reason) for seed in (0, 1)]


@pytest.mark.parametrize("status", ["failed", "oom", "diverged"])
def test_a_row_without_a_complete_run_shows_its_status_and_the_reason(tmp_path, status):
    made = ended(status, "it [was] bad")
    board = load(write(tmp_path, [row(made)], made, baseline="bbn"))
    (found,) = board.rows
    assert (found["status"], found["n"], found["seeds"], found["asked"]) == (status, 0, [], 2)
    assert found["reason"] == f"seed 0 {status}: it [was] bad; seed 1 {status}: it [was] bad"
    assert found["top1"]["mean"] is None and found["params"] is None and found["macs_used"] is None
    assert cells(text(board, 80), "bbn  ")[:5] == ["0", status, "n/a", "n/a", "n/a"]


def test_a_row_that_has_not_run_is_missing(tmp_path):
    board = load(write(tmp_path, [row(ended("failed"))], []))
    assert (board.rows[0]["status"], board.rows[0]["reason"], board.rows[0]["n"]) == ("missing", "", 0)
    shown = text(board, 80)
    assert cells(shown, "bbn")[:2] == ["0", "missing"] and "Nothing has run." in shown


def test_a_skipped_row_says_why(tmp_path):
    board = load(write(tmp_path, [row([make("bbn")], keys={}, skip="needs 32 pixels")], []))
    assert (board.rows[0]["status"], board.rows[0]["reason"], board.rows[0]["asked"]) == (
        "skipped",
        "needs 32 pixels",
        0,
    )
    assert cells(text(board, 80), "bbn  ")[:2] == ["0", "skipped"]


@pytest.mark.parametrize("status", ["failed", "oom", "diverged"])
def test_nothing_is_averaged_over_a_run_that_did_not_complete(tmp_path, status):
    # even where its record should hold figures
    good, bad = make("ce", 0), make("ce", 1, **make_records.DONE | {"right": (0, 0, 0)}, status=status, reason="why")
    board = load(write(tmp_path, [row([good, bad])], [good, bad]))
    (found,) = board.rows
    assert (found["status"], found["n"], found["seeds"], found["asked"]) == ("partial", 1, [0], 2)
    assert found["top1"] == {"mean": 50, "sd": None, "ci95": None} and found["reason"] == f"seed 1 {status}: why"
    shown = text(board, 80)
    assert cells(shown, "ce  ")[:5] == ["1", "50.0", "(1", "of", "2)"]
    assert f"ce: seed 1 {status}: why" in shown


def test_a_refused_record_is_named_and_the_rest_is_shown(tmp_path):
    good, bad = make("ce"), make("bbn")
    folder = write(tmp_path, [row([good]), row([bad])], [good, bad])
    path = folder / f"{bad.stem}.json"
    path.write_text(path.read_text().replace('"right": [\n  9', '"right": [\n  10'))
    board = load(tmp_path)
    assert [row["status"] for row in board.rows] == ["complete", "refused"]
    assert board.rows[1]["reason"] == "seed 0 refused" and board.rows[1]["top1"]["mean"] is None
    assert len(board.refused) == 1 and str(path) in board.refused[0]
    assert cells(text(board, 80), "bbn  ")[:2] == ["0", "refused"]


def test_a_record_that_no_row_asks_for_is_not_counted(tmp_path):
    ce, parent = make("ce"), make("ride(experts=3)")
    board = load(write(tmp_path, [row([ce])], [ce, parent]))
    assert [row["label"] for row in board.rows] == ["ce"] and board.rows[0]["n"] == 1


# Blocks


def test_rows_of_different_blocks_stand_in_different_tables(tmp_path):
    small = make("ce", backbone="resnet8"), make("ride(experts=3)", right=(9, 9, 9))
    large = (
        make("ce", backbone="resnet20", right=(1, 1, 1)),
        make("ride(experts=3)", backbone="resnet20", right=(2, 2, 2)),
    )
    rows = [row([r], block=r.backbone) for pair in zip(small, large, strict=True) for r in pair]
    board = load(write(tmp_path, rows, [*small, *large]))
    assert [[r["backbone"] for r in block] for block in tables.blocks(board.rows)] == [
        ["resnet8"] * 2,
        ["resnet20"] * 2,
    ]
    # gains are over the baseline of the row's own block: 90 - 50 and 20 - 10
    gains = {(r["backbone"], r["label"]): r["gain"] and r["gain"]["mean"] for r in board.rows}
    assert gains["resnet8", "ride(experts=3)"] == pytest.approx(40)
    assert gains["resnet20", "ride(experts=3)"] == pytest.approx(10)
    for kind, heading in (("md", "**toy: "), ("latex", "% toy: "), ("html", "<h2>toy: ")):
        assert render(board, kind).count(heading) == 2
    assert text(board, 80).count("toy: toy_lt, resnet") == 2
    # best first by top-1: but never across blocks
    sorted_rows = load(tmp_path, Options(sort="top1")).rows
    assert [(r["backbone"], r["label"]) for r in sorted_rows] == [
        ("resnet8", "ride(experts=3)"), ("resnet8", "ce"), ("resnet20", "ride(experts=3)"), ("resnet20", "ce"),
    ]  # fmt: skip


def test_suites_stand_in_different_tables_even_where_their_blocks_are_one(tmp_path):
    for suite in ("one", "two"):
        ce = make("ce", suite=suite)
        write(tmp_path, [row([ce])], [ce], suite=suite)
    board = load(tmp_path)
    assert [[r["suite"] for r in block] for block in tables.blocks(board.rows)] == [["one"], ["two"]]


# Options


def test_another_baseline(five):
    rows = by_label(load(five, Options(baseline="ride(experts=3)")))
    assert rows["ride(experts=3)"]["gain"] is None
    assert rows["ce"]["gain"]["baseline"] == "ride(experts=3)" and rows["ce"]["gain"]["mean"] == pytest.approx(-15)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("top1", ["ride(experts=3)", "ce", "bbn"]),
        ("top-1", ["ride(experts=3)", "ce", "bbn"]),
        ("few", ["ride(experts=3)", "ce", "bbn"]),
        ("gain", ["ride(experts=3)", "ce", "bbn"]),
        ("params", ["ce", "ride(experts=3)", "bbn"]),  # less is better
        ("macs_used", ["ce", "ride(experts=3)", "bbn"]),
    ],
)
def test_sorted_best_first_and_what_has_no_value_last(five, column, expected):
    assert [r["label"] for r in load(five, Options(sort=column)).rows] == expected


def test_a_lower_calibration_error_is_better(tmp_path):
    worse = record.Calibration(count=(30,), right=(10,), confidence=(25.0,))
    made = [make("ce", calibration=worse), make("bbn")]
    folder = write(tmp_path, [row([r]) for r in made], made)
    assert [r["label"] for r in load(folder, Options(sort="ece")).rows] == ["bbn", "ce"]


def test_the_chosen_columns_in_the_order_asked_for(five):
    options = Options(columns=("label", "few", "top-1"))
    assert render(load(five), "md", options).splitlines()[2].replace(" ", "") == "|method|few|top-1|"
    assert text(load(five), 80, options).splitlines()[1].split() == ["method", "few", "top-1"]


def test_without_top1_the_first_column_says_of_how_many_seeds_a_row_is(five):
    """A row of two seeds of three, and one that is missing, looked complete."""
    for asked in (("few", "gain"), ("label", "few")):
        shown = columns.chosen_columns(asked)
        said = {row["label"]: [column.text(row) for column in shown] for row in load(five).rows}
        assert [line[0].rpartition(" (")[2] for line in said.values()] == [said["ce"][0], "2 of 3)", "missing)"]
        assert not any("(" in cell for line in said.values() for cell in line[1:])
    assert "(" not in columns.chosen_columns(("label", "top1"))[0].text(load(five).rows[2])


def test_a_column_in_which_no_row_says_more_is_shown_when_asked_for(tmp_path):
    made = [make("ce"), make("bbn")]
    board = load(write(tmp_path, [row([r]) for r in made], made))
    assert not {"score", "macs_used", "reported"} & {c.key for c in columns.chosen_columns((), board.rows)}
    (score,) = columns.chosen_columns(("score",), board.rows)
    assert score.text(board.rows[0]) == columns.chosen_columns(("top1",))[0].text(board.rows[0]) == "50.0"
    routed = [make("ce"), make("ride_ea", macs=2e8, macs_used=1e8)]
    board = load(write(tmp_path / "routed", [row([r]) for r in routed], routed))
    assert "macs_used" in {c.key for c in columns.chosen_columns((), board.rows)}


def test_other_groups(five):
    board = load(five, Options(groups=(50, 50)))
    found = by_label(board)["ce"]
    assert found["groups"] == [50, 50] and found["medium"] == {"mean": None, "sd": None, "ci95": None}
    assert found["many"]["mean"] == pytest.approx(75) and found["few"]["mean"] == pytest.approx(30)
    shown = text(board, 80)
    assert "many > 50, medium 50..50, few < 50" in shown
    assert cells(shown, "ce  ")[1:5] == ["60.0±24.8", "75.0", "n/a", "30.0"]
    assert found["top1"] == by_label(load(five))["ce"]["top1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(baseline="cee"), "--baseline: unknown row 'cee'; did you mean 'ce'?"),
        (Options(sort="top2"), "--sort: unknown column 'top2'; did you mean 'top1'?"),
        (Options(sort="label"), "--sort: unknown column 'label'"),
    ],
)
def test_an_option_that_names_nothing_says_what_there_is(five, options, message):
    with pytest.raises(LtbenchError) as caught:
        load(five, options)
    assert str(caught.value).startswith(message) and "(allowed: " in str(caught.value)


@pytest.mark.parametrize("kind", ["text", "md"])
def test_an_unknown_column_names_the_nearest(five, kind):
    options = Options(columns=("label", "meny"))
    with pytest.raises(LtbenchError, match=r"--columns: unknown column 'meny'; did you mean 'many'\?"):
        text(load(five), 80, options) if kind == "text" else render(load(five), kind, options)


@pytest.mark.parametrize(
    ("data", "said"), [("cifar100_lt(imbalance=100)", "pixels"), ("folder(pets)", "files"), ("inat18", "files")]
)
def test_the_footer_says_what_was_hashed(five, data, said):
    rows = [found | {"data": data} for found in load(five).rows]
    assert any(f", {said} " in line for line in footers.footer(rows))


def test_single_experts_are_shown_beside_their_mean(tmp_path):
    # 30 test images: experts right on 12 and 18, then on 15 and 21, by themselves
    seeds = (((4, 4, 4), (6, 6, 6)), ((5, 5, 5), (7, 7, 7)))
    ride = [make("ride(experts=2)", seed, members=members) for seed, members in enumerate(seeds)]
    ce = [make("ce", seed) for seed in range(2)]
    plain = load(write(tmp_path, [row(ce), row(ride)], [*ce, *ride]))
    assert plain.rows[1]["alone"]["mean"] == pytest.approx(55) and plain.rows[0]["alone"]["mean"] is None
    (column,) = (c for c in columns.chosen_columns((), plain.rows) if c.key == "alone")
    assert [column.text(r) for r in plain.rows] == ["", "55.0"]
    assert any(note.startswith("Alone: the mean top-1") for note in footers.footer(plain.rows))
    shifted = load(tmp_path, tables.Options(test_list="forward50"))
    assert shifted.rows[1]["alone"]["mean"] is None, "counts per class know no weights"


# Bold


def board(folder: Path, *rows: list[record.Record], **options) -> tables.Leaderboard:
    return load(write(folder, [row(made) for made in rows], [run for made in rows for run in made]), Options(**options))


def said(found: tables.Leaderboard) -> str:
    return " ".join(footers.footer(found.rows))


def test_a_row_that_is_ahead_on_the_seeds_it_shares_with_the_best_is_not_behind_it(tmp_path):
    """ce's mean is the highest for its other seeds; on the only one that both have, bbn is 20 of 30 images ahead."""
    ce = [predicted("ce", seed, right) for seed, right in enumerate([(0, 0, 0), (10, 10, 10), (10, 10, 10)])]
    found = board(tmp_path, ce, [predicted("bbn", 0, (7, 7, 6))])
    assert [(r["label"], r["best"]) for r in found.rows] == [("ce", True), ("bbn", True)]
    assert found.rows[0]["top1"]["mean"] == pytest.approx(200 / 3) and found.rows[1]["gain"]["mean"] > 0
    assert "by the seeds that both have" in said(found)


def test_what_cannot_be_tested_is_not_called_as_good(tmp_path):
    """No seed in common; or a seed without predictions."""
    found = board(tmp_path / "a", [predicted("ce", 0, (9, 9, 9))], [predicted("bbn", 1, (1, 1, 1))])
    assert [r["best"] for r in found.rows] == [True, None]
    assert "Bold: the highest top-1. The others could not be tested against it: no seed in common" in said(found)
    bare = [make("bbn", 0, right=(1, 1, 1))]
    found = board(tmp_path / "b", [predicted("ce", 0, (9, 9, 9))], bare, [predicted("lws", 0, (9, 9, 8), offset=1)])
    assert [r["best"] for r in found.rows] == [True, None, True]
    assert "Not tested against it (no seed in common, too few, no predictions, or no spread): bbn." in said(found)


def test_of_one_seed_the_worst_class_tells_nothing(tmp_path):
    found = board(tmp_path, [predicted("ce", 0, (9, 9, 9))], [predicted("bbn", 0, (1, 1, 1))], metric="worst")
    assert [r["best"] for r in found.rows] == [True, None] and "could not be tested" in said(found)


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_footer_says_what_one_seed_does_not_tell(tmp_path, seeds):
    rows = [[predicted(name, s, (9, 9 - s, k), offset=k) for s in range(seeds)] for k, name in enumerate(("ce", "bbn"))]
    shown = said(board(tmp_path, *rows))
    assert ("At one seed: over other test images, not over another seed." in shown) == (seeds == 1)


def test_classes_without_test_images_do_not_stop_a_test(tmp_path):
    rows = []
    for label, right in (("ce", (9, 0, 9)), ("bbn", (1, 0, 1))):
        guess = [c if i < right[c] else 1 for c in (0, 2) for i in range(10)]
        stored = record.encode(np.array(guess))
        rows.append([make(label, 0, right=right, total=(10, 0, 10), calibration=None, predictions=stored)])
    found = board(tmp_path, *rows, metric="balanced")
    assert [r["score"]["mean"] for r in found.rows] == [90, 10] and [r["best"] for r in found.rows] == [True, False]


@pytest.mark.parametrize(
    ("statuses", "named"),
    [(("failed", "oom", "diverged"), "diverged"), (("failed", "oom"), "oom"), (("oom", "diverged"), "diverged")],
)
def test_the_worst_of_several_ends_is_named(tmp_path, statuses, named):
    made = [make("ce", seed, status=status) for seed, status in enumerate(statuses)]
    (found,) = load(write(tmp_path, [row(made)], made)).rows
    assert found["status"] == named and found["reason"].count("seed") == len(statuses)
