"""Names that want to run, to steer or to break something: each through each of the six writers, shown as text."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import re
import unicodedata

import pytest
from make_records import make, row, text, write
from markdown_it import MarkdownIt
from pylatexenc.latexwalker import LatexEnvironmentNode, LatexWalker

from ltbench import markup, writers
from ltbench.tables import load

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "</td></tr></table><h1>broken",
    "\"><svg onload='alert(1)'>",
    "javascript:alert(1)",
    "[click](javascript:alert(1))",
    "![x](http://evil.example/p.png)",
    "http://evil.example www.evil.example me@evil.example",
    "=cmd|'/c calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1:A9)",
    "\t=1+1",
    "a|b||c",
    "a\nb\r\nc",
    "[/red][bold]x[/bold] [link=http://e.example]y",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "\\input{/etc/passwd} \\write18{ls}",
    "$x^2_3$ % & # ~ {a} \\\\ [2em] --- `q' ?`",
    "1e5",
    "007",
    "nan",
    "\u202egnp.exe \u200f\u2066",
    "zero\u200bwidth\ufeff\x00\x7f\u2028",
    "`code` *a* _b_ ~~c~~ <!-- x --> &lt; &#65; # - 1. >",
    "ключ 日本語 🙂 é",
)  # fmt: skip


@pytest.fixture(params=HOSTILE, ids=range(len(HOSTILE)))
def hostile(request, tmp_path):
    """(the name, a board in which it is label, data set, backbone, recipe and reason)."""
    name = request.param
    data = make().data.model_copy(update={"name": name})
    strange = [make(name, seed, right=(9, 7, 2 + seed), method="ce", backbone=name, data=data) for seed in (0, 1)]
    failed = make(name + "2", 0, status="failed", reason=name, method="ce", backbone=name)
    rows = [row(strange, recipe=name, data=name), row([failed], recipe=name, data=name, label=name + "2")]
    return name, load(write(tmp_path, rows, [*strange, failed], baseline=name))


def shown(name: str) -> str:
    """How a name is to be read: in one line, with nothing in it that steers."""
    return markup.plain(name)


def test_there_are_25_of_them():
    assert len(set(HOSTILE)) >= 25


def test_what_is_plain_steers_nothing():
    for name in HOSTILE:
        assert not [c for c in shown(name) if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")]
        assert shown(name).isprintable() or name.startswith("ключ")


def test_text(hostile):
    name, board = hostile
    printed = text(board, 300)
    assert not [c for c in printed if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c != "\n"]
    words = printed.split("\n")
    assert any(line.startswith(f"{shown(name)} ") or line.startswith(shown(name)[:20]) for line in words)
    assert f"seed 0 failed: {shown(name)}" in printed
    assert "61.7±" in printed


class Reader(html.parser.HTMLParser):
    """The tags of a page, and the text of its cells."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.cells: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        assert all(key == "style" for key, _ in attrs), attrs
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


def test_html(hostile):
    name, board = hostile
    page = Reader()
    page.feed(writers.render(board, "html"))
    assert page.tags <= {"h2", "table", "thead", "tbody", "tr", "td", "th", "p", "br", "strong"}
    assert shown(name).strip() in [cell.strip() for cell in page.cells]


def test_markdown(hostile):
    name, board = hostile
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(writers.render(board, "md"))
    kinds = {token.type for token in tokens}
    assert not kinds & {"html_block", "heading_open", "blockquote_open", "bullet_list_open", "ordered_list_open"}, kinds
    inner = [child for token in tokens for child in token.children or []]
    assert {child.type for child in inner} <= {"text", "strong_open", "strong_close", "hardbreak", "text_special"}
    cells = [
        "".join(child.content for child in tokens[i + 1].children or [])
        for i, token in enumerate(tokens)
        if token.type == "td_open"
    ]
    assert shown(name).strip() in cells
    assert len(cells) == 2 * cells.index(shown(name + "2").strip()), "no cell more or less"


def test_latex(hostile):
    name, board = hostile
    source = writers.render(board, "latex")
    nodes, *_ = LatexWalker(source, tolerant_parsing=False).get_latex_nodes()
    (table,) = (node for node in nodes if isinstance(node, LatexEnvironmentNode))
    assert table.environmentname == "tabular"
    macros = set(re.findall(r"\\([A-Za-z]+)", "\n".join(x for x in source.split("\n") if not x.startswith("%"))))
    assert macros <= {
        "begin", "end", "toprule", "midrule", "bottomrule", "textbf", "pm", "symbol", "textbackslash", "textbar",
        "textless", "textgreater", "textasciicircum", "textasciitilde", "textasciigrave",
    }  # fmt: skip
    body = source[source.index(r"\midrule") : source.index(r"\bottomrule")].strip().split("\n")[1:]
    assert len(body) == 2 and all(line.endswith(r"\\") for line in body), "a line a row"
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in body}) == 1, "no cell more or less"
    assert source.replace("±", "").isascii() or name.startswith("ключ")


def test_csv(hostile):
    name, board = hostile
    first, second = csv.DictReader(io.StringIO(writers.render(board, "csv"), newline=""), quoting=csv.QUOTE_NONNUMERIC)
    expected = shown(name)
    assert first["label"].removeprefix("'") == expected.removeprefix("'") and isinstance(first["label"], str)
    assert first["label"][:1] not in ("=", "+", "-", "@")
    assert isinstance(first["top1_mean"], float) and first["top1_mean"] == board.rows[0]["top1"]["mean"]
    assert (first["n"], second["n"], second["top1_mean"]) == (2, 0, "")


def test_json(hostile):
    name, board = hostile
    printed = writers.render(board, "json")
    assert json.loads(printed) == board.rows and board.rows[0]["label"] == name
    assert not [c for c in printed if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c != "\n"]


def test_a_number_below_zero_stays_a_number(tmp_path):
    ours, theirs = make("bbn", right=(0, 0, 0)), make("ce")
    board = load(write(tmp_path, [row([theirs]), row([ours])], [theirs, ours]))
    lines = csv.DictReader(io.StringIO(writers.render(board, "csv")), quoting=csv.QUOTE_NONNUMERIC)
    assert [line["gain_mean"] for line in lines] == ["", -50.0]
