"""What `ltbench analyze` prints, in each format."""

from __future__ import annotations

import csv
import io
import json

import pytest
import simulated_records as simulated
from markdown_it import MarkdownIt
from test_hostile import HOSTILE

from ltbench import (
    analysis_writers,
)
from ltbench.analysis import QUANTITIES, analyze
from ltbench.errors import LtbenchError
from ltbench.markup import STYLES

pytestmark = pytest.mark.usefixtures("fewer_resamples")


def test_text_fits_80_columns_and_has_a_table_a_quantity(toy):
    found = analyze(toy, toy.parent / "runs")
    shown = simulated.text_of(found)
    assert max(map(len, shown.splitlines())) <= 80
    for name in QUANTITIES:
        assert analysis_writers.TITLES[name] in shown
    for phrase in ("Difference in variance", "ride(experts=2) - ride(experts=1)", "(chance)", "Over 4 draws", "±"):
        assert phrase in shown


def test_another_baseline_is_compared_with_all_others(toy):
    (block,) = analyze(toy, toy.parent / "runs", "ldam_drw").blocks
    over = [c["a"] for c in block["contrasts"] if c["what"] == "over the baseline"]
    assert over == ["ce", "ride(experts=1)", "ride(experts=2)", "ride(experts=3)", "ride(experts=3, diversity=0)"]
    assert all(c["b"] == "ldam_drw" for c in block["contrasts"] if c["what"] == "over the baseline")


def test_a_baseline_that_is_no_row_is_refused(toy):
    with pytest.raises(LtbenchError, match=r"--baseline: unknown row 'ldam_drv'.*ldam_drw"):
        analyze(toy, toy.parent / "runs", "ldam_drv")


def test_json_is_the_typed_rows_and_csv_has_all_numbers(toy):
    found = analyze(toy, toy.parent / "runs")
    assert json.loads(analysis_writers.render(found, "json")) == found.blocks
    lines = list(csv.DictReader(io.StringIO(analysis_writers.render(found, "csv"))))
    (block,) = found.blocks
    few = [line for line in lines if (line["kind"], line["label"], line["group"]) == ("group", "ce", "few")]
    assert {line["quantity"] for line in few} == {*QUANTITIES, *analysis_writers.HARD_NEGATIVES}
    for line in few:
        if line["quantity"] in QUANTITIES:
            one = simulated.row_of(block, "ce")["groups"]["few"]["figures"][line["quantity"]]
            assert [float(line[key]) for key in ("value", "low", "high")] == pytest.approx(list(one.values()))
    classes = {line["class"] for line in lines if line["kind"] == "class"}
    assert classes == set(map(str, range(9)))
    assert {line["minus"] for line in lines if line["kind"] == "difference"} >= {"ce", "ride(experts=1)"}


@pytest.mark.parametrize("kind", ["md", "latex"])
def test_markdown_and_latex_have_the_tables_of_the_text(toy, kind):
    found = analyze(toy, toy.parent / "runs")
    made = analysis_writers.render(found, kind)
    (block,) = found.blocks
    tables = len(analysis_writers.panels(block))
    assert made.count("| method") + made.count("| A - B") + made.count(r"\toprule") == tables
    assert made.count("ride(experts=3, diversity=0)") >= tables
    assert ("% needs the package booktabs" in made) == (kind == "latex")
    if kind == "latex":  # each under its title, in a paragraph of its own
        titles = [
            rf"\noindent\textbf{{{STYLES['latex'].write(panel.title)}}}" for panel in analysis_writers.panels(block)
        ]
        assert [part.partition(r"\par")[0] for part in made.split("\n\n")[1:] if part.strip()] == titles[1:]


@pytest.mark.usefixtures("fewer_resamples")
@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_labels_are_shown_as_text(label, tmp_path):
    results = simulated.write(tmp_path, {"ce": ({}, 1.0), label: ({"label": label}, 2.0)}, draws=2, with_logits=False)
    found = analyze(results, tmp_path)
    shown = simulated.text_of(found, 200)
    assert "\x1b" not in shown and "\u202e" not in shown
    assert [row["label"] for row in json.loads(analysis_writers.render(found, "json"))[0]["rows"]] == ["ce", label]
    for cells in csv.reader(io.StringIO(analysis_writers.render(found, "csv"))):
        assert not any(cell[:1] in ("=", "+", "@", "\t") for cell in cells)
    made = analysis_writers.render(found, "md")
    inner = [inner for token in MarkdownIt("commonmark").parse(made) for inner in (token, *(token.children or ()))]
    assert not {token.type for token in inner} & {"html_block", "html_inline", "link_open", "image"}
    assert "\x1b" not in made
    made = analysis_writers.render(found, "latex")
    code = [line for line in made.splitlines() if not line.startswith("%")]
    assert not any("\\input{" in line or "\\write18{" in line for line in code)
    (block,) = found.blocks
    analysis_writers.write(found, tmp_path / "out")
    assert (tmp_path / "out" / "toy" / "bias_variance.svg").read_bytes().startswith(b"<?xml")
    assert block["rows"][1]["label"] == label


def test_what_is_said_of_a_figure_is_half_of_its_interval():
    assert analysis_writers._said({"value": 48.4, "low": 47.7, "high": 49.1}) == "48.4±0.7"
    assert analysis_writers._said({"value": -0.04, "low": None, "high": None}, sign=True) == "-0.0"
    assert analysis_writers._said({"value": None, "low": None, "high": None}) == "n/a"


def test_the_classes_most_often_taken_for_one_other_are_named_by_images_not_by_errors():
    def of(number, error, share, name=""):
        confusers = [{"number": 0, "name": "dog" if name else "", "group": "many", "share": share}]
        return {"number": number, "name": name, "group": "few", "figures": {"error": error}, "confusers": confusers}

    # 20 * 0.9 = 18, 80 * 0.5 = 40, 60 * 0.6 = 36, 10 * 1 = 10
    classes = [of(5, 20, 90), of(6, 80, 50), of(7, 60, 60, "wolf"), of(8, 10, 100)]
    _, said = analysis_writers.confused({"rows": [{"label": "ce", "classes": classes}]})
    assert said == "  ce: 6 for 0 (many) 40 %; wolf for dog (many) 36 %; 5 for 0 (many) 18 %"
