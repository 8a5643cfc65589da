"""The files that a method is written in, and their hashes: what the runs of a plugin's method hang on."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .training_code import training_code

if TYPE_CHECKING:
    from .method import Method

PLUGIN = "ltbench_plugin_"  # how the module of a plugin's file is called, its name and a hash behind it


def origin(cls: type) -> str:
    """Module and class, as messages name a method's source."""
    module = Path(inspect.getfile(cls)).stem if cls.__module__.startswith(PLUGIN) else cls.__module__
    return f"{module}.{cls.__qualname__}"


def bases(cls: type) -> list[type[Method]]:
    """A method's class and the methods it derives from."""
    from .method import Method

    return [base for base in cls.__mro__ if issubclass(base, Method) and base is not Method]


def source_files(cls: type) -> list[Path]:
    """The files that define a method: its own, those of the methods it derives from; then a plugin's own helpers."""
    own = {Path(inspect.getfile(base)): base.__module__ for base in bases(cls)}
    found = {path.resolve() for path in own}
    helpers: set[Path] = set()
    for path, module in own.items():
        if not _is_ours(module):
            helpers |= {file for file in helpers_of(module, path) if file not in found}
    return [*sorted(own), *sorted(helpers)]


def source_hash(cls: type) -> str:
    """sha256 of what in a method's source files can move its numbers."""
    return hashlib.sha256(training_code(source_files(cls))).hexdigest()


def plugin_hash(cls: type) -> str:
    """What stands in a run's key for a method's source: nothing for ours, which have versions.

    Else the hash of its own files, and of the versions of those of ours that it derives from: so that a comment in one
    of ltbench's files, or another ltbench, leaves the records of a plugin what they are.
    """
    ours = [base for base in bases(cls) if _is_ours(base.__module__)]
    if cls in ours:
        return ""
    files = [path for path in source_files(cls) if path not in {Path(inspect.getfile(base)) for base in ours}]
    versions = [f"{origin(base)} {base.version}".encode() for base in ours]
    return hashlib.sha256(b"\0".join([*(path.read_bytes() for path in files), *versions])).hexdigest()


def helpers_of(module: str, path: Path) -> dict[Path, str]:
    """The modules of its own that a plugin's file imports, and those that these import: file -> name.

    Of a file they lie beside it, of a module they are of its package. They are read off the text, so that an import
    within a function counts before it has run; what is imported by a name that is computed is not seen.
    """
    top, _, below = module.partition(".")
    root = path.resolve().parents[below.count(".") + 1 if below else 0]
    if path.name == "__init__.py":
        root = root.parent
    found: dict[Path, str] = {}
    left = [(path.resolve(), module)]
    while left:
        file, name = left.pop()
        for imported in _imported(name, file):
            if module.startswith(PLUGIN) or imported.partition(".")[0] == top:
                new = {file: name for file, name in _files(root, imported) if file not in (*found, path.resolve())}
                found |= new
                left += new.items()
    return found


def _imported(module: str, path: Path) -> Iterator[str]:
    """The names that a file imports, of modules and of what may be one, but ltbench's and Python's own."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):  # it is being written: whoever loads it will say so
        return
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level and package else []
            whole = ".".join([*above, *([node.module] if node.module else [])])
            if above or not node.level:  # else it fails, and something else is tried in its place
                names = [whole, *(f"{whole}.{alias.name}" for alias in node.names)]
        yield from (name for name in names if name.partition(".")[0] not in ("ltbench", *sys.stdlib_module_names))


def _files(root: Path, name: str) -> Iterator[tuple[Path, str]]:
    """The files below a folder that importing a name runs: the packages above it, and its own; with their names."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:end])
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                yield file.resolve(), ".".join(parts[:end])
                break


def _is_ours(module: str) -> bool:
    return module.startswith("ltbench.")
