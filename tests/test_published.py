"""Published numbers beside ours: looked up by the row, marked where they are of another recipe or too far away."""

from __future__ import annotations

from pathlib import Path

import pytest
from make_records import make, row, text, write

from ltbench import labels, published
from ltbench.errors import LtbenchError
from ltbench.tables import load

RESULTS = Path(__file__).parent.parent / "results"
HEADER = ",".join(published.Published.__struct_fields__)


def line(recipe: str, top1: float, label: str = "ce", epochs: int = 200, ci95: str = "", best: str = "false") -> str:
    return f'toy_lt,resnet8,"{label}",{recipe},{epochs},{top1},60,,20,{ci95},false,true,{best},p,t,"a, source",V,'


def board(folder: Path, *lines: str, rights=((9, 5, 1), (9, 6, 1)), **changes):
    made = [make("ce", seed, right=right) for seed, right in enumerate(rights)]
    results = write(folder, [row(made, **changes)], made).parent
    (results / "reported.csv").write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return load(results)


def test_the_row_of_the_same_recipe_comes_first_then_the_first_in_the_file(tmp_path):
    found = board(tmp_path, line("other", 40.0), line("two", 51.0), line("two", 52.0)).rows[0]["reported"]
    assert found is not None and (found["top1"], found["same_recipe"], found["many"]) == (51.0, True, 60.0)
    assert (found["medium"], found["few"], found["source"], found["distilled"]) == (None, 20.0, "a, source", True)
    found = board(tmp_path, line("x", 40.0), line("y", 41.0)).rows[0]["reported"]
    assert found is not None and (found["top1"], found["same_recipe"], found["differs"]) == (40.0, False, None)


@pytest.mark.parametrize(
    ("changed", "same"), [("[precision=bf16]", True), ("[epochs=2]", False), ("[epochs=2, precision=bf16]", False)]
)
def test_a_recipe_of_which_the_precision_alone_was_changed_is_no_other_one(tmp_path, changed, same):
    found = board(tmp_path, line("two", 51.0), recipe=f"two {changed}").rows[0]["reported"]
    assert found is not None and found["same_recipe"] is same
    assert (found["differs"] is None) is not same


def test_another_recipe_is_said_to_be_one(tmp_path):
    shown = text(board(tmp_path, line("other", 40.0)), 200)
    assert "40.0 @200" in shown and "@200: epochs of another recipe, not to be compared" in shown
    shown = text(board(tmp_path, line("two", 51.0)), 200)
    assert "51.0" in shown and "@200" not in shown


def test_the_figure_of_a_best_epoch_is_said_to_be_one(tmp_path):
    shown = text(board(tmp_path, line("two", 51.0, best="true")), 200)
    assert "51.0 best" in shown and "best: of the best epoch on test, not the last" in shown
    shown = text(board(tmp_path, line("two", 51.0)), 200)
    assert "best:" not in shown


@pytest.mark.parametrize(
    ("top1", "ci95", "differs"),
    # ours: 50 and 53.3, mean 51.67, half-width 12.71 * 2.357 / sqrt 2 = 21.2; of one more run, times sqrt 3, 36.7
    [
        (51.0, "", False),
        (88.2, "", False),
        (88.5, "", True),
        (73.0, "0.5", False),
        (73.5, "0.5", True),
        (14.0, "", True),
    ],
)
def test_a_difference_beyond_what_another_run_may_be_is_marked(tmp_path, top1, ci95, differs):
    found = board(tmp_path, line("two", top1, ci95=ci95))
    assert found.rows[0]["reported"]["differs"] is differs
    assert (f"{top1:.1f}!" in text(found, 200)) == differs
    assert ("!: further from ours than another seed" in " ".join(text(found, 200).split())) == differs


def test_one_seed_differs_from_nothing(tmp_path):
    assert board(tmp_path, line("two", 5.0), rights=((9, 5, 1),)).rows[0]["reported"]["differs"] is None


@pytest.mark.parametrize("change", [{"data": "toy_lt(imbalance=9)"}, {"backbone": "resnet9"}, {"label": "ce2"}])
def test_what_is_of_something_else_is_not_shown(tmp_path, change):
    found = board(tmp_path, line("two", 51.0), **change)
    assert found.rows[0]["reported"] is None and "published" not in text(found, 200)


def test_a_suites_own_folder_finds_the_file_beside_it(tmp_path):
    made = [make("ce")]
    folder = write(tmp_path, [row(made)], made)
    (tmp_path / "reported.csv").write_text(f"{HEADER}\n{line('two', 51.0)}\n")
    assert load(folder).rows[0]["reported"] == load(tmp_path).rows[0]["reported"] is not None
    (tmp_path / "reported.csv").rename(tmp_path.parent / "reported.csv")  # beside the results of all suites: not theirs
    try:
        assert load(folder).rows[0]["reported"] is load(tmp_path).rows[0]["reported"] is None
    finally:
        (tmp_path.parent / "reported.csv").unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (("two", "V"), "reported.csv:2"),
        (("51.0", "a lot"), "reported.csv:2: .*top1"),
        ((",V,", ",M,"), "reported.csv:2: .*mark"),
        (("top1", "top-1"), "reported.csv:2"),
        ((",V,\n", ",V,,x\n"), "reported.csv:2"),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path, harm, said):
    path = tmp_path / "reported.csv"
    content = f"{HEADER}\n{line('two', 51.0)}\n".replace(*harm)
    path.write_text(content if harm[0] != "two" else content.replace("false", "maybe"))
    with pytest.raises(LtbenchError, match=said):
        published.read(tmp_path)


def test_no_file_is_no_fault(tmp_path):
    assert published.read(tmp_path) == ()


# The committed file


def test_every_committed_line_names_a_row_as_a_suite_would():
    entries = published.read(RESULTS)
    assert len(entries) > 50
    for entry in entries:
        ref = labels.parse(entry.label)
        assert labels.label(ref.method, ref.options) == entry.label
        assert entry.data.startswith(("cifar100_lt(imbalance=", "cifar10_lt(imbalance="))
        assert (
            entry.recipe in ("ride200", "ldam200", "sade200") and entry.epochs == 200 and entry.backbone == "resnet32"
        )
        assert 20 < entry.top1 < 95 and entry.source
        groups = [g for g in (entry.many, entry.medium, entry.few) if g is not None]
        assert not groups or min(groups) < entry.top1 < max(groups)


def test_the_short_suite_shows_them_as_what_they_are():
    rows = {row["label"]: row for row in load(RESULTS / "cifar100_lt_short").rows}
    found = rows["ride(experts=3)"]["reported"]
    assert found is not None and (found["top1"], found["epochs"], found["same_recipe"]) == (48.82, 200, False)
    assert all(r["reported"] is None or not r["reported"]["same_recipe"] for r in rows.values())
    assert rows["ride_ea"]["reported"]["routing"] and not rows["ride_ea"]["reported"]["distilled"]


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_figure_that_is_no_number_is_refused_with_its_line(tmp_path, value):
    (tmp_path / "reported.csv").write_text(f"{HEADER}\n{line('two', 41.0)}\n{line('two', float(value))}\n")
    with pytest.raises(LtbenchError, match=f"reported.csv:3: top1 must be a number, got '{value}'"):
        published.read(tmp_path)
