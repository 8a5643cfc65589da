"""Methods by name: built-ins, entry points, plugins; and what can be read off a method's signature."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import json
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import pydantic

from .errors import LtbenchError, explain, unknown
from .keys import canonical_json
from .sources import PLUGIN, bases, helpers_of, origin
from .strict_yaml import dotted

if TYPE_CHECKING:
    from .method import Method, Ref

C = TypeVar("C", bound="type[Method]")
_METHODS: dict[str, type[Method]] = {}
_LOADED: set[str] = set()  # the modules of plugins
_BROKEN: dict[str, str] = {}  # entry points that could not be loaded: name -> why
ENTRY_POINTS = "ltbench.methods"


class OptionError(LtbenchError):
    """Options that a method refuses. faults: (key path below the method's name, message)."""

    def __init__(self, faults: list[tuple[tuple[str | int, ...], str]]) -> None:
        super().__init__("; ".join(f"{dotted(path)}: {said}" if path else said for path, said in faults))
        self.faults = faults


@dataclass(frozen=True)
class Option:
    """One option of a method, as its signature has it."""

    name: str
    type: str
    default: Any


def register(name: str) -> Callable[[C], C]:
    """Class decorator that makes a Method known under a name. Raises LtbenchError on a clash or a bad name."""

    def add(cls: C) -> C:
        from .method import Method

        if not (isinstance(cls, type) and issubclass(cls, Method)):
            what = origin(cls) if isinstance(cls, type) else getattr(cls, "__name__", repr(cls))
            raise LtbenchError(f"method {name!r}: {what} is no subclass of ltbench.Method")
        for attribute, kind in (("version", int), ("paper", str), ("shown", tuple)):
            if not isinstance(value := getattr(cls, attribute), kind):
                raise LtbenchError(f"method {name!r}: {attribute} must be of type {kind.__name__}, got {value!r}")
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
            raise LtbenchError(f"method {name!r}: a name is 1 to 40 of a-z, 0-9 and _, and begins with a letter")
        if name in _METHODS:
            first = _METHODS[name]
            if first.__module__ != cls.__module__ and inspect.getfile(first) == inspect.getfile(cls):
                raise LtbenchError(f"method {name!r}: its file is loaded twice, as a plugin and by an import")
            raise LtbenchError(
                f"method {name!r} is already registered by {origin(_METHODS[name])}; "
                f"{origin(cls)} must take another name"
            )
        cls.name = name
        _METHODS[name] = cls
        return cls

    return add


def available() -> dict[str, type[Method]]:
    """All methods by name, built-ins and entry points loaded."""
    _load_builtins()
    return dict(sorted(_METHODS.items()))


def get(name: str) -> type[Method]:
    """The method of that name. Raises LtbenchError with the nearest names where there is none."""
    methods = available()
    if name in methods:
        return methods[name]
    own = "; one of your own comes with --plugin FILE"
    broken = "".join(f"\nthe entry point {point} could not be loaded: {why}" for point, why in _BROKEN.items())
    raise LtbenchError(unknown("method", name, methods) + own + broken)


@cache
def _load_builtins() -> None:
    try:
        package = importlib.import_module("ltbench.methods")
    except ModuleNotFoundError:
        raise LtbenchError("ltbench.methods is missing: this checkout is not installed (pip install -e .)") from None
    for module in pkgutil.iter_modules(package.__path__, "ltbench.methods."):
        importlib.import_module(module.name)
    for point in entry_points(group=ENTRY_POINTS):
        before = set(_METHODS)
        try:
            point.load()
        except LtbenchError:
            raise
        except Exception as error:  # somebody else's package: named, and an error only where it is asked for
            _BROKEN[point.name] = f"{type(error).__name__}: {error}"
        for name in _METHODS.keys() - before:
            try:
                signature(_METHODS[name])
            except LtbenchError as error:
                del _METHODS[name]
                _BROKEN[point.name] = str(error)


def load_plugin(given: str) -> None:
    """Load the methods of a file or a dotted module, once.

    Raises LtbenchError where it is not there, cannot be loaded, clashes or registers no method.
    """
    _load_builtins()
    path, name = Path(given), _module_name(given)
    if name in _LOADED:
        return
    before = len(_METHODS)
    if path.is_dir() and (given in (".", "..") or "/" in given):
        raise LtbenchError(f"--plugin {given}: a folder; name a file of it, or a module")
    try:
        if path.suffix == ".py":
            _load_file(path, name)
        else:
            importlib.import_module(name)
    except LtbenchError as error:
        raise LtbenchError(f"--plugin {given}: {error}") from None
    except ImportError as error:
        file = f"{given}.py"
        meant = f"; did you mean {file!r}?" if error.name == given and Path(file).is_file() else ""
        if "relative import" in str(error):
            meant = (
                "; a file imports ltbench's methods as `from ltbench.methods.ce import CE`, what lies beside it by name"
            )
        raise LtbenchError(f"--plugin {given}{_line_in(error, name, path)}: {error}{meant}") from error
    except Exception as error:
        line = _line_in(error, name, path)
        raise LtbenchError(f"--plugin {given}{line}: {type(error).__name__}: {error}") from error
    there = any(f"{cls.__module__}.".startswith(f"{name}.") for cls in _METHODS.values())  # by another's import
    if len(_METHODS) == before and not there:
        raise LtbenchError(f'--plugin {given} registers no method: put @register("name") over its class')
    _LOADED.add(name)


def _module_name(given: str) -> str:
    """What a plugin's module is called; two files may bear one name."""
    path = Path(given)
    if path.suffix != ".py":
        return given
    stem = re.sub(r"\W", "_", path.stem)  # a dot would make it a module of a package
    return f"{PLUGIN}{stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"


def _load_file(path: Path, name: str) -> None:
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None or not path.is_file():
        raise LtbenchError("no such file")
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)  # last: a helper module beside the plugin is found, and hides no other
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for file, helper in helpers_of(name, path).items():
        loaded = getattr(sys.modules.get(helper), "__file__", None)
        if loaded and Path(loaded).resolve() != file:
            raise LtbenchError(f"import {helper}: {loaded} was found in place of {file}: give it another name")


def _line_in(error: BaseException, module: str, path: Path) -> str:
    """The innermost line of a plugin that an error came through, as ":18", or ":18 (helper.py:3)" beside it.

    "" where it came through none.
    """
    lines = [
        line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_globals.get("__name__") == module
    ]
    own, folder, beside = path.resolve(), path.resolve().parent, ""
    walked = [(Path(frame.f_code.co_filename), line) for frame, line in traceback.walk_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.lineno and error.filename:  # it never came to run
        walked.append((Path(error.filename), error.lineno))
        lines += [error.lineno] if Path(error.filename) == own or not lines else []
    for file, line in walked if path.suffix == ".py" else ():
        if folder in file.parents and "site-packages" not in file.parts:
            beside = f" ({file.relative_to(folder)}:{line})" if file != own else ""
    return f":{lines[-1]}{beside}" if lines else ""


def place(error: BaseException) -> str:
    """Where an error came through a method's file, as " (own.py:18)"; "" where it came through none.

    Of a plugin's lines the innermost; else of ours the outermost, which called what failed.
    """
    modules = {base.__module__ for cls in _METHODS.values() for base in bases(cls)}
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):  # the outermost first
        name = frame.f_globals.get("__name__", "")
        if name in modules and (not found or not name.startswith("ltbench.")):
            found = f" ({Path(frame.f_code.co_filename).name}:{line})"
    return found


# Options


def signature(cls: type[Method]) -> Mapping[str, tuple[Any, Any]]:
    """name -> (annotation, default) of each option, in the order of the signature."""
    from .method import Ref

    try:
        hints = get_type_hints(cls.__init__, include_extras=True)
    except NameError as error:
        raise LtbenchError(
            f"{origin(cls)}: an annotation of __init__ names {error.name}, which is not there when the file runs: "
            "import it, and not under TYPE_CHECKING alone"
        ) from None
    _, *parameters = inspect.signature(cls.__init__).parameters.values()
    options = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    for p in parameters[1:]:  # behind the problem
        if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            raise LtbenchError(f"{origin(cls)}: {p} holds options that no suite can know of: write each by its name")
        if p.kind is p.POSITIONAL_OR_KEYWORD:
            raise LtbenchError(f"{origin(cls)}: {p.name!r} is no option where it stands: put a * before the options")
    for p in options:
        if p.default is p.empty:
            raise LtbenchError(f"{origin(cls)}: option {p.name!r} has no default")
        if p.default is None and p.name not in hints:
            raise LtbenchError(
                f"{origin(cls)}: option {p.name!r}: say of what type it is, as {p.name}: float | None = None"
            )
        if p.name.startswith("_"):
            raise LtbenchError(f"{origin(cls)}: option {p.name!r}: a name does not begin with _")
        if hints.get(p.name) is Ref and not _is_ref(p.default):
            meant = f"Ref({p.default!r})" if isinstance(p.default, str) else 'one, as in Ref("ce")'
            raise LtbenchError(f"{origin(cls)}: option {p.name!r}: its default is no Ref: write {meant}")
        try:
            canonical_json(canonical(p.default))
        except (TypeError, ValueError):
            raise LtbenchError(
                f"{origin(cls)}: option {p.name!r}: its default, {p.default!r}, is nothing that a suite can hold"
            ) from None
    return {p.name: (hints.get(p.name, type(p.default)), p.default) for p in options}


def describe(cls: type[Method]) -> Iterator[Option]:
    """The options of a method, for listings."""
    for name, (kind, default) in signature(cls).items():
        yield Option(name, "method" if _is_ref(default) else _plain(kind), canonical(default))


def _plain(kind: Any) -> str:
    """An annotation as people write it: int >= 1 <= 6, linear | cosine."""
    if get_origin(kind) is Annotated:
        base, *limits = get_args(kind)
        signs = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
        bounds = [(sign, getattr(limit, name, None)) for limit in limits for name, sign in signs]
        return " ".join([_plain(base), *(f"{sign} {bound}" for sign, bound in bounds if bound is not None)])
    if get_origin(kind) is Literal:
        return " | ".join(map(str, get_args(kind)))
    if get_origin(kind) in (Union, UnionType):
        return " | ".join("none" if part is type(None) else _plain(part) for part in get_args(kind))
    return inspect.formatannotation(kind)


def resolve(name: str, given: Mapping[str, Any], trail: tuple[str, ...] = ()) -> dict[str, Any]:
    """All options of a method, given or default, in signature order. Raises OptionError naming every fault.

    trail: the methods whose defaults led here, so that defaults which name one another in a ring are found.
    """
    cls = get(name)
    if name in trail:
        raise OptionError([((), f"a cycle: {' -> '.join((*trail, name))}")])
    known = signature(cls)
    faults: list[tuple[tuple[str | int, ...], str]] = []
    for key in given:
        if key not in known:
            faults.append(((key,), unknown(f"option of {name}", key, known)))
    plain = {key: pair for key, pair in known.items() if not _is_ref(pair[1])}
    values: dict[str, Any] = {}
    told = {key: value for key, value in given.items() if key in plain}
    unkept = [key for key, value in told.items() if not _is_data(value)]
    try:
        model = _filled(_model(name), {key: value for key, value in told.items() if key not in unkept})
        values = {key: getattr(model, key) for key in plain}
    except pydantic.ValidationError as error:
        faults += explain(error, known)
    unkept += [key for key, value in values.items() if not _is_data(value)]  # a path or a set, say, by its type
    faults += [((key,), f"nothing that a suite can hold, got {values.get(key, given.get(key))!r}") for key in unkept]
    for key, (_, default) in known.items():
        if _is_ref(default):
            try:
                values[key] = as_ref(given[key]) if key in given else as_ref(default, (*trail, name))
            except OptionError as error:
                faults += [((key, *path), message) for path, message in error.faults]
    if faults:
        raise OptionError(faults)
    return {key: values[key] for key in known}


def _filled(model: type[pydantic.BaseModel], values: Mapping[str, Any]) -> pydantic.BaseModel:
    """By way of JSON, where strict checking still takes one kind of list for another."""
    return model.model_validate_json(json.dumps(canonical(values)))


@cache
def _model(name: str) -> type[pydantic.BaseModel]:
    cls = get(name)
    fields: dict[str, Any] = {key: pair for key, pair in signature(cls).items() if not _is_ref(pair[1])}
    config = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    try:
        model: type[pydantic.BaseModel] = pydantic.create_model(cls.__name__, __config__=config, **fields)
    except pydantic.errors.PydanticUserError as error:
        said = str(error).splitlines()[0]
        raise LtbenchError(f"{origin(cls)}: an option is of no kind that a suite can hold: {said}") from None
    try:
        _filled(model, {key: default for key, (_, default) in fields.items()})
    except pydantic.ValidationError as error:
        said = "; ".join(f"the default of {dotted(path)}: {message}" for path, message in explain(error, fields))
        raise LtbenchError(f"{origin(cls)}: {said}") from None
    except TypeError as error:
        raise LtbenchError(f"{origin(cls)}: the limits of an option do not go with its type: {error}") from None
    return model


def as_ref(given: Any, trail: tuple[str, ...] = ()) -> Ref:
    """The Ref, its options resolved, that a suite's grammar gives: a name, or {name: options}. Raises OptionError."""
    from .method import Ref

    if isinstance(given, Ref):
        return replace(given, options=resolve(given.method, given.options, trail))
    options: Any = {}
    if isinstance(given, str):
        name = given
        if "(" in given and given.partition("(")[0] in available():
            from .labels import grammar, spelled

            try:
                meant = f"; here it is {spelled(grammar(given))}"
            except LtbenchError:  # with a recipe behind it, perhaps
                meant = ""
            raise OptionError([((), f"{given!r} is how a table has it{meant}")])
    elif isinstance(given, Mapping) and len(given) == 1:
        ((name, options),) = given.items()
    else:
        raise OptionError([((), f"a method is a name, or one name with its options indented below it, got {given!r}")])
    path = () if isinstance(given, str) else (name,)
    if not isinstance(options, Mapping) and options is not None:
        raise OptionError([(path, f"the options of {name} must be a mapping, got {options!r}")])
    try:
        return Ref(name, resolve(name, options or {}))
    except OptionError as error:
        raise OptionError([((*path, *below), message) for below, message in error.faults]) from None
    except LtbenchError as error:
        raise OptionError([(path, str(error))]) from None


def _is_data(value: Any) -> bool:
    """Whether it is what YAML has: a scalar, a list or a mapping of such."""
    if isinstance(value, Mapping):
        return all(type(key) is str and _is_data(item) for key, item in value.items())
    if isinstance(value, tuple | list):
        return all(map(_is_data, value))
    return value is None or type(value) in (str, int, float, bool)


def canonical(value: Any) -> Any:
    """An option's value as plain JSON data; a Ref as {name: options}."""
    if _is_ref(value):
        return {value.method: canonical(value.options)}
    if isinstance(value, Mapping):
        return {key: canonical(item) for key, item in value.items()}
    return [canonical(item) for item in value] if isinstance(value, tuple | list) else value


def _is_ref(value: Any) -> bool:
    from .method import Ref

    return isinstance(value, Ref)
