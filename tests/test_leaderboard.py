"""The tables in README.md and docs/ are those that the committed records make."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "docs" / "leaderboard.py"


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "cifar100-lt-gain.svg",
        "short-suite.md",
        pytest.param("bias-variance.md", marks=pytest.mark.slow),
    ],
)
def test_no_table_or_picture_in_the_pages_is_stale(page):
    done = subprocess.run([sys.executable, str(SCRIPT), "--check", page], capture_output=True, text=True)
    assert done.returncode == 0, f"run `make leaderboard` {done.stderr}"


def test_a_page_that_is_none_is_not_passed_over():
    done = subprocess.run([sys.executable, str(SCRIPT), "--check", "nosuch.md"], capture_output=True, text=True)
    assert done.returncode == 2 and "no such page: nosuch.md of README.md" in done.stderr
