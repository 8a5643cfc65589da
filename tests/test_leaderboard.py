"""The table in README.md is the one that the committed records make."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "docs" / "leaderboard.py"


def test_the_table_in_the_readme_is_not_stale():
    done = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, f"run `make leaderboard` {done.stderr}"
