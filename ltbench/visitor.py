"""From a row of a suite to its runs and the runs that these start from, on one data set and backbone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from . import answers, labels, outline, registry, sources
from .backbones import BackboneSpec
from .data.dataset import Dataset
from .data.spec import DataSpec
from .data.subset import expected_overlap
from .data.transforms import look_of
from .errors import LtbenchError, explain, told
from .keys import Identity, digest, validated
from .method import ProblemSpec, Ref
from .planfile import Row
from .recipe import ADAPTER, Recipe
from .record import Parent
from .runspec import RunSpec
from .scores import group_classes
from .strict_yaml import dotted
from .suite import MethodEntry, Suite

if TYPE_CHECKING:
    from .plan import Plan

DEEPEST = 20  # runs that may need one another in a row
MOST = 1000  # runs that one run of a row may need, itself and those that its parents need among them


@dataclass(frozen=True)
class Sample:
    """What the plan knows of one training set, without its images."""

    spec: DataSpec
    counts: tuple[int, ...]
    groups: tuple[int, int]
    fingerprints: Mapping[str, str]
    size: int  # pixels a side
    overlap: dict[str, float | None]  # as in Plan.overlaps
    classes: tuple[str, ...]  # their names; none where they are but numbers

    @classmethod
    def of(cls, data: Dataset) -> Sample:
        """A dataset's."""
        numbered = data.classes == tuple(map(str, range(len(data.classes))))
        return cls(
            data.spec, data.counts, data.groups, data.fingerprints, data.train.size, overlap(data),
            () if numbered else tuple(name.encode("utf-8", "backslashreplace").decode() for name in data.classes),
        )  # fmt: skip


def row_label(entry: MethodEntry, ref: Ref) -> str:
    """The label of the row of an entry, with the fields of the recipe that it overrides."""
    own = [f"{key}={labels.spelled(value)}" for key, value in entry.recipe.items()]
    return labels.label(ref.method, ref.options) + (f" [{', '.join(own)}]" if own else "")


@dataclass
class Visitor:
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

    def row(self, entry: MethodEntry, ref: Ref, recipe: Recipe) -> Row:
        """The row of an entry of the suite. Raises LtbenchError where the entry cannot be run."""
        suite, data = self.plan.suite, self.data
        label = row_label(entry, ref)
        spec = ProblemSpec(data.label, self.sample.counts, self._size(recipe), self.net.label)
        skip = self._skip(ref.method, ref.options, spec, set())
        keys, settings = {}, ""
        for seed in () if skip else suite.seeds_of(data):
            self.sample = self.sets[seed] if data.draws else self.sets[0]
            self.visits = 0
            run = self.visit(replace(ref, seed=seed), recipe, label, (), own=tuple(entry.recipe))
            keys[str(seed)] = run.key
            settings = settings or self._settings(run)
        prints = [sample.fingerprints for sample in self.sets] if data.draws else self.sets[0].fingerprints
        origin = [self.net.origin] if self.net.origin else []  # of weights, so that no two kinds share a block
        return Row(
            label=label, method=ref.method, data=data.label, backbone=self.net.label, recipe=recipe_name(suite),
            block=digest([prints, self.net.label, self._plain(suite.recipe).hash(), *origin]), keys=keys, skip=skip,
            settings=settings, sets=suite.sets,
        )  # fmt: skip

    def _settings(self, run: RunSpec) -> str:
        """Hash of all that the keys of a row's runs hang on but seed and images."""
        parents = {role: self._settings(self.plan.runs[parent.key]) for role, parent in run.parents.items()}
        return replace(run.identity, seed=0, fingerprints={}, parents=parents).key

    def visit(self, ref: Ref, base: Recipe, label: str, trail: tuple[Any, ...], own: tuple[str, ...] = ()) -> RunSpec:
        """The run of ref, put into the plan after its parents. own: the fields that its entry takes from base.

        trail: the runs that it is needed by. Raises LtbenchError where they need one another, where a run needs more
        than MOST, or where a method, its options, its recipe and this backbone do not go together.
        """
        cls = registry.get(ref.method)
        here = (ref.method, digest(registry.canonical(ref.options)), ref.seed, ref.part)
        if here in trail:
            chain = " -> ".join(step[0] for step in (*trail[trail.index(here) :], here))
            raise LtbenchError(f"{self.where}: a cycle: {chain}")
        if len(trail) > DEEPEST:
            raise LtbenchError(f"{self.where}: more than {DEEPEST} runs need one another: {label}")
        self.visits += 1
        if self.visits > MOST:  # many of many of many: it would take minutes to count them
            raise LtbenchError(f"{self.where}: more than {MOST} runs are needed for one")
        parents = {}
        for role, asked in self._ask(ref.method, "needs", ref.options).items():
            parent = self._parent(role, asked, ref, (*trail, here))
            parents[role] = Parent(key=parent.key, label=parent.label)
        recipe = self._ask(ref.method, "recipe", self.plan.suite.recipe, ref.options)
        # after its parents, without which it may not be built
        self._fits(ref, label, self._size(base), trains=recipe.epochs > 0)
        if "epochs" in own and not (base.epochs and recipe.epochs):
            said = "must be at least 1" if recipe.epochs else f"{label} trains nothing, so it takes no epochs"
            raise LtbenchError(f"{self.where}.recipe.epochs: {said}, got {base.epochs}")
        overrides = {key: getattr(base, key) for key in own}
        recipe = self._valid(ref.method, asdict(recipe) | recipe.begun(overrides) | overrides)
        size = self._size(recipe)
        self._takes(parents.values(), size, ".recipe.image_size" if "image_size" in own else "")
        recipe = self._plain(recipe)
        identity = Identity(
            method=ref.method, version=cls.version, plugin=sources.plugin_hash(cls),
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
        return self._known(run)

    def _skip(self, method: str, options: Mapping[str, Any], spec: ProblemSpec, asked: set[str], depth: int = 0) -> str:
        """The reason of a method, or of one that it starts from, not to run here; "" where there is none.

        asked: those that were asked before, which need not be again; cycles and endless needs are told by visit().
        """
        asked.add(digest([method, registry.canonical(options)]))
        said: str = self._ask(method, "skip", spec, options)
        if said or depth > DEEPEST:
            return said
        for role, ref in self._ask(method, "needs", options).items():
            parent = self._resolved(method, ref)
            if len(asked) > MOST or digest([ref.method, registry.canonical(parent)]) in asked:
                continue
            if said := self._skip(ref.method, parent, spec, asked, depth + 1):
                return f"{role} {labels.label(ref.method, parent)}: {said}"
        return ""

    def _known(self, run: RunSpec) -> RunSpec:
        """The plan's run of that key. Raises LtbenchError where it has other options, which the key does not tell."""
        known = self.plan.runs.setdefault(run.key, run)
        if known.identity.options != run.identity.options:
            raise LtbenchError(
                f"{self.where}: {run.label} and {known.label} differ only in what is off (none, false, '' or []), "
                "which no key tells apart: give that option other values"
            )
        return known

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
            answer = getattr(registry.get(method), hook)(*arguments)
        except ValueError as error:  # what needs() raises for options that do not go together
            raise LtbenchError(f"{self.where}: {method}: {error}") from None
        except Exception as error:
            said = f"{type(error).__name__}: {error}{registry.place(error)}"
            raise LtbenchError(f"{self.where}: {method}.{hook}: {said}") from error
        refusal = answers.refusal(hook, answer)
        if refusal:
            raise LtbenchError(f"{self.where}: {method}.{refusal}")
        return answer

    def _fits(self, ref: Ref, label: str, size: int, trains: bool) -> None:
        """Raises LtbenchError where the method refuses the backbone, which it may be unable to split, or fails."""
        what = digest([ref.method, registry.canonical(ref.options), size, trains])
        if what in self.fitting:
            return
        try:
            outline.check_method(registry.get(ref.method), ref.options, self.net, self.sample.counts, size, trains)
        except (ValueError, LtbenchError) as error:
            raise LtbenchError(f"{self.where}: {label} on {self.net.label}: {error}") from None
        except Exception as error:  # somebody's own constructor
            said = f"{type(error).__name__}: {error}{registry.place(error)}"
            raise LtbenchError(f"{self.where}: {label} on {self.net.label} cannot be built: {said}") from error
        self.fitting.add(what)

    def _takes(self, parents: Iterable[Parent], size: int, key: str) -> None:
        """Raises LtbenchError where what a run starts from has weights of other shapes at its image size, or none."""
        for run in (self.plan.runs[parent.key] for parent in parents):
            if run.size == size:
                continue
            cls, options, net = registry.get(run.ref.method), run.ref.options, self.net
            said = (
                f"{self.where}{key}: it starts from {run.label}, trained on images of {run.size} pixels, and at {size} "
            )
            try:
                shapes = [outline.shapes(cls, options, net, run.counts, each) for each in (run.size, size)]
            except Exception as error:  # somebody's own constructor
                place = "" if isinstance(error, ValueError | LtbenchError) else registry.place(error)
                raise LtbenchError(f"{said}that cannot be built: {told(error)}{place}") from None
            if shapes[0] != shapes[1]:
                raise LtbenchError(f"{said}its weights on {net.label} have other shapes")

    def _valid(self, method: str, recipe: Mapping[str, Any]) -> Recipe:
        """A recipe that a method and its entry have changed, checked. Raises LtbenchError naming what it may not be."""
        try:
            return validated(ADAPTER, recipe)
        except ValidationError as error:
            faults = "; ".join(f"{dotted(path)} {said}".strip() for path, said in explain(error, ()))
            raise LtbenchError(f"{self.where}: the recipe that {method} makes: {faults}") from None

    def _resolved(self, method: str, asked: Ref) -> dict[str, Any]:
        """All options of what a method asks for. Raises LtbenchError where there is no such method or option."""
        try:
            return registry.resolve(asked.method, asked.options)
        except LtbenchError as error:
            raise LtbenchError(f"{self.where}: {method}.needs() names {asked.method}: {error}") from None

    def _parent(self, role: str, asked: Ref, child: Ref, trail: tuple[Any, ...]) -> RunSpec:
        """The run that fills a role: same data and backbone, the suite's recipe, the child's seed and its offset."""
        options = self._resolved(child.method, asked)
        label = labels.label(asked.method, options)
        offers = self._ask(asked.method, "offers", options)
        lacking = [want for want in asked.wants if want not in offers]
        if lacking:
            raise LtbenchError(
                f"{self.where}: {child.method} cannot start from {label}: it offers no {' and no '.join(lacking)}"
            )
        try:
            part = answers.part_of(child, asked)
        except ValueError as error:
            raise LtbenchError(f"{self.where}: {error}") from None
        ref = Ref(asked.method, options, child.seed + asked.seed, part)
        return self.visit(ref, self.plan.suite.recipe, label + (" [part=fit]" if part == "fit" else ""), trail)


def overlap(data: Dataset) -> dict[str, float | None]:
    """Of each group, and of all: the share of the training images that another draw is expected to have too."""
    parts = {**group_classes(data.counts, data.groups), "all": list(range(len(data.counts)))}
    return {
        name: expected_overlap([data.counts[c] for c in classes], [data.pool[c] for c in classes])
        for name, classes in parts.items()
    }


def recipe_name(suite: Suite) -> str:
    """The name of a suite's recipe, with the fields that a --set has changed: no two recipes of a file look alike."""
    changed = [text for text in suite.changed if not text.startswith("name=")]
    return f"{suite.recipe.name} [{', '.join(changed)}]".lstrip() if changed else suite.recipe.name
