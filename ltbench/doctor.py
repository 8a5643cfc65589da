"""What is wrong in a folder of results and its runs, and what to do about it. It looks, and touches only with --fix."""

from __future__ import annotations

import os
import re
import shutil
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from . import leases, manifest, planfile
from . import record as records
from .errors import LtbenchError, UnreadableError
from .keys import is_stem
from .planfile import PlanFile
from .record import Record

ASIDE = "set-aside"  # where --fix moves what cannot be made anew
STUMP = re.compile(r"\..+\.[a-z0-9_]{8}|\.step-.*")  # what a kill leaves of a file, or of a checkpoint, being written
YOUNG = 60.0  # seconds within which a stump may be a file that somebody is writing


@dataclass(frozen=True)
class Kind:
    """A kind of finding. advice: what to do about it; wrong: whether it is a fault, or only worth knowing."""

    name: str
    advice: str
    wrong: bool = True


DAMAGED = Kind("damaged", f"not believed by any command; --fix moves it to {ASIDE}/, `ltbench run` makes it anew")
WEIGHTS = Kind("damaged weights", "not used by any command; `ltbench run` trains the run again where a row needs them")
UNREADABLE = Kind("unreadable", "it may be as good as ever: see to its permissions, or to the disk")
NEWER = Kind("newer", "written by a newer ltbench: upgrade to read it")
STALE = Kind(
    "stale", "the method's source has changed since, its version has not: let be where its numbers are the same, else "
    "raise the version, which makes `ltbench run` do it again", wrong=False,
)  # fmt: skip
STRANGE = Kind("of an unknown method", "this ltbench has none of that name: another version's, perhaps", wrong=False)
FOREIGN = Kind("foreign", "a record of another suite: yours to move where it belongs")
UNASKED = Kind(
    "in no plan", "no row asks for it, and no run that a row asks for starts from it: a run of former settings, say, "
    "or of another version; it fills no row, and is yours to keep or move", wrong=False,
)  # fmt: skip
ORPHAN = Kind("orphan", "a run folder without a record here: delete it, unless another results folder uses it")
STUMPS = Kind("leftover", "the stump of a file that a kill cut short; --fix deletes it")
DEAD = Kind("dead lease", "its process is gone; the next `ltbench run` takes the run over; --fix deletes it")
OTHER = Kind("not ltbench's", "let be", wrong=False)
RUNNING = Kind("running", "somebody is at it", wrong=False)
PARTIAL = Kind("partial", "`ltbench run` goes on from its last checkpoint", wrong=False)
AGAIN = Kind("to be run again", "failed and oom runs are, by the next `ltbench run`", wrong=False)
KINDS = (
    DAMAGED, WEIGHTS, UNREADABLE, NEWER, FOREIGN, ORPHAN, STUMPS, DEAD, STALE, STRANGE, UNASKED, RUNNING, PARTIAL,
    AGAIN, OTHER,
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """Something found. fix: does what --fix does about it; None where that is for people to decide."""

    kind: Kind
    path: Path
    text: str
    fix: Callable[[], None] | None = None


@dataclass
class SuiteFolder:
    """One suite's folder as it was read."""

    folder: Path
    plan: PlanFile | None = None
    found: dict[str, Record] = field(default_factory=dict)


def examine(results: Path, runs: Path) -> Iterator[Finding]:
    """All findings, in no order. Raises LtbenchError where there are no results at all."""
    suites = [SuiteFolder(folder) for folder in _folders(results)]
    for suite in suites:
        yield from _suite(suite)
    whole = not (results / "plan.json").is_file()  # else the other suites' runs would look as if nobody had asked
    yield from _runs(runs, suites, whole)


def _folders(results: Path) -> list[Path]:
    """The folders of suites: those with a plan, or with files that bear a record's name."""
    found = [path for path in (results, *sorted(results.glob("*/"))) if path.name != ASIDE and _is_suite(path)]
    return found[:1] if found[:1] == [results] else found or planfile.suite_folders(results)


def _is_suite(folder: Path) -> bool:
    return os.path.exists(folder / "plan.json") or bool(records.files(folder))


# Records


def _suite(suite: SuiteFolder) -> Iterator[Finding]:
    """What is wrong in a suite's folder; fills in the suite."""
    for path in sorted(suite.folder.iterdir()):
        if path.name == ASIDE or path.name.startswith(leases.PREFIX):
            continue
        if STUMP.fullmatch(path.name):
            yield from _stump(path)
        elif path.name == "plan.json":
            try:
                suite.plan = planfile.read(suite.folder)
            except UnreadableError as error:
                yield Finding(UNREADABLE, path, _said(error, path))
            except LtbenchError as error:
                yield Finding(DAMAGED, path, _said(error, path), lambda path=path: _set_aside(path))  # type: ignore[misc]
        elif path.suffix == ".json" and is_stem(path.stem):
            yield from _record(suite, path)
        elif not path.name.startswith("."):
            yield Finding(OTHER, path, "")
    if suite.plan is None and not (suite.folder / "plan.json").exists():
        yield Finding(DAMAGED, suite.folder / "plan.json", "absent: `ltbench run` writes it anew")
    yield from _leases(suite.folder)
    yield from _standing(suite)


def _record(suite: SuiteFolder, path: Path) -> Iterator[Finding]:
    try:
        record = records.read(path)
    except UnreadableError as error:
        yield Finding(UNREADABLE, path, _said(error, path))
        return
    except LtbenchError as error:
        said = _said(error, path)
        newer = re.match(r"schema (\d+);", said)
        if newer and int(newer[1]) > records.SCHEMA:
            yield Finding(NEWER, path, said)
        else:
            yield Finding(DAMAGED, path, said, lambda: _set_aside(path))
        return
    suite.found[record.key] = record
    if record.suite != Path(os.path.abspath(suite.folder)).name:  # "." has none; a link keeps its own
        yield Finding(FOREIGN, path, f"a record of the suite {record.suite}")
    now = _source(record.method)
    if record.source and now != record.source and not (record.plugin and record.plugin != _plugin(record.method)):
        yield Finding(STALE if now else STRANGE, path, f"{record.label} seed {record.seed}")


def _source(method: str) -> str:
    """The hash of a method's source as it is now; "" where there is none of that name."""
    from . import registry, sources

    methods = registry.available()
    return sources.source_hash(methods[method]) if method in methods else ""


def _plugin(method: str) -> str:
    """A plugin's hash as it is now: of a record of another its key tells."""
    from . import registry, sources

    methods = registry.available()
    return sources.plugin_hash(methods[method]) if method in methods else ""


def _standing(suite: SuiteFolder) -> Iterator[Finding]:
    """Records that fill no row, and those whose runs are to be run again."""
    unasked = _unasked(suite)
    for key, record in suite.found.items():
        path, run = suite.folder / f"{record.stem}.json", f"{record.label} seed {record.seed}"
        if key in unasked:
            yield Finding(UNASKED, path, run)
        elif record.status in ("failed", "oom"):
            yield Finding(AGAIN, path, f"{run} {record.status}: {record.reason}")


def _unasked(suite: SuiteFolder) -> set[str]:
    """The keys of records that fill no row and that nothing which a row asks for starts from."""
    if suite.plan is None:
        return set()
    asked = {key for row in suite.plan.rows for key in row.keys.values()}
    if not asked <= {key for key, record in suite.found.items() if record.status in records.FINAL}:
        return set()  # what is still to be run may start from any of them
    from .former import needed

    return suite.found.keys() - needed(suite.found, asked)


# Runs


def _runs(runs: Path, suites: Iterable[SuiteFolder], whole: bool) -> Iterator[Finding]:
    """What is wrong in the folders of runs; those that no record or row names only where all suites were read."""
    found = [record for suite in suites for record in suite.found.values()]
    asked = {key for suite in suites if suite.plan for row in suite.plan.rows for key in row.keys.values()}
    # what is still to be run may start from any run here: no plan names parents, only their children's records do
    final = {record.key for record in found if record.status in records.FINAL}
    settled = all(suite.plan for suite in suites) and asked <= final
    asked |= {parent.key for record in found for parent in record.parents.values()}
    short = {key[:8] for key in asked}
    for path in sorted(runs.iterdir()) if runs.is_dir() else ():
        if path.name == ASIDE:
            continue
        if not path.is_dir() or not is_stem(path.name):
            if not path.name.startswith("."):
                yield Finding(OTHER, path, "")
            continue
        held = list(_leases(path))
        yield from held
        if any(finding.kind is RUNNING for finding in held):
            continue  # what its runner is writing is not for us to judge
        same = [record for record in found if record.stem == path.name]
        named = bool(same) or path.name.split("-")[1] in short
        yield from _run(path, same, named or not (whole and settled))


def _run(path: Path, same: Sequence[Record], asked: bool) -> Iterator[Finding]:
    """What is wrong in a run's folder; same: its records, of each suite that has it, perhaps of two trainings."""
    from . import checkpoints

    for inner in sorted(path.iterdir()):
        if STUMP.fullmatch(inner.name):
            yield from _stump(inner)
    whole = []
    for step in checkpoints.steps(path):
        folder = path / checkpoints.name(step)
        if not (fault := _fault(folder, (checkpoints.TENSORS, checkpoints.STATE))):
            whole.append(step)
        else:
            yield Finding(DAMAGED, folder, fault, lambda folder=folder: _set_aside(folder))  # type: ignore[misc]
    numbers = {record.numbers for record in same if record.status == "complete"}
    finished = bool(numbers) and (path / checkpoints.WEIGHTS).exists()
    if (finished or (path / manifest.MANIFEST).exists()) and (fault := _fault(path, numbers=numbers)):
        yield Finding(WEIGHTS, path, fault)
    if not asked:
        yield Finding(ORPHAN, path, "no record or plan here names it")
    elif whole and not any(record.status in records.FINAL for record in same):
        yield Finding(PARTIAL, path, f"stopped at step {whole[0]}")


def _fault(folder: Path, names: Iterable[str] | None = None, numbers: Set[str] = frozenset()) -> str:
    """In what way a folder contradicts its manifest or its record, or what of these names that lacks; else ""."""
    try:
        manifest.verify(folder, names=names, numbers=numbers)
    except manifest.DamagedError as error:
        return str(error)
    return ""


def _leases(folder: Path) -> Iterator[Finding]:
    for lease in leases.find(folder):
        if lease.lives():
            yield Finding(RUNNING, lease.path, str(lease.holder))
        else:
            yield Finding(DEAD, lease.path, str(lease.holder), lambda lease=lease: _bury(lease))  # type: ignore[misc]


def _bury(lease: leases.Found) -> None:
    """Delete a dead lease, unless somebody has made another of its name since."""
    if any(there.path == lease.path and there.holder == lease.holder for there in leases.find(lease.path.parent)):
        _delete(lease.path)


def _stump(path: Path) -> Iterator[Finding]:
    if time.time() - path.lstat().st_mtime > YOUNG:
        yield Finding(STUMPS, path, "", lambda: _delete(path))


# What --fix does


def _set_aside(path: Path) -> None:
    """Move a file or folder into set-aside/ beside it, under a name that is free and that nothing reads."""
    folder = path.parent / ASIDE
    folder.mkdir(exist_ok=True)
    free = (folder / f"{path.name}.{number}" for number in range(10**6))
    os.rename(path, next(name for name in free if not name.exists()))


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _said(error: LtbenchError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")


# What is printed


def in_order(found: Iterable[Finding]) -> Mapping[Kind, list[Finding]]:
    """The findings by kind, gravest first, and by path."""
    sorted_ = sorted(found, key=lambda finding: str(finding.path))
    return {kind: here for kind in KINDS if (here := [finding for finding in sorted_ if finding.kind is kind])}


def report(found: Mapping[Kind, list[Finding]], fixed: bool) -> Iterator[str]:
    """Lines that say what was found, what to do, and what --fix has done."""
    width = min(100, shutil.get_terminal_size((100, 24)).columns)
    for kind, here in found.items():
        yield from textwrap.wrap(f"{kind.name} ({len(here)}): {kind.advice}", width)
        for finding in here:
            done = " (put right)" if fixed and finding.fix else ""
            yield f"  {finding.path}" + (f": {finding.text}" if finding.text else "") + done
        yield ""
    wrong = sum(len(here) for kind, here in found.items() if kind.wrong)
    able = sum(finding.fix is not None for here in found.values() for finding in here)
    if not wrong:
        yield "nothing is wrong; what stands above is only told" if found else "nothing is wrong"
    elif fixed:
        yield f"{_faults(wrong)}, {able} put right"
    else:
        yield (
            f"{_faults(wrong)}; --fix puts {able} right"
            if able
            else f"{_faults(wrong)}; none is for --fix to put right"
        )


def _faults(count: int) -> str:
    return f"{count} fault{'s' if count != 1 else ''}"
