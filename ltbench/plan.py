"""Suite -> Plan: every run that the rows need, parents closed over, de-duplicated by key, in an order that works."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path

from . import backbones, labels, outline, registry
from .backbones import BackboneSpec
from .data.dataset import Dataset, open_dataset
from .data.spec import DataSpec
from .data.transforms import Look, look_of
from .errors import KeyFaultError, LtbenchError, unknown
from .method import Ref
from .planfile import PlanFile, Row
from .recipe import Recipe
from .registry import OptionError
from .runspec import RunSpec
from .suite import MethodEntry, Suite, own_recipe, read
from .visitor import Sample, Visitor, row_label


@dataclass
class Plan:
    """The runs by key, parents first, and the rows that they fill."""

    suite: Suite
    folder: Path  # of the data
    runs: dict[str, RunSpec] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    # data label -> group -> the expected share of a draw's images that another draw has too
    overlaps: dict[str, dict[str, float | None]] = field(default_factory=dict)
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)  # as in PlanFile

    def file(self) -> PlanFile:
        """What stands in plan.json."""
        baseline = _baseline(self.suite, [row.label for row in self.rows])
        return PlanFile(suite=self.suite.name, baseline=baseline, rows=tuple(self.rows), classes=self.classes)

    @cached_property
    def unset(self) -> PlanFile | None:
        """What the suite file asks for by itself; None where it cannot be planned without the --set values."""
        if not self.suite.sets:
            return self.file()
        try:
            own = read(self.suite.document.path)
            here = {spec.name for spec in self.suite.data}
            if any(spec.name not in here for spec in own.data):  # nobody asked for that data, to be fetched perhaps
                return None
            return make(own, self.folder).file()
        except LtbenchError:
            return None

    def chosen_rows(self, only: Sequence[str]) -> list[Row]:
        """The rows that --only names; all where it names none. Raises LtbenchError for a label that is no row."""
        try:
            wanted = {_named(text, [row.label for row in self.rows]) for text in only}
        except LtbenchError as error:
            raise LtbenchError(f"--only: {error}") from None
        return [row for row in self.rows if not wanted or row.label in wanted]

    def asked(self, only: Sequence[str], seeds: Sequence[int]) -> set[str]:
        """The keys of some rows and seeds; of all where none is named.

        Raises LtbenchError for a label that is no row and a seed that the suite does not have.
        """
        there = sorted({seed for spec in self.suite.data for seed in self.suite.seeds_of(spec)})
        strange = sorted(set(seeds) - set(there))
        if strange:
            drawn = any(spec.draws for spec in self.suite.data)
            change = "--set data.draws=N" if drawn else "--set seeds=[...]"
            raise LtbenchError(
                f"--seeds: {strange[0]} is no seed of this suite ({', '.join(map(str, there))}); {change} changes them"
            )
        return {
            key for row in self.chosen_rows(only) for seed, key in row.keys.items() if not seeds or int(seed) in seeds
        }

    def chosen(self, asked: Set[str]) -> dict[str, RunSpec]:
        """The runs of these keys and those that they need, parents first."""
        needed: set[str] = set()
        for key, run in reversed(list(self.runs.items())):
            if key in asked or key in needed:
                needed |= {key, *(parent.key for parent in run.parents.values())}
        return {key: run for key, run in self.runs.items() if key in needed}


def make(suite: Suite, folder: Path) -> Plan:
    """The plan of a suite whose data lie in folder.

    Raises LtbenchError that lists every fault of the suite file, or says which data are missing.
    """
    nets, entries = _resolved(suite)
    plan = Plan(suite, folder)
    faults: list[str] = []
    for (d, data), (i, net) in product(enumerate(suite.data), enumerate(nets)):
        try:
            sets = [Sample.of(opened) for opened in datasets(suite, d, folder)]
            look = suite_look(suite, data, sets[0].size)
            _check_backbone(suite.where_listed("backbone", i), net, look.size if look else sets[0].size)
        except LtbenchError as error:
            faults.append(str(error))
            continue
        plan.overlaps |= {data.label: sets[0].overlap} if data.draws else {}
        fitting: set[str] = set()
        for entry, ref, recipe in entries:
            visit = Visitor(plan, data, sets, net, suite.where("methods", entry.index), fitting)
            try:
                plan.rows.append(visit.row(entry, ref, recipe))
                plan.classes |= {plan.rows[-1].block: sets[0].classes} if sets[0].classes else {}
            except LtbenchError as error:
                faults.append(str(error))
    if faults:
        raise LtbenchError("\n".join(dict.fromkeys(faults)))
    _refuse_twins(plan)
    return plan


def datasets(suite: Suite, index: int, folder: Path) -> Iterator[Dataset]:
    """The training sets of an item of `data:`. Raises LtbenchError that names where the fault stands in the suite."""
    for part in suite.data[index].each():
        try:
            yield open_dataset(part, folder)
        except KeyFaultError as fault:
            raise LtbenchError(suite.where_of_data(index, fault.key, fault.said)) from None
        except LtbenchError as error:
            raise LtbenchError(f"{suite.where_listed('data', index)}: {error}") from None


def _resolved(suite: Suite) -> tuple[list[BackboneSpec], list[tuple[MethodEntry, Ref, Recipe]]]:
    """The backbones, and each entry's method and recipe.

    Raises LtbenchError with the faults of the file that show without its data, which may have to be fetched.
    """
    faults, nets, resolved = list(suite.faults), [], []
    for i, spec in enumerate(suite.backbones):
        try:
            nets.append(backbones.resolve(spec))
        except ValueError as error:
            faults.append(f"{suite.where_listed('backbone', i)}: {error}")
    for entry in suite.entries:
        try:
            ref = registry.as_ref(entry.given)
            resolved.append((entry, ref, own_recipe(suite, entry)))
        except OptionError as error:
            faults += [f"{suite.where('methods', entry.index, *path)}: {message}" for path, message in error.faults]
        except LtbenchError as error:
            faults.append(str(error))
    named = [net.label for net in nets]
    faults += [
        f"{suite.where_listed('backbone', i)}: {label} stands there twice"
        for i, label in enumerate(named)
        if label in named[:i]
    ]
    if resolved and len(resolved) == len(suite.entries):  # else the baseline may be one of those that are not known
        try:
            _baseline(suite, [row_label(entry, ref) for entry, ref, _ in resolved])
        except LtbenchError as error:
            faults.append(str(error))
    if faults:
        raise LtbenchError("\n".join(faults))
    return nets, resolved


def _check_backbone(where: str, net: BackboneSpec, size: int) -> None:
    """Raises LtbenchError where a backbone cannot be built for images of that size."""
    try:
        outline.check(net, size)
    except ValueError as error:
        raise LtbenchError(f"{where}: {net.label} for images of {size}x{size}: {error}") from None


def suite_look(suite: Suite, spec: DataSpec, size: int) -> Look | None:
    """How a suite's recipe looks at data of its own; see look_of(). Raises LtbenchError where the two do not fit."""
    try:
        return look_of(spec, size, suite.recipe)
    except LtbenchError as error:
        raise LtbenchError(f"{suite.where('recipe')}.{error}") from None


def _refuse_twins(plan: Plan) -> None:
    """Raises LtbenchError where two entries are one row."""
    seen: dict[tuple[str, str, str], int] = {}
    rows_per_block = len(plan.suite.entries)
    for i, row in enumerate(plan.rows):
        name = (row.label, row.data, row.backbone)
        if name in seen:
            first, second = seen[name] % rows_per_block, i % rows_per_block
            if first == second:
                _refuse_twin_blocks(plan, seen[name] // rows_per_block, i // rows_per_block, row)
            raise LtbenchError(
                f"{plan.suite.where('methods', second)}: {row.label} is the same row as methods[{first}]"
            )
        seen[name] = i
    runs: dict[tuple[str, ...], int] = {}
    for i, row in enumerate(plan.rows):
        first = runs.setdefault(tuple(row.keys.values()), i)
        if row.keys and first != i and (plan.rows[first].data, plan.rows[first].backbone) == (row.data, row.backbone):
            raise LtbenchError(
                f"{plan.suite.where('methods', i % rows_per_block)}: {row.label} has the same runs as "
                f"methods[{first % rows_per_block}], {plan.rows[first].label}: its recipe changes nothing"
            )


def _refuse_twin_blocks(plan: Plan, one: int, other: int, row: Row) -> None:
    """Raises LtbenchError: two blocks, of data and a backbone each, go by the same names."""
    nets, where = len(plan.suite.backbones), plan.suite.where_listed
    if one // nets != other // nets:
        place, first, name = where("data", other // nets), f"data[{one // nets}]", row.data
    else:
        place, first, name = where("backbone", other % nets), f"backbone[{one % nets}]", row.backbone
    raise LtbenchError(f"{place}: {name} goes by the same name as {first}: no table could tell their rows apart")


def _named(text: str, there: Sequence[str]) -> str:
    """The one of these labels that a text names. Raises LtbenchError where it names none."""
    label = labels.among(text, there)
    if label in there:
        return label
    if not (text.isidentifier() or text.endswith("]")):
        labels.parse(text)  # which may say what is wrong in it
    raise LtbenchError(unknown("row", text, dict.fromkeys(there)) + _how_to_add(text))


def _how_to_add(text: str) -> str:
    """What makes a row of a label that is none here; "" where it names no method."""
    try:
        labels.parse(text)
    except LtbenchError:
        return ""
    given = labels.spelled(labels.grammar(text))
    return f"; --set methods+={given if given == text else repr(given)} adds it"


def _baseline(suite: Suite, there: Sequence[str]) -> str:
    """The label of the row that gains are taken over: the suite's `baseline:`, else its first entry."""
    if suite.baseline is None:
        return there[0]
    try:
        if isinstance(suite.baseline, str):
            return _named(suite.baseline, there)
        ref = registry.as_ref(suite.baseline)
        return _named(labels.label(ref.method, ref.options), there)
    except LtbenchError as error:
        raise LtbenchError(f"{suite.where('baseline')}: {error}") from None
