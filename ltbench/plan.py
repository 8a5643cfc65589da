"""Suite -> Plan: every run that the rows need, parents closed over, de-duplicated by key, in an order that works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from . import backbones, labels, outline, registry
from .backbones import BackboneSpec
from .data.dataset import Dataset, open_dataset
from .data.spec import DataSpec
from .data.subset import expected_overlap
from .data.transforms import Look, look_of
from .errors import LtbenchError, explain
from .keys import Identity, digest, stem, validated
from .method import ProblemSpec, Ref
from .recipe import ADAPTER, Recipe
from .record import Parent, PlanFile, Row
from .registry import OptionError
from .scores import group_classes
from .strict_yaml import dotted
from .suite import Entry, Suite, own_recipe

MOST = 1000  # runs that one run of a row may need, itself and those that its parents need among them


@dataclass(frozen=True)
class RunSpec:
    """One training run, fully resolved."""

    suite: str
    data: DataSpec
    counts: tuple[int, ...]
    groups: tuple[int, int]
    size: int  # pixels a side
    net: BackboneSpec
    ref: Ref  # options resolved; seed is the run's own, not an offset
    label: str
    recipe: Recipe
    suite_recipe: Recipe
    parents: Mapping[str, Parent]
    identity: Identity
    key: str

    @property
    def backbone(self) -> str:
        """As the table shows it."""
        return self.net.label

    @property
    def stem(self) -> str:
        """The name of its record and of its folder."""
        return stem(self.ref.method, self.key, self.ref.seed)


@dataclass
class Plan:
    """The runs by key, parents first, and the rows that they fill."""

    suite: Suite
    runs: dict[str, RunSpec] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    why: dict[str, list[str]] = field(default_factory=dict)  # key -> "asked", or "stage1 of crt"
    # data label -> group -> the expected share of a draw's images that another draw has too
    overlaps: dict[str, dict[str, float | None]] = field(default_factory=dict)

    def file(self) -> PlanFile:
        """What stands in plan.json."""
        baseline = _baseline(self.suite, self.rows)
        return PlanFile(suite=self.suite.name, baseline=baseline, rows=tuple(self.rows))

    def chosen(self, only: Sequence[str], seeds: Sequence[int]) -> dict[str, RunSpec]:
        """The runs that some rows and seeds need (all where none is named), parents first.

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
        wanted = {_canonical_label(text, self.rows) for text in only}
        rows = [row for row in self.rows if not wanted or row.label in wanted]
        keys = {key for row in rows for seed, key in row.keys.items() if not seeds or int(seed) in seeds}
        needed: set[str] = set()
        for key, run in reversed(list(self.runs.items())):
            if key in keys or key in needed:
                needed |= {key, *(parent.key for parent in run.parents.values())}
        return {key: run for key, run in self.runs.items() if key in needed}


def make(suite: Suite, folder: Path) -> Plan:
    """The plan of a suite whose data lie in folder.

    Raises LtbenchError that lists every fault of the suite file, or says which data are missing.
    """
    nets, entries = _resolved(suite)
    plan = Plan(suite)
    faults: list[str] = []
    for data, (i, net) in product(suite.data, enumerate(nets)):
        sets = [Sample.of(open_dataset(part, folder)) for part in data.each()]
        plan.overlaps |= {data.label: sets[0].overlap} if data.draws else {}
        look = suite_look(suite, data, sets[0].size)
        _check_backbone(suite.where_listed("backbone", i), net, look.size if look else sets[0].size)
        fitting: set[str] = set()
        for entry, ref, recipe in entries:
            visit = _Visitor(plan, data, sets, net, suite.where("methods", entry.index), fitting)
            try:
                plan.rows.append(visit.row(entry, ref, recipe))
            except LtbenchError as error:
                faults.append(str(error))
    if faults:
        raise LtbenchError("\n".join(dict.fromkeys(faults)))
    _refuse_twins(plan)
    _baseline(suite, plan.rows)
    return plan


def _resolved(suite: Suite) -> tuple[list[BackboneSpec], list[tuple[Entry, Ref, Recipe]]]:
    """The backbones, and each entry's method and recipe. Raises LtbenchError with the faults of the whole file."""
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


def recipe_name(suite: Suite) -> str:
    """The name of a suite's recipe, with the fields that a --set has changed: no two recipes of a file look alike."""
    changed = [text for text in suite.changed if not text.startswith("name=")]
    return f"{suite.recipe.name} [{', '.join(changed)}]".lstrip() if changed else suite.recipe.name


def overlap(data: Dataset) -> dict[str, float | None]:
    """Of each group, and of all: the share of the training images that another draw is expected to have too."""
    parts = {**group_classes(data.counts, data.groups), "all": list(range(len(data.counts)))}
    return {
        name: expected_overlap([data.counts[c] for c in classes], [data.pool[c] for c in classes])
        for name, classes in parts.items()
    }


@dataclass(frozen=True)
class Sample:
    """What the plan knows of one training set, without its images."""

    spec: DataSpec
    counts: tuple[int, ...]
    groups: tuple[int, int]
    fingerprints: Mapping[str, str]
    size: int  # pixels a side
    overlap: dict[str, float | None]  # as in Plan.overlaps

    @classmethod
    def of(cls, data: Dataset) -> Sample:
        """A dataset's."""
        return cls(data.spec, data.counts, data.groups, data.fingerprints, data.train.size, overlap(data))


@dataclass
class _Visitor:
    """Walks from a row to its runs and their parents, on one data set and backbone."""

    plan: Plan
    data: DataSpec  # as the suite has it
    sets: Sequence[Sample]  # the training sets that it stands for: of each draw, or one for all seeds
    net: BackboneSpec
    where: str  # the entry in the suite file, for messages
    fitting: set[str]  # the methods with their options that are known to fit this backbone and image size
    visits: int = 0  # runs that the row needs for one seed, those named twice counted twice

    def __post_init__(self) -> None:
        self.sample = self.sets[0]  # the training set of the run that is visited, and of all its parents

    def row(self, entry: Entry, ref: Ref, recipe: Recipe) -> Row:
        suite, data = self.plan.suite, self.data
        label = labels.label(ref.method, ref.options)
        if entry.recipe:
            label += f" [{', '.join(f'{key}={value}' for key, value in entry.recipe.items())}]"
        spec = ProblemSpec(data.label, self.sample.counts, self._size(recipe), self.net.label)
        skip = self._ask(ref.method, "skip", spec, ref.options)
        keys = {}
        for seed in () if skip else suite.seeds_of(data):
            self.sample = self.sets[seed] if data.draws else self.sets[0]
            self.visits = 0
            run = self.visit(replace(ref, seed=seed), recipe, label, (), own=tuple(entry.recipe))
            self.plan.why.setdefault(run.key, []).append("asked")
            keys[str(seed)] = run.key
        prints = [sample.fingerprints for sample in self.sets] if data.draws else self.sets[0].fingerprints
        origin = [self.net.origin] if self.net.origin else []  # of weights, so that no two kinds share a block
        return Row(
            label=label, method=ref.method, data=data.label, backbone=self.net.label, recipe=recipe_name(suite),
            block=digest([prints, self.net.label, self._plain(suite.recipe).hash(), *origin]), keys=keys, skip=skip,
            sets=suite.sets,
        )  # fmt: skip

    def visit(self, ref: Ref, base: Recipe, label: str, trail: tuple[Any, ...], own: tuple[str, ...] = ()) -> RunSpec:
        """The run of ref, put into the plan after its parents. own: the fields that its entry takes from base."""
        cls = registry.get(ref.method)
        here = (ref.method, digest(registry.canonical(ref.options)), ref.seed, ref.part)
        if here in trail:
            chain = " -> ".join(step[0] for step in (*trail[trail.index(here) :], here))
            raise LtbenchError(f"{self.where}: a cycle: {chain}")
        if len(trail) > 20:
            raise LtbenchError(f"{self.where}: more than 20 runs need one another: {label}")
        self.visits += 1
        if self.visits > MOST:  # many of many of many: it would take minutes to count them
            raise LtbenchError(f"{self.where}: more than {MOST} runs are needed for one")
        self._fits(ref, label, self._size(base))
        parents = {}
        for role, asked in self._ask(ref.method, "needs", ref.options).items():
            parent = self._parent(role, asked, ref, (*trail, here))
            parents[role] = Parent(key=parent.key, label=parent.label)
            reasons = self.plan.why.setdefault(parent.key, [])
            reasons += [f"{role} of {label}"] if f"{role} of {label}" not in reasons else []
        recipe = self._ask(ref.method, "recipe", self.plan.suite.recipe, ref.options)
        overrides = {key: getattr(base, key) for key in own}
        recipe = self._valid(ref.method, asdict(recipe) | recipe.begun(overrides) | overrides)
        size = self._size(recipe)
        recipe = self._plain(recipe)
        identity = Identity(
            method=ref.method, version=cls.version, plugin=registry.plugin_hash(cls),
            options=registry.canonical(ref.options), recipe=recipe.recorded(),
            fingerprints=self.sample.fingerprints, backbone=self.net.label, seed=ref.seed, part=ref.part,
            parents={role: parent.key for role, parent in parents.items()}, weights=self.net.origin,
        )  # fmt: skip
        suite, data = self.plan.suite, self.sample
        run = RunSpec(
            suite=suite.name, data=data.spec, counts=data.counts, groups=data.groups, size=size, net=self.net,
            ref=ref, label=label, recipe=recipe, suite_recipe=self._plain(suite.recipe), parents=parents,
            identity=identity, key=identity.key,
        )  # fmt: skip
        return self.plan.runs.setdefault(run.key, run)

    def _size(self, recipe: Recipe) -> int:
        """Pixels a side under a recipe. Raises LtbenchError where it asks for what the data cannot give."""
        try:
            look = look_of(self.sample.spec, self.sample.size, recipe)
        except LtbenchError as error:
            raise LtbenchError(f"{self.where}.recipe.{error}") from None
        return look.size if look else self.sample.size

    def _plain(self, recipe: Recipe) -> Recipe:
        """The recipe without an image_size that is the data's own: spelled out, it changes no key."""
        return replace(recipe, image_size=None) if recipe.image_size == self.sample.size else recipe

    def _ask(self, method: str, hook: str, *arguments: Any) -> Any:
        """What a method's class answers. Raises LtbenchError where it cannot, which may be somebody's own method."""
        try:
            return getattr(registry.get(method), hook)(*arguments)
        except ValueError as error:  # what needs() raises for options that do not go together
            raise LtbenchError(f"{self.where}: {method}: {error}") from None
        except Exception as error:
            raise LtbenchError(f"{self.where}: {method}.{hook}: {type(error).__name__}: {error}") from error

    def _fits(self, ref: Ref, label: str, size: int) -> None:
        """Raises LtbenchError where the method refuses the backbone, which it may not be able to split."""
        what = digest([ref.method, registry.canonical(ref.options), size])
        if what in self.fitting:
            return
        try:
            outline.method(registry.get(ref.method), ref.options, self.net, self.sample.counts, size)
        except (ValueError, LtbenchError) as error:
            raise LtbenchError(f"{self.where}: {label} on {self.net.label}: {error}") from None
        except Exception:  # somebody's own method may want more than shapes; what it says, it says in the run
            return
        self.fitting.add(what)

    def _valid(self, method: str, recipe: Mapping[str, Any]) -> Recipe:
        """A recipe that a method and its entry have changed, checked. Raises LtbenchError naming what it may not be."""
        try:
            return validated(ADAPTER, recipe)
        except ValidationError as error:
            faults = "; ".join(f"{dotted(path)} {said}".strip() for path, said in explain(error, ()))
            raise LtbenchError(f"{self.where}: the recipe that {method} makes: {faults}") from None

    def _parent(self, role: str, asked: Ref, child: Ref, trail: tuple[Any, ...]) -> RunSpec:
        """The run that fills a role: same data and backbone, the suite's recipe, the child's seed and its offset."""
        options = registry.resolve(asked.method, asked.options)
        label = labels.label(asked.method, options)
        offers = self._ask(asked.method, "offers", options)
        lacking = [want for want in asked.wants if want not in offers]
        if lacking:
            raise LtbenchError(
                f"{self.where}: {child.method} cannot start from {label}: it offers no {' and no '.join(lacking)}"
            )
        part = asked.part if child.part == "all" else child.part
        ref = Ref(asked.method, options, child.seed + asked.seed, part)
        return self.visit(ref, self.plan.suite.recipe, label, trail)


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


def _refuse_twin_blocks(plan: Plan, one: int, other: int, row: Row) -> None:
    """Raises LtbenchError: two blocks, of data and a backbone each, go by the same names."""
    nets, where = len(plan.suite.backbones), plan.suite.where_listed
    if one // nets != other // nets:
        place, first, name = where("data", other // nets), f"data[{one // nets}]", row.data
    else:
        place, first, name = where("backbone", other % nets), f"backbone[{one % nets}]", row.backbone
    raise LtbenchError(f"{place}: {name} goes by the same name as {first}: no table could tell their rows apart")


def _canonical_label(text: str, rows: Sequence[Row]) -> str:
    """The label of the row that a text names. Raises LtbenchError where there is none."""
    if any(row.label == text for row in rows):
        return text
    try:
        ref = labels.parse(text)
        label = labels.label(ref.method, ref.options)
    except LtbenchError as error:
        raise LtbenchError(f"{text!r}: {error}") from None
    if all(row.label != label for row in rows):
        there = ", ".join(dict.fromkeys(row.label for row in rows))
        raise LtbenchError(f"{text!r} is no row of this suite (rows: {there})")
    return label


def _baseline(suite: Suite, rows: Sequence[Row]) -> str:
    """The row that gains are taken over: the suite's `baseline:`, else its first entry."""
    if suite.baseline is None:
        return rows[0].label
    try:
        return _canonical_label(str(suite.baseline), rows)
    except LtbenchError as error:
        raise LtbenchError(f"{suite.where('baseline')}: {error}") from None
