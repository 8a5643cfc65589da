"""The report as text: one file, strict policy, everything shown, nothing run, the same bytes everywhere."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hostile_suite import hostile_suite
from make_records import make, row, write
from rich_records import METHODS, drawn, suite
from test_hostile import HOSTILE

from ltbench import figures, report, svg
from ltbench.markup import plain
from ltbench.record import Stretch, Volatile

ROOT = Path(__file__).parent.parent
NOWHERE = Path("no-such-runs")


class Page(html.parser.HTMLParser):
    """What a page holds: its tags, attributes, ids, text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.text += data

    def values(self, *names: str) -> list[str]:
        return [value for _, name, value in self.attributes if name in names]


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> str:
    return report.render(suite(tmp_path_factory.mktemp("rich")), NOWHERE)[0]


def test_it_asks_for_nothing(rich):
    page = Page(rich)
    assert not page.tags.keys() & {"img", "iframe", "object", "embed", "base", "audio", "video", "source"}
    assert page.values("src", "srcset", "action", "poster", "data", "background", "ping", "formaction") == []
    for tag, name, value in page.attributes:
        if name in ("href", "xlink:href"):
            assert value.startswith("#") or (tag, value) == ("link", "data:,")
    assert re.findall(r"https?://", rich) == []
    assert "@import" not in rich and not re.findall(r"url\((?!#)", rich)


def test_the_policy_lets_one_style_and_one_script_in(rich):
    page = Page(rich)
    policy = next(value for _, name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    for kind in ("style", "script"):
        inner = re.findall(rf"<{kind}[^>]*>(.*?)</{kind}>", rich, re.DOTALL)
        assert len(inner) == page.tags[kind] == 1
        assert f"{kind}-src 'sha256-{base64.b64encode(hashlib.sha256(inner[0].encode()).digest()).decode()}'" in policy
    assert page.values("style") == []  # the policy would refuse them
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_ids_are_one_of_a_kind_and_links_lead_somewhere(rich):
    page = Page(rich)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for link in page.values("href", "aria-labelledby"):
        assert link == "data:," or link.removeprefix("#") in ids


def test_every_row_run_and_figure_is_there(rich):
    page = Page(rich)
    for label in [*METHODS, "focal(gamma=9.0)", "paco", "sade", "mislas"]:
        assert page.text.count(label) >= 2  # in the leaderboard, and above its runs
    assert [value for tag, name, value in page.attributes if name == "data-figure"] == [k.name for k in figures.KINDS]
    assert page.tags["figure"] == len(figures.KINDS) - 2  # no logits, no draws here
    assert "Logit adjustment after training: nothing to show" in page.text
    assert page.tags["details"] == 29 + 3 + 1  # complete, diverged, out of memory
    for text in ("loss not finite in 3 epochs", "CUDA out of memory", "needs a linear head", "seed 1, 2 missing"):
        assert text in page.text
    for text in (
        "batch_size",
        "0123456789abcdef",
        "cpu: Toy",
        "torch 2.15.0",
        "c0ffee",
        "aaaaaaaa",
        "2026-11-20T08:00",
    ):
        assert text in page.text
    assert {"1 of 3", "(2 of 3)", "3 of 3", "0 of 3"} & set(re.findall(r"\(?\d of 3\)?", page.text)) >= {"(2 of 3)"}


def test_refused_records_are_named(tmp_path):
    folder = suite(tmp_path, seeds=1)
    bad = sorted(folder.glob("crt-*.json"))
    bad[0].write_text("{}")
    page, refused = report.render(tmp_path, NOWHERE)
    assert len(refused) == 1
    assert "1 record refused" in Page(page).text and bad[0].name in Page(page).text


def test_a_value_of_a_recipe_that_is_not_the_suites_is_marked(tmp_path):
    one = make("ce", 0, recipe={"epochs": 7, "lr": 0.1}, suite_recipe={"epochs": 2, "lr": 0.1})
    page, _ = report.render(write(tmp_path, [row([one])], [one]), NOWHERE)
    assert re.findall(r'<div class="marked"><dt><bdi>(.*?)</bdi></dt><dd><bdi>(.*?)</bdi>', page) == [("epochs", "7")]


def test_a_run_that_was_taken_up_elsewhere_says_which_steps_were_trained_where(tmp_path):
    part = Stretch(
        first=0, until=7, device="cpu: another chip", torch="2.11", world_size=2, commit="b" * 40, clean=True
    )
    one = make("ce", volatile=Volatile(device="cpu: a chip", commit="a" * 40, earlier=(part,)))
    page = Page(report.render(write(tmp_path, [row([one])], [one]), NOWHERE)[0]).text
    assert f"steps 0 to 6cpu: another chip, torch 2.11, 2 processes, commit {'b' * 40}" in re.sub(r"\s*\n\s*", "", page)


def test_blocks_are_not_ranked_together(tmp_path):
    one, other = make("ce", 0), make("ce", 1, backbone="resnet20")
    rows = [row([one]), row([other], block="c" * 64)]
    page = Page(report.render(write(tmp_path, rows, [one, other]), NOWHERE)[0])
    assert page.tags["table"] == 2 and page.tags["tbody"] == 2
    assert "Rows of different blocks are never ranked together" in page.text


def test_hostile_names_are_text(tmp_path):
    hostile_suite(tmp_path)
    text, refused = report.render(tmp_path, NOWHERE)
    page = Page(text)
    assert not refused
    assert not page.tags.keys() & {"img", "h6", "iframe"} and page.tags["script"] == 1 and page.tags["h1"] == 1
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    for link in page.values("href"):
        assert link.startswith("#") or link == "data:,"
    for name in HOSTILE:
        assert page.text.count(plain(name)) >= 5  # its row, its runs, recipe, options, environment
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]", text)


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, **changes}


def test_same_records_same_bytes(tmp_path):
    """Under another time zone, locale and hash seed; files written in another order, with other times."""
    suite(tmp_path / "a" / "results", seeds=2)
    (tmp_path / "b" / "results" / "toy").mkdir(parents=True)
    for path in sorted((tmp_path / "a" / "results" / "toy").iterdir(), reverse=True):
        shutil.copyfile(path, tmp_path / "b" / "results" / "toy" / path.name)
    pages = []
    for name, env in (
        ("a", {}),
        ("b", {"TZ": "Pacific/Kiritimati", "LC_ALL": "de_DE.UTF-8", "PYTHONHASHSEED": "1", "PYTHONUTF8": "1"}),
    ):
        command = [sys.executable, "-m", "ltbench", "report", "results", "--out", "page.html"]
        subprocess.run(command, cwd=tmp_path / name, env=environment(**env), check=True, capture_output=True)
        pages.append((tmp_path / name / "page.html").read_bytes())
    assert pages[0] == pages[1]


def test_the_command(tmp_path):
    """It brings no torch, writes the file, and ends with 1 where something was refused."""
    folder = suite(tmp_path / "results", seeds=1)
    code = (
        "import sys\nfrom ltbench.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n"
        "    print([n for n in ('torch', 'torchvision', 'accelerate') if n in sys.modules], end.code)"
    )
    command = [sys.executable, "-c", code, "report", "results", "--out", "new/page.html"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0" and "page.html" in done.stdout, done.stderr
    next(folder.glob("ce-*.json")).write_text("[]")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[] 1\n") and done.stderr.startswith("refused: results")
    done = subprocess.run(
        [*command[:3], "report", "nowhere", "--out", "x.html"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "[] 2\n" and "no results here" in done.stderr and not (tmp_path / "x.html").exists()


def test_many_blocks_share_the_room_for_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "MOST_FIGURES", 3)
    made = [drawn("ce", seed, classes=6) for seed in range(2)]
    rows = [row([one], block=f"{i:064d}", label=f"ce{i}") for i, one in enumerate(made)]
    page = Page(report.render(write(tmp_path, rows, made, baseline="ce0"), NOWHERE)[0])
    assert page.tags["figure"] == 3
    assert page.text.count("not drawn: a report holds 3 figures") == 2 * len(figures.KINDS) - 3


def test_an_svg_loses_its_style_attributes_and_idle_ids_only():
    text = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9pt" '
        'viewBox="0 0 9 9"><metadata>when</metadata>'
        '<defs><path id="m1" d="M 0 0" style="stroke: #123456; stroke-width: 0.8"/></defs>'
        '<g id="axes_1"><g id="idle"><path id="p1" d="M 1.23456 2 \nL 3 4" style="fill: none; stroke: #123456"/></g>'
        '<use xlink:href="#m1" x="1.5000001" style="stroke: #123456"/>'
        "<text style=\"font-family: 'A'; fill: #000000\">a &lt; b</text></g></svg>"
    )
    assert svg.embedded(text, 'say "it"') == (
        '<svg viewBox="0 0 9 9" role="img" aria-label="say &quot;it&quot;">'
        '<defs><path id="m1" d="M 0 0" stroke-width="0.8" /></defs>'  # a style sheet reaches <use> only
        '<path d="M 1.23 2 L 3 4" fill="none" stroke="#123456" /><use x="1.5" stroke="#123456" href="#m1" />'
        '<text fill="#000000">a &lt; b</text></svg>'
    )


@pytest.mark.slow
def test_a_thousand_records_in_ten_seconds(tmp_path):
    rows, made = [], []
    for i in range(334):
        runs = [drawn(f"ce(width={i})", seed, classes=100, images=100) for seed in range(3)]
        rows.append(row(runs, block=f"{i // 34:064d}"))
        made += runs
    write(tmp_path, rows, made)
    start = time.process_time()
    report.render(tmp_path, NOWHERE)
    assert time.process_time() - start < 10
