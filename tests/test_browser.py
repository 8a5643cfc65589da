"""The report in Chromium: no console error, no request, and sorting, filtering, theme and folding do what they say."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hostile_suite import hostile_suite
from rich_records import suite
from test_hostile import HOSTILE

from ltbench import figures, report
from ltbench.markup import plain

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parent.parent
NOWHERE = Path("no-such-runs")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser without a window. Skips where there is none."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])  # root has no other way
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page and all that it did which it should not do."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Path]:
    """The report of a folder, or of the folder that a function makes, as a file; each is made once."""

    @cache
    def page(source: Any) -> Path:
        home = tmp_path_factory.mktemp("report")
        text, _ = report.render(source(home) if callable(source) else source, NOWHERE)
        (home / "report.html").write_text(text, encoding="utf-8")
        return home / "report.html"

    return page


@pytest.fixture
def opened(chromium: Any, request: pytest.FixtureRequest, pages: Callable[[Any], Path]) -> Iterator[Opened]:
    """The report that the parameter stands for. Whatever it did wrong fails the test at its end."""
    file = pages(request.param)
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    seen = Opened(context.new_page())

    def decide(route: Any) -> None:
        if route.request.url == file.as_uri():
            route.continue_()
        else:
            seen.requests.append(route.request.url)
            route.abort()

    context.route("**/*", decide)
    seen.page.on("request", lambda r: seen.requests.append(r.url) if r.url != file.as_uri() else None)
    seen.page.on("console", lambda message: seen.complaints.append(f"{message.type}: {message.text}"))
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    seen.page.on("dialog", lambda dialog: (seen.complaints.append(dialog.message), dialog.dismiss()))
    seen.page.goto(file.as_uri())
    yield seen
    context.close()
    assert seen.requests == []
    assert seen.complaints == []


committed = pytest.mark.parametrize("opened", [ROOT / "results"], indirect=True, ids=["committed"])
rich = pytest.mark.parametrize("opened", [suite], indirect=True, ids=["rich"])
hostile = pytest.mark.parametrize("opened", [hostile_suite], indirect=True, ids=["hostile"])


def labels(page: Any) -> list[str]:
    """The rows of the first leaderboard that are to be seen, from top to bottom."""
    return page.eval_on_selector_all(
        ".block:first-of-type .board tbody tr:not([hidden]) .name bdi:first-of-type",
        "all => all.filter(e => e.closest('a')).map(e => e.textContent)",
    )


def column(page: Any, title: str) -> list[float]:
    """The numbers of that column that are to be seen, from top to bottom; rows without one are left out."""
    return page.evaluate(
        """title => { const table = document.querySelector('.board');
        const heads = [...table.tHead.rows[0].cells];
        const at = heads.findIndex(c => c.textContent.trim() === title);
        return [...table.tBodies[0].rows].filter(r => !r.hidden).map(r => r.cells[at].dataset.sort)
            .filter(Boolean).map(Number); }""",
        title,
    )


@committed
def test_the_committed_records(opened):
    page = opened.page
    assert page.locator(".block").count() >= 1
    found = page.eval_on_selector_all(".block:first-of-type [data-figure]", "all => all.map(e => e.dataset.figure)")
    assert sorted(found) == sorted(kind.name for kind in figures.KINDS)
    for drawing in page.locator("figure svg").all():
        box = drawing.bounding_box()
        assert box["width"] > 200 and box["height"] > 80
    assert page.locator("figure svg text").count() > 50
    top = column(page, "top-1")
    page.get_by_role("button", name="top-1").first.click()
    assert column(page, "top-1") == sorted(top, reverse=True)


@rich
def test_sorting_by_clicks(opened):
    page = opened.page
    before = labels(page)
    header = page.locator(".board th", has_text="few").first
    button = header.locator("button")
    assert header.get_attribute("aria-sort") == "none"
    button.click()
    assert header.get_attribute("aria-sort") == "descending"
    few = column(page, "few")
    assert len(few) == 10 and few == sorted(few, reverse=True)
    assert labels(page)[-4:] == ["focal(gamma=9.0)", "paco", "sade", "mislas"]  # without a number: last
    button.click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert column(page, "few") == sorted(few)
    assert labels(page)[-4:] == ["focal(gamma=9.0)", "paco", "sade", "mislas"]
    button.click()
    assert header.get_attribute("aria-sort") == "none"
    assert labels(page) == before
    page.locator(".board th", has_text="ECE").locator("button").click()  # less is better
    assert column(page, "ECE") == sorted(column(page, "ECE"))
    assert page.locator(".board th[aria-sort=ascending]").count() == 1
    assert "by ECE, best first" in page.locator("output").first.inner_text()


@rich
def test_sorting_and_filtering_by_keyboard(opened):
    page = opened.page
    page.locator("input[type=search]").first.focus()
    page.keyboard.type("RIDE 3")
    assert labels(page) == [
        "ride(experts=3)", "ride_ea(base=ride(experts=3))", "ride_distill(experts=3, teacher=ride(experts=6))",
    ]  # fmt: skip
    assert page.locator("output").first.inner_text() == "3 of 14 rows"
    page.keyboard.press("Enter")  # nothing is sent
    for _ in range(3):  # status, the table's frame, the first button
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "top-1"
    page.keyboard.press("Enter")
    assert column(page, "top-1") == sorted(column(page, "top-1"), reverse=True)
    page.keyboard.press("Space")
    assert column(page, "top-1") == sorted(column(page, "top-1"))
    assert len(labels(page)) == 3


@rich
def test_filtering_by_status(opened):
    page = opened.page
    page.locator("select").first.select_option("diverged")
    assert labels(page) == ["focal(gamma=9.0)"]
    page.locator("select").first.select_option("")
    assert len(labels(page)) == 14
    page.locator("input[type=search]").first.fill("no such method")
    assert labels(page) == [] and "0 of 14 rows" in page.locator("output").first.inner_text()


@rich
def test_light_dark_and_the_toggle(opened):
    page = opened.page
    paper = "getComputedStyle(document.body).backgroundColor"
    ink = "getComputedStyle(document.querySelector('figure svg text')).fill"
    light = page.evaluate(paper), page.evaluate(ink)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(paper), page.evaluate(ink)
    assert light[0] == "rgb(255, 255, 255)" and dark[0] != light[0] and dark[1] != light[1]
    for expected in (light, dark, dark):  # light, dark, as the system has it
        page.locator("#theme").click()
        assert (page.evaluate(paper), page.evaluate(ink)) == expected
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(paper) == light[0]
    assert not page.locator("#theme").is_visible()


@rich
def test_a_row_leads_to_its_runs(opened):
    page = opened.page
    assert page.locator("details[open]").count() == 0
    page.get_by_role("link", name="ride_ea(base=ride(experts=3))").click()
    assert page.locator("details[open]").count() == 3
    assert page.locator(".entry:target").get_by_text("batch_size").first.is_visible()
    page.get_by_role("button", name="Unfold all runs").click()
    assert page.locator("details:not([open])").count() == 0
    page.get_by_role("button", name="Fold all runs").click()
    assert page.locator("details[open]").count() == 0


@rich
def test_on_a_telephone_nothing_sticks_out(opened):
    page = opened.page
    page.set_viewport_size({"width": 400, "height": 850})
    page.get_by_role("button", name="Unfold all runs").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    sizes = page.eval_on_selector_all(
        "figure svg text",
        """all => all.map(text => { const m = text.getScreenCTM();  // turned text, too
        return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(m.a, m.b); })""",
    )
    assert min(sizes) > 6.2  # pixels


@rich
def test_names_and_roles(opened):
    """Each control has a name, each drawing a description, headings leave no level out."""
    page = opened.page
    for control in page.locator("input, select, button").all():
        assert control.evaluate("e => (e.labels && e.labels[0] || e).textContent.trim()")
    for drawing in page.locator("figure svg").all():
        assert drawing.get_attribute("role") == "img" and len(drawing.get_attribute("aria-label")) > 20
    levels = page.eval_on_selector_all("h1,h2,h3,h4,h5", "all => all.map(e => Number(e.tagName[1]))")
    assert levels[0] == 1 and all(after - before <= 1 for before, after in pairwise(levels))


@hostile
def test_hostile_names_are_shown_and_do_nothing(opened):
    page = opened.page
    assert labels(page) == [plain(name) for name in HOSTILE]
    counts = "[document.images.length, document.scripts.length, document.querySelectorAll('h1').length]"
    assert page.evaluate(counts) == [0, 1, 1]
    page.get_by_role("button", name="Unfold all runs").click()
    page.get_by_role("button", name="top-1").click()
    page.locator("input[type=search]").fill("<script>")
    assert labels(page) == ["<script>alert(1)</script>"]
    page.get_by_role("link", name="<script>alert(1)</script>").click()
    page.wait_for_timeout(200)
