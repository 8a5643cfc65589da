"""A suite file: YAML -> Suite. Every error of such a file is worded here, all of them in one message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from . import backbones, strict_yaml
from .backbones import BackboneSpec
from .data.spec import DataSpec, misfits
from .errors import LtbenchError, explain, near, unknown
from .keys import validated
from .labels import spelled
from .recipe import ADAPTER, Recipe

KeyPath = tuple[str | int, ...]
REQUIRED = ("data", "backbone", "methods", "recipe")
SHOWN = 80  # characters of a --set that a message repeats
OPTIONAL = ("seeds", "baseline")
SEEDS = (0,)  # where a suite names none
_DATA = TypeAdapter(DataSpec)
_BACKBONE = TypeAdapter(BackboneSpec)
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
SHIPPED = Path(__file__).parent / "suites"  # in a wheel
SOURCE = Path(__file__).parent.parent / "suites"  # in a checkout


@dataclass(frozen=True)
class MethodEntry:
    """One item of `methods:`, not yet looked up. given: a name, or {name: options}."""

    given: Any
    recipe: Mapping[str, Any]  # the fields that this entry overrides
    index: int


@dataclass(frozen=True)
class Suite:
    """What a suite file asks for."""

    name: str
    data: tuple[DataSpec, ...]
    backbones: tuple[BackboneSpec, ...]
    seeds: tuple[int, ...]
    recipe: Recipe
    entries: tuple[MethodEntry, ...]
    baseline: Any  # as given: the label of a row, or a method as an entry has it
    document: strict_yaml.Document
    sets: tuple[str, ...]  # the --set values that are in place
    changed: tuple[str, ...]  # the recipe's fields that they changed, as epochs=50
    faults: list[str] = field(default_factory=list)  # told together with those of the methods, which need torch

    def seeds_of(self, spec: DataSpec) -> tuple[int, ...]:
        """The seeds of a dataset's rows: the suite's; with draws their numbers, as draw i is trained with seed i."""
        return self.seeds if spec.draws is None else tuple(range(spec.draws))

    def where(self, *path: str | int) -> str:
        """file:line: key path."""
        return self.document.where(path)

    def where_listed(self, key: str, index: int) -> str:
        """where() of an item of `data:` or `backbone:`, which may be one thing or a list of them."""
        return self.where(*self._listed(key, index))

    def _listed(self, key: str, index: int) -> KeyPath:
        return (key, index) if isinstance(self.document.value[key], tuple) else (key,)

    def where_of_data(self, index: int, key: str, said: str) -> str:
        """What is wrong with a key of an item of `data:`, and where; on the whole item where a --set has part in it."""
        item = self._listed("data", index)
        sets = [path for path in self.document.given if path[: len(item)] == item]
        if sets and (*item, key) not in sets:
            return f"{self.where(*item)}: {key}: {said}"
        return f"{self.where(*item, key)}: {said}"


def shipped() -> dict[str, Path]:
    """The suites that come with ltbench, by name."""
    folder = SHIPPED if SHIPPED.is_dir() else SOURCE
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def locate(given: str) -> Path:
    """The file of a path or of a shipped suite's name; a path wins. Raises LtbenchError where there is neither."""
    path = Path(given)
    if given and path.exists() and not (path.is_dir() and given in shipped()):  # a file, or a pipe
        return path
    if given in shipped():
        return shipped()[given]
    hint = near(path.stem, shipped())
    raise LtbenchError(
        f"{given}: no such file, and no suite of that name{f'; {hint}' if hint else ''} "
        f"(there are {', '.join(shipped())})"
    )


def read(given: str, sets: Sequence[str] = ()) -> Suite:
    """The suite of a path or shipped name, with --set values in place.

    Raises LtbenchError at once for YAML and keys that lack; other faults are kept until the methods are looked up.
    """
    path = locate(given)
    _check_name(path)
    plain = strict_yaml.read(path)
    document = _with_sets(plain, sets)
    faults = _check_top(document)
    value = document.value
    empty = [key for key in ("data", "backbone") if value[key] == ()]
    faults += [f"{document.where((key,))}: the list is empty" for key in empty]
    data = tuple(_data(document, path, item, faults) for path, item in _listed("data", value["data"]))
    nets = tuple(_backbone(document, path, item, faults) for path, item in _listed("backbone", value["backbone"]))
    recipe = _recipe(document, value["recipe"], faults)
    if "seeds" in value and any(spec and spec.draws for spec in data):
        faults.append(f"{document.where(('seeds',))}: leave it out beside data.draws: draw i is trained with seed i")
    return Suite(
        name=path.stem,
        data=tuple(spec for spec in data if spec),
        backbones=tuple(net for net in nets if net),
        seeds=_seeds(document, value.get("seeds", SEEDS), faults),
        recipe=recipe or Recipe(epochs=1),
        entries=_entries(document, value["methods"], faults),
        baseline=value.get("baseline"),
        document=document,
        sets=tuple(sets),
        changed=_changed(recipe, plain) if sets else (),
        faults=faults,
    )


def _check_name(path: Path) -> None:
    """Raises LtbenchError where a file's name would make a folder of results that lies elsewhere or cannot be typed."""
    if not NAME.fullmatch(path.stem):
        raise LtbenchError(
            f"{str(path)!r}: a suite's file name, without .yaml, names its folder of results: 1 to 64 of A-Z, a-z, "
            "0-9, '.', '_' and '-', beginning with neither '.' nor '-'"
        )


def _with_sets(document: strict_yaml.Document, sets: Iterable[str]) -> strict_yaml.Document:
    """The document with each key.path=value put in its place, and each key.path+=value behind what is there."""
    value, sources = document.value, dict(document.given)
    for text in sets:
        dotted, equals, given = text.partition("=")
        keys = dotted.removesuffix("+").split(".")
        if not equals or not all(keys):
            raise LtbenchError(f"--set {text}: write it as key.path=value, as in recipe.epochs=10")
        try:
            new = strict_yaml.parse_value(given)
            there = _items(value, keys) if dotted.endswith("+") else ()
            new = (*there, *(new if isinstance(new, tuple) else (new,))) if there else new
            value = _put(value, keys, new)
        except (TypeError, LtbenchError) as error:
            raise LtbenchError(f"--set {text}: {error}") from None
        source = f"--set {text if len(text) <= SHOWN else text[:SHOWN] + '...'}"
        added: list[KeyPath] = [(*keys, i) for i in range(len(there), len(new))] if there else [tuple(keys)]
        sources |= dict.fromkeys(added, source)
    return replace(document, value=value, given=sources)


def _items(value: Any, keys: Sequence[str]) -> tuple[Any, ...]:
    """What += adds to: a list that is not empty, or the one thing in place of a list of data or backbones."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if keys in (["data"], ["backbone"]) and value and not isinstance(value, tuple):
        return (value,)
    if keys == ["seeds"] and value is None:
        return SEEDS
    if not isinstance(value, tuple) or not value:
        raise TypeError(f"{'.'.join(keys)} is no list with something in it: write = in place of +=")
    return value


def _put(value: Any, keys: list[str], new: Any) -> Any:
    if not keys:
        return new
    if not isinstance(value, dict):
        what = "a list: --set can only put another in its place" if isinstance(value, tuple) else f"{value!r}"
        raise TypeError(f"{keys[0]!r} would lie in what has no keys, {what}")
    return value | {keys[0]: _put(value.get(keys[0], {}), keys[1:], new)}


def _check_top(document: strict_yaml.Document) -> list[str]:
    """The keys that no suite has. Raises LtbenchError, for them too, where there is no suite to look at."""
    if not isinstance(document.value, dict):
        raise LtbenchError(f"{document.where(())}: a suite is a mapping with the keys {', '.join(REQUIRED)}")
    allowed = (*REQUIRED, *OPTIONAL)
    wrong = [key for key in document.value if key not in allowed]
    inner = {"recipe": [f.name for f in fields(Recipe)], "data": [f.name for f in fields(DataSpec)]}
    faults = []
    for key in wrong:
        homes = [f"{home}.{key}" for home, names in inner.items() if key in names]
        hint = f"; did you mean {' or '.join(homes)}?" if homes else ""
        faults.append(f"{document.where((key,))}: {unknown('key', key, allowed)}{hint}")
    lacking = [_lacking(document, key) for key in REQUIRED if key not in document.value]
    if lacking:
        raise LtbenchError("\n".join([*faults, *lacking]))
    return faults


def _lacking(document: strict_yaml.Document, key: str) -> str:
    """That a key is not there; or that it stands below another, indented too far."""
    below = [(above, key) for above, value in document.value.items() if isinstance(value, dict) and key in value]
    if below:
        return f"{document.where(below[0])}: {key} stands below {below[0][0]}: indent it less"
    return f"{document.path}: {key}: required, but not given"


def _listed(key: str, value: Any) -> list[tuple[KeyPath, Any]]:
    """(path, item) of a value that may be one thing or a list of them."""
    return [((key, i), item) for i, item in enumerate(value)] if isinstance(value, tuple) else [((key,), value)]


def _data(document: strict_yaml.Document, path: KeyPath, value: Any, faults: list[str]) -> DataSpec | None:
    if not isinstance(value, dict):
        faults.append(
            f"{document.where(path)}: must be a mapping such as {{name: cifar100_lt, imbalance: 100}}, got {value!r}"
        )
        return None
    known = [f.name for f in fields(DataSpec) if f.name != "draw"]
    if "draw" in value:
        faults.append(f"{document.where((*path, 'draw'))}: {unknown('key', 'draw', known)}")
        return None
    faults += [f"{document.where((*path, key))}: {said}" for key, said in misfits(value)]
    return _validated(document, path, _DATA, value, known, faults)


def _recipe(document: strict_yaml.Document, value: Any, faults: list[str]) -> Recipe | None:
    if not isinstance(value, dict):
        faults.append(f"{document.where(('recipe',))}: must be a mapping such as {{epochs: 200}}, got {value!r}")
        return None
    if value.get("epochs") == 0 and value["epochs"] is not False:
        faults.append(f"{document.where(('recipe', 'epochs'))}: must be at least 1, got 0")
    return _validated(document, ("recipe",), ADAPTER, value, [f.name for f in fields(Recipe)], faults)


def _changed(recipe: Recipe | None, plain: strict_yaml.Document) -> tuple[str, ...]:
    """The fields in which a recipe differs from that of the file, as epochs=50."""
    given = plain.value.get("recipe") if isinstance(plain.value, dict) else None
    before = _recipe(plain, given, [])
    if recipe is None or before is None:
        return ()
    now, then = asdict(recipe), asdict(before)
    return tuple(f"{name}={spelled(value)}" for name, value in now.items() if value != then[name])


def _validated(
    document: strict_yaml.Document,
    path: KeyPath,
    adapter: TypeAdapter[Any],
    value: Any,
    known: list[str],
    faults: list[str],
) -> Any:
    try:
        return validated(adapter, value)
    except ValidationError as error:
        faults += [f"{document.where(path + below)}: {message}" for below, message in explain(error, known)]
        return None


def _backbone(document: strict_yaml.Document, path: KeyPath, value: Any, faults: list[str]) -> BackboneSpec | None:
    """What `backbone:` says: a name, or one name with its options. A model of timm is looked up with the methods."""
    name, options = next(iter(value.items())) if isinstance(value, dict) and len(value) == 1 else (value, {})
    if not isinstance(name, str):
        faults.append(f"{document.where(path)}: a backbone is a name, or one name with its options, got {name!r}")
        return None
    if name not in backbones.NAMES and not name.startswith(backbones.TIMM):
        said = unknown("backbone", name, backbones.SUMMARIES)
        faults.append(f"{document.where(path)}: {said}; one of timm's is written timm/NAME")
        return None
    below = (*path, name) if isinstance(value, dict) else path
    if not isinstance(options, dict):
        faults.append(f"{document.where(below)}: the options of {name} must be a mapping, got {options!r}")
        return None
    strange = [key for key in options if key not in backbones.OPTIONS]
    if strange:
        faults += [f"{document.where((*below, key))}: {unknown('key', key, backbones.OPTIONS)}" for key in strange]
        return None
    return _validated(document, below, _BACKBONE, {"name": name, **options}, list(backbones.OPTIONS), faults)


def _seeds(document: strict_yaml.Document, value: Any, faults: list[str]) -> tuple[int, ...]:
    good = isinstance(value, tuple) and value and all(type(s) is int and 0 <= s < 1000 for s in value)
    if not good or len(set(value)) < len(value):
        # 1000 and above are the offsets of an ensemble's members
        faults.append(
            f"{document.where(('seeds',))}: must be a list of different numbers from 0 to 999, got {spelled(value)}"
        )
        return (0,)
    return value


def _entries(document: strict_yaml.Document, value: Any, faults: list[str]) -> tuple[MethodEntry, ...]:
    if not isinstance(value, tuple) or not value:
        faults.append(f"{document.where(('methods',))}: must be a list of at least one method, got {spelled(value)}")
        return ()
    entries = []
    for i, item in enumerate(value):
        own = item.get("recipe", {}) if isinstance(item, dict) else {}
        given = {k: v for k, v in item.items() if k != "recipe"} if isinstance(item, dict) else item
        if not isinstance(own, dict):
            faults.append(
                f"{document.where(('methods', i, 'recipe'))}: must be a mapping of recipe fields, got {own!r}"
            )
            own = {}
        entries.append(MethodEntry(given, own, i))
    return tuple(entries)


def own_recipe(suite: Suite, entry: MethodEntry) -> Recipe:
    """The suite's recipe with the fields that an entry overrides. Raises LtbenchError naming each fault."""
    if not entry.recipe:
        return suite.recipe
    faults: list[str] = []
    value = {**asdict(suite.recipe), **suite.recipe.begun(entry.recipe), **entry.recipe}
    known = [f.name for f in fields(Recipe)]
    recipe = _validated(suite.document, ("methods", entry.index, "recipe"), ADAPTER, value, known, faults)
    if faults:
        raise LtbenchError("\n".join(faults))
    assert isinstance(recipe, Recipe)
    return recipe
