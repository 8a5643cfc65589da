"""docs/claims.py: a decimal in a page's prose is a figure of the rows that its paragraph names, or is told."""

import sys
from pathlib import Path

import pytest

from ltbench.compare import compare
from ltbench.tables import load

sys.path.insert(0, str(Path(__file__).parent.parent / "docs"))
import claims

FOLDER = "cifar100_lt"
RIDE = "ride(experts=3)"


@pytest.fixture(scope="module")
def gap():
    (found,) = compare(claims.RESULTS / FOLDER, RIDE, "ce").found
    return found["top1"]


def test_figures_of_the_rows_named_are_right(gap):
    (row,) = (row for row in load(claims.RESULTS / FOLDER).rows if row["label"] == "ce")
    chance = claims.compared(FOLDER, RIDE, "ce")["p"]
    text = (
        f"RIDE is {gap['difference']:.1f} [{gap['low']:.1f}, {gap['high']:.1f}] ahead,\nfor 1.46 times the cost.\n"
        f"p = {chance:.2g}. <!-- of: {RIDE} - ce -->\n\n- `ce` is at {row['top1']['mean']:.1f}. <!-- of: ce -->\n"
    )
    assert claims.wrong(text, FOLDER) == []


def test_a_figure_that_moved_is_told_with_its_line(gap):
    text = f"# Page\n\n| 1.5 |\n\nRIDE is\n{gap['difference'] + 0.1:.1f} ahead. <!-- of: {RIDE} - ce -->\n"
    assert claims.wrong(text, FOLDER) == [
        f"line 5: {gap['difference'] + 0.1:.1f} is no figure of {RIDE} - ce",
    ]


def test_a_figure_of_other_rows_or_of_another_folder_is_none_of_these(gap):
    said = f"RIDE is {gap['difference']:.1f} ahead."
    assert claims.wrong(f"{said} <!-- of: ldam_drw - ce -->", FOLDER)
    assert claims.wrong(f"{said} <!-- of: cifar100_lt_short: {RIDE} - ce -->", FOLDER)
    assert not claims.wrong(f"{said} <!-- of: {FOLDER}: {RIDE} - ce -->", "cifar100_lt_short")


def test_runs_one_by_one_are_figures_where_each_is_said():
    run = next(r for r in claims._runs(FOLDER).values() if r.label == "ce" and r.seed == 2)
    top1 = 100 * sum(run.right) / sum(run.total)
    assert claims.wrong(f"Seed 2 is at {top1:.1f}. <!-- of: each ce -->", FOLDER) == []
    assert claims.wrong(f"Seed 2 is at {top1:.1f}. <!-- of: ldam_drw -->", FOLDER)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("It gains 8.4 points.", "line 1: it has figures (8.4) and no <!-- of: ... -->"),
        ("It gains 8.4. <!-- of: by hand 8.4; nosuch -->", "has no row nosuch"),
        ("It gains 8.4. <!-- of: by hand 8.4; ce - nosuch -->", "nosuch"),
        ("- One 8.4. <!-- of: by hand 8.4 -->\n- Two 8.4.", "line 2: it has figures"),
    ],
)
def test_no_names_and_wrong_names_are_told(text, told):
    (complaint,) = claims.wrong(text, FOLDER)
    assert told in complaint


@pytest.mark.parametrize(
    "text",
    [
        "In 200 epochs `--set recipe.lr=0.1` and [this](page-1.5.md), Python 3.11.",
        "```\n1.5\n```",
        "<!-- table: made by `make leaderboard` -->\n\nIt is 1.5.\n\n<!-- end of table -->",
        "A paper has 48.8. <!-- of: published -->",
    ],
)
def test_code_addresses_and_what_is_made_are_not_looked_at(text):
    assert claims.wrong(text, FOLDER) == []
