"""What of a method's files can move its numbers: the code, without what is only said or planned. Torch-free.

Left out are comments, layout, docstrings, the class methods that are asked before anything is built (what they decide
is in a run's key: parents and recipe, or that it does not run) with those that only they call, and names that are
imported and not used. Anything else counts, if harmless: another annotation, the order of imports.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeGuard

PLANNED = {"needs", "recipe", "skip", "offers"}


def training_code(paths: Iterable[Path]) -> bytes:
    """That code of some files, in a form that is the same under every Python; the files as they are where it has none.

    A name that one of the files uses counts as used in all.
    """
    texts = [path.read_bytes() for path in paths]
    try:
        trees = [ast.parse(text) for text in texts]
        used = _used(trees)
        return json.dumps([_plain(tree, used) for tree in trees]).encode()
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # it is being written, or is like no method
        return b"\0".join(texts)


def _used(trees: Iterable[ast.AST]) -> set[str]:
    """The names and attributes that the code uses, and the class methods that it uses, but for what is planned."""
    used = {name for tree in trees for name in _names(tree)}
    left = [node for tree in trees for node in ast.walk(tree) if _is_class_method(node) and node.name not in PLANNED]
    while reached := [node for node in left if node.name in used]:
        left = [node for node in left if node.name not in used]
        used |= {name for node in reached for part in ast.iter_child_nodes(node) for name in _names(part)}
    return used


def _names(node: ast.AST) -> Iterator[str]:
    """The names and attributes in a part of the code, without those within class methods."""
    if _is_class_method(node):
        return
    if isinstance(node, ast.Name | ast.Attribute):
        yield node.id if isinstance(node, ast.Name) else node.attr
    for part in ast.iter_child_nodes(node):
        yield from _names(part)


def _is_class_method(node: ast.AST) -> TypeGuard[ast.FunctionDef]:
    marks = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    return any(isinstance(mark, ast.Name) and mark.id == "classmethod" for mark in marks)


def _plain(node: Any, used: set[str]) -> Any:
    """A syntax tree as lists; what is empty is left out, since Pythons differ in whether they name it."""
    if isinstance(node, ast.ImportFrom):
        node.names = [name for name in node.names if name.name == "*" or (name.asname or name.name) in used]
        if not node.names:
            return None
    if _is_class_method(node) and (node.name in PLANNED or node.name not in used):
        return None
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return None  # a docstring
    if isinstance(node, ast.AST):
        fields = [(name, _plain(value, used)) for name, value in ast.iter_fields(node)]
        return [type(node).__name__, *(field for field in fields if field[1] not in (None, []))]
    if isinstance(node, list):
        parts = [(part, _plain(part, used)) for part in node]
        return [plain for part, plain in parts if plain is not None or not isinstance(part, ast.stmt)]
    return None if node is None else repr(node)
