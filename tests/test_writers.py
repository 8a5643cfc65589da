"""The leaderboard in six formats: golden files, hostile names, the same bytes for the same records."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import make_records
import pytest
from make_records import make, row, text, write

from ltbench import columns, footers, markup, tables, writers
from ltbench.tables import load
from ltbench.writers import render


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """The results folder of make_records.five()."""
    return write(tmp_path_factory.mktemp("five"), *make_records.five()).parent


# Golden: written anew by `python tests/make_records.py`, where the change is meant


@pytest.mark.parametrize("name", sorted(path.name for path in make_records.GOLDEN.iterdir()))
def test_the_table_is_as_it_was(five, name):
    assert make_records.golden(load(five))[name] == (make_records.GOLDEN / name).read_text(encoding="utf-8")


def test_there_is_a_golden_file_of_every_format():
    assert len(list(make_records.GOLDEN.iterdir())) == len(writers.FORMATS) + 1


def everything(board: tables.Leaderboard) -> dict[str, str]:
    return {str(width): text(board, width) for width in (80, 140)} | {
        kind: render(board, kind) for kind in writers.FORMATS if kind != "text"
    }


def test_the_same_records_give_the_same_bytes_in_whatever_order_they_lie(tmp_path, monkeypatch):
    rows, made = make_records.five()
    expected = everything(load(write(tmp_path / "one", rows, made)))
    write(tmp_path / "two", rows, reversed(made))
    glob = Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, pattern: reversed(sorted(glob(self, pattern))))
    assert everything(load(tmp_path / "two")) == expected


LONG = "ride_distill(experts=3, teacher=ride(experts=6, loss=ce, head=linear)) [lr=0.05]"


def test_no_line_is_longer_than_80_columns_and_no_figure_is_cut(tmp_path):
    large = {"macs": 4.1e9, "macs_used": 3.9e9}
    ours = [
        make(LONG, seed, right=right, **large) for seed, right in ((0, (10, 10, 10)), (1, (10, 0, 0)), (2, (0, 0, 0)))
    ]
    theirs = [make("ce", seed, right=(10 * seed,) * 3) for seed in (0, 1)]
    board = load(write(tmp_path, [row(theirs), row(ours)], [*theirs, *ours[:2]]))
    shown = text(board, 80)
    assert max(map(len, shown.splitlines())) <= 80
    whole = {word for r in board.rows for column in columns.COLUMNS for word in column.text(r).split()}
    lines = shown.splitlines()
    body = lines[2 : next(i for i, line in enumerate(lines) if line.startswith("No room here for ECE, params k"))]
    printed = {word for line in body for word in line[writers.LABEL_WIDTH :].split()}
    assert printed <= whole, f"cut: {printed - whole}"
    assert {"66.7±423.5", "100.0", "50.0"} <= printed
    folded = "".join(line[: writers.LABEL_WIDTH].strip() for line in body)
    assert LONG.replace(" ", "") in folded.replace(" ", ""), "the label is whole"


def test_columns_that_are_asked_for_are_never_dropped(five):
    options = tables.Options(columns=("label", "top1", "params", "seconds"))
    shown = text(load(five, options), 40, options)
    assert "params k" in shown and "train min" in shown and "No room" not in shown
    assert shown.splitlines()[0].startswith("toy: toy_lt, resnet8,"), (
        "the heading is as wide as the window, not the table"
    )


def test_labels_are_not_squeezed_by_columns_that_are_asked_for(five):
    options = tables.Options(columns=tuple(c.key for c in columns.COLUMNS if c.key != "score"))
    assert "ride(experts=3) 2 75.0±190.6 (2 of 3) 95.0" in " ".join(text(load(five, options), 60, options).split())


def test_columns_that_have_no_room_are_named(five):
    board = load(five)
    assert "No room here for ECE, params k, train min: --columns," in text(board, 80)
    assert "No room" not in text(board, 140)


@pytest.mark.parametrize(
    ("label", "lines"),
    [
        ("ce", ["ce"]),
        ("ride_ea(base=ride_distill(experts=3))", ["ride_ea(", "base=ride_distill(", "experts=3))"]),
        ("ride(experts=3, loss=ce)", ["ride(experts=3,", "loss=ce)"]),
        ("a_word_of_twenty_sign", ["a_word_of_twenty_sign"]),
    ],
)
def test_labels_are_broken_where_they_read_well(label, lines):
    assert writers.folded(label, 18).splitlines() == lines


BRACKETS = ("ce [lr=0.5]", "ce [/bold]", "ce [red]x", "ce(head=[a, b])")


@pytest.mark.parametrize("label", BRACKETS)
def test_a_label_that_looks_like_markup_is_printed_as_it_is(tmp_path, label):
    made = [make(label, status="failed", reason="[/] [red]no[/red]", method="ce"), make("bbn", 1)]
    board = load(write(tmp_path, [row(made[:1]), row(made[1:])], made))
    shown = text(board, 100)
    assert label in shown and "[/] [red]no[/red]" in shown
    for kind in ("md", "latex", "csv", "json", "html"):
        assert json.loads(json.dumps(label))[:3] in render(board, kind)


def test_each_format_keeps_its_special_characters(tmp_path):
    ce = [make("ce_x(a=1|2) <b> & 5%", s, method="ce", right=(9, 5, s)) for s in (0, 1)]  # 46.7 and 50
    board = load(write(tmp_path, [row(ce)], ce, baseline=ce[0].label))
    assert r"a=1\|2" in render(board, "md")
    assert "&lt;b&gt; &amp; 5%" in render(board, "html")
    latex = render(board, "latex")
    assert r"ce\_x" in latex and r"\& 5\%" in latex and r"48.3$\pm$21.2" in latex
    (back,) = csv.DictReader(io.StringIO(render(board, "csv")))
    assert (
        back["label"] == ce[0].label and float(back["top1_mean"]) == pytest.approx(145 / 3) and back["seeds"] == "0 1"
    )
    (found,) = json.loads(render(board, "json"))
    assert found["label"] == ce[0].label


def test_the_columns_of_csv_are_the_same_whatever_has_run(tmp_path):
    rows, made = make_records.five()
    headers = set()
    for name, records in (("all", made), ("one", made[:1]), ("none", [])):
        board = load(write(tmp_path / name, rows, records))
        headers.add(render(board, "csv").splitlines()[0])
    assert len(headers) == 1


@pytest.mark.parametrize(
    ("text", "written"),
    [("-0.6±0.3", r"$-$0.6$\pm$0.3"), ("[-1.6, +0.3]", "{[}$-$1.6, +0.3{]}"), ("ride-2", "ride-2"), ("--1", "-{}-1")],
)
def test_latex_has_a_minus_before_a_number_and_a_hyphen_in_a_name(text, written):
    assert markup.latex(text) == written


def test_where_no_class_is_few_no_limit_below_0_is_told():
    """Draws of a mild imbalance have groups whose lower limit is 0: "few < 0"."""
    assert footers.limits(100, 20) == "many > 100, medium 20..100, few < 20 training images"
    assert footers.limits(2, 0) == "many > 2 training images, the others medium"
