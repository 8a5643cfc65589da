"""Write the tables and a row of the committed records into README.md: make leaderboard; --check: is it stale?"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from ltbench.compare import Gap, compare
from ltbench.tables import Options, load
from ltbench.writers import render

HERE = Path(__file__).parent.parent
README, RESULTS = HERE / "README.md", HERE / "results" / "cifar100_lt_short"
COLUMNS = ("label", "n", "top1", "many", "medium", "few", "gain", "ece", "params", "macs", "macs_used")
RIDE = "ride(experts=3)"
PAIRS = ((RIDE, "ce"), (RIDE, "ldam_drw"), (RIDE, "ride(experts=1)"), ("ride(experts=1)", "ce"), (RIDE, "crt"))


def leaderboard() -> str:
    """The rows that have run, and how many have not."""
    options = Options(columns=COLUMNS)
    board = load(RESULTS, options)
    ran = [row for row in board.rows if row["n"]]
    table = render(replace(board, rows=ran), "md", options)
    return (
        f"{table}\n{len(board.rows) - len(ran)} rows of the suite have not run yet; `ltbench table results` shows all."
    )


def comparisons() -> str:
    """A line per pair: A minus B in points, with its interval."""
    lines = ["| A | B | all | many | medium | few |", "| --- | --- | --- | --- | --- | --- |"]
    for a, b in PAIRS:
        (found,) = compare(RESULTS, a, b).found
        gaps = (found["top1"], found["many"], found["medium"], found["few"])
        lines.append(f"| `{a}` | `{b}` | {' | '.join(map(_gap, gaps))} |")
    return "\n".join(lines)


def _gap(gap: Gap) -> str:
    return "n/a" if gap["difference"] is None else f"{gap['difference']:+.1f} [{gap['low']:+.1f}, {gap['high']:+.1f}]"


def example() -> str:
    """One row of `table --format json`, a key a line."""
    (row,) = (row for row in json.loads(render(load(RESULTS), "json")) if row["label"] == RIDE)
    return (
        "```json\n{" + ",\n ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in row.items()) + "}\n```"
    )


def written() -> str:
    """README.md as it should be."""
    text = README.read_text(encoding="utf-8")
    for name, part in (("leaderboard", leaderboard()), ("comparisons", comparisons()), ("example", example())):
        begin, end = f"<!-- {name}: made by `make leaderboard` -->", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n\n{part}\n\n{end}{rest.split(end)[1]}"
    return text


def main() -> int:
    """0, or 1 where --check finds README.md stale."""
    text = written()
    if "--check" in sys.argv[1:]:
        return int(README.read_text(encoding="utf-8") != text)
    README.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
