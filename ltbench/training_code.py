"""What of a method's file can move its numbers: the code, without what is only said or planned. Torch-free.

Left out are comments, layout, docstrings, class methods (what they decide is in a run's key: parents and recipe, or
that it does not run), and imports that nothing else here uses.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any


def training_code(path: Path) -> bytes:
    """That code, in a form that is the same under every Python; the file as it is where that is no Python."""
    text = path.read_bytes()
    try:
        tree = _Trained().visit(ast.parse(text))
    except (SyntaxError, ValueError):
        return text
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return json.dumps(_plain(tree, used)).encode()


class _Trained(ast.NodeTransformer):
    """Leaves docstrings and class methods out."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST | None:
        planning = any(isinstance(mark, ast.Name) and mark.id == "classmethod" for mark in node.decorator_list)
        return None if planning else self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else node


def _plain(node: Any, used: set[str]) -> Any:
    """A syntax tree as lists; what is empty is left out, since Pythons differ in whether they name it."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        node.names = [name for name in node.names if (name.asname or name.name).partition(".")[0] in used]
        if not node.names:
            return None
    if isinstance(node, ast.AST):
        fields = [(name, _plain(value, used)) for name, value in ast.iter_fields(node)]
        return [type(node).__name__, *(field for field in fields if field[1] not in (None, []))]
    if isinstance(node, list):
        return [found for part in node if (found := _plain(part, used)) is not None]
    return None if node is None else repr(node)
