"""The tables in README.md and docs/ are those that the committed records make."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "docs" / "leaderboard.py"
sys.path.insert(0, str(SCRIPT.parent))
import leaderboard  # noqa: E402


@pytest.mark.parametrize(
    "pages",
    [
        "README.md short-suite.md",  # they speak of the same pairs
        "cifar100-lt-gain.svg",
        "how-sure.md",
        pytest.param("bias-variance.md", marks=pytest.mark.slow),
    ],
)
def test_no_table_or_picture_in_the_pages_is_stale(pages, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["leaderboard.py", "--check", *pages.split()])
    assert leaderboard.main() == 0, f"run `make leaderboard` {capsys.readouterr().err}"


def test_a_page_that_is_none_is_not_passed_over():
    done = subprocess.run([sys.executable, str(SCRIPT), "--check", "nosuch.md"], capture_output=True, text=True)
    assert done.returncode == 2 and "no such page: nosuch.md of README.md" in done.stderr


@pytest.mark.parametrize("page", list(leaderboard.PROSE), ids=lambda page: page.name)
def test_the_last_figure_of_the_prose_is_looked_at(page, tmp_path, monkeypatch):
    results, tour, rest = page.read_text(encoding="utf-8").partition("## A first tour")
    changed = tmp_path / page.name
    changed.write_text(f"{results}\n\nIt gains 98.7.\n\n{tour}{rest}", encoding="utf-8")
    monkeypatch.setitem(leaderboard.PROSE, changed, leaderboard.PROSE[page])
    (complaint,) = leaderboard.unfounded(changed)
    assert "98.7" in complaint
