"""Write the JSON schemas of what ltbench writes: make schema. With --check, say whether they are stale.

docs/table.schema.json: a list of rows, as `ltbench table --format json` prints it; docs/record.schema.json: one record.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ltbench.schema import record_schema, table_schema

HERE = Path(__file__).parent
FILES = {"table.schema.json": table_schema, "record.schema.json": record_schema}


def main() -> int:
    """0, or 1 where --check finds a file stale."""
    texts = {HERE / name: json.dumps(made(), indent=1, ensure_ascii=False) + "\n" for name, made in FILES.items()}
    if "--check" in sys.argv[1:]:
        return int(any(not p.is_file() or p.read_text(encoding="utf-8") != text for p, text in texts.items()))
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
