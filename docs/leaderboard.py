"""Write the table of the committed records into README.md: make leaderboard. With --check, say whether it is stale."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from ltbench.tables import Options, load
from ltbench.writers import render

HERE = Path(__file__).parent.parent
README, RESULTS = HERE / "README.md", HERE / "results" / "cifar100_lt_short"
BEGIN, END = "<!-- leaderboard: made by `make leaderboard` -->", "<!-- end of leaderboard -->"
COLUMNS = ("label", "n", "top1", "many", "medium", "few", "gain", "ece", "params", "macs", "macs_used")


def written() -> str:
    """README.md as it should be."""
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    options = Options(columns=COLUMNS)
    board = load(RESULTS, options)
    ran = [row for row in board.rows if row["n"]]
    table = render(replace(board, rows=ran), "md", options)
    missing = f"{len(board.rows) - len(ran)} rows of the suite have not run yet; `ltbench table results` shows all."
    return f"{before}{BEGIN}\n\n{table}\n{missing}\n\n{END}{after}"


def main() -> int:
    """0, or 1 where --check finds README.md stale."""
    text = written()
    if "--check" in sys.argv[1:]:
        return int(README.read_text(encoding="utf-8") != text)
    README.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
