"""The files that a method is written in, and their hashes: what the runs of a plugin's method hang on."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sysconfig
from collections.abc import Iterator
from pathlib import Path

PLUGIN = "ltbench_plugin_"  # how the module of a plugin's file is called, its name and a hash behind it
INSTALLED = ("stdlib", "platstdlib", "purelib", "platlib")


def origin(cls: type) -> str:
    """Module and class, as messages name a method's source."""
    module = Path(inspect.getfile(cls)).stem if cls.__module__.startswith(PLUGIN) else cls.__module__
    return f"{module}.{cls.__qualname__}"


def bases(cls: type) -> list[type]:
    """A method's class and the methods it derives from."""
    from .method import Method

    return [base for base in cls.__mro__ if issubclass(base, Method) and base is not Method]


def source_files(cls: type) -> list[Path]:
    """The files that define a method: its own, those of the methods it derives from, and a plugin's own helpers."""
    left = {(base.__module__, Path(inspect.getfile(base)).resolve()) for base in bases(cls)}
    found: set[Path] = set()
    while left:
        module, path = left.pop()
        found.add(path)
        if not _is_ours(module):
            left |= {(name, file) for name, file in _helpers(module, path) if file not in found}
    return sorted(found)


def source_hash(cls: type) -> str:
    """sha256 of a method's source files."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in source_files(cls))).hexdigest()


def plugin_hash(cls: type) -> str:
    """What stands in a run's key for a method's source: nothing for ours, which have versions; else its hash."""
    return "" if _is_ours(cls.__module__) else source_hash(cls)


def _is_ours(module: str) -> bool:
    return module.startswith("ltbench.")


def _helpers(module: str, path: Path) -> Iterator[tuple[str, Path]]:
    """The modules of a plugin's own that one of its files imports, anywhere in it: by name, with their files.

    They are read off the text, so that an import within a function counts before it has run.
    """
    for name in _imported(module, path):
        top = name.partition(".")[0]
        if top == module.partition(".")[0] or any(_beside(file, path) for file in _found(top)):
            yield from ((name, file) for file in _found(name) if file.suffix == ".py")


def _imported(module: str, path: Path) -> Iterator[str]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            within = "." * node.level + (node.module or "")
            whole = importlib.util.resolve_name(within, package) if node.level else within
            yield whole
            yield from (f"{whole}.{alias.name}" for alias in node.names)


def _found(name: str) -> list[Path]:
    """A module's file, or a namespace package's folders; none where there is no such module."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # what stands before the last dot is no package; a module that is __main__
        return []
    if spec is None:
        return []
    places = [spec.origin] if spec.has_location and spec.origin else list(spec.submodule_search_locations or ())
    return [Path(place).resolve() for place in places]


def _beside(file: Path, path: Path) -> bool:
    """Whether a file lies in or below another's folder, and is not of what is installed there."""
    folders = [Path(sysconfig.get_path(kind)).resolve() for kind in INSTALLED]
    return file.is_relative_to(path.parent) and not any(file.is_relative_to(folder) for folder in folders)
