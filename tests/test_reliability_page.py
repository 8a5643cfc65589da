"""docs/reliability.md names tests that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from _pytest.mark.expression import Expression

HERE = Path(__file__).parent
PAGE = (HERE.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
PROMISES = PAGE.partition("## What was run")[0]
CELLS = [
    line.removesuffix(" |").rsplit(" | ", 1)[1]
    for line in PROMISES.splitlines()
    if line.startswith("| ") and "`test_" in line
]


def names_in(name: str) -> list[str]:
    tree = ast.parse((HERE / name).read_text(encoding="utf-8"))
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


@pytest.mark.parametrize("cell", CELLS)
def test_each_promise_names_tests_that_there_are(cell):
    name = ""
    for code in re.findall(r"`([^`]+)`", cell):
        file, _, words = code.rpartition("-k ") if "-k " in code else (code, "", "")
        name = file.strip() or name
        found = names_in(name)
        chosen = Expression.compile(words.strip().strip('"')).evaluate if words else lambda matches: True
        assert any(chosen(lambda word, test=test: word.lower() in test) for test in found), code


def test_every_promise_has_one():
    rows = [
        line
        for line in PROMISES.splitlines()
        if line.startswith("| ") and not line.startswith(("| promise", "| fault"))
    ]
    assert len(rows) == len(CELLS) > 20
