"""One RunSpec: build, begin, fit, evaluate, save, record."""

from __future__ import annotations

import gc
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NoReturn

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from . import checkpoints, leases, machine, outcome, registry, world
from . import record as records
from .data.dataset import Dataset
from .data.seeds import seed_of
from .data.streams import Data
from .errors import LtbenchError, first_line, told
from .evaluate import Evaluation, evaluate, rehearse
from .events import Event, Report
from .graph import make_tape
from .heads import LinearHead
from .live import construct, on_device
from .method import Method
from .record import Record
from .runspec import RunSpec
from .state import Settings, done, weights_of
from .trainer import DivergedError, Fit, Interrupted, LostError, Progress

AGREED = ("complete", "diverged")  # what processes that train together all find, or none
SAVING = 20  # a checkpoint is due when this many times the seconds that the last one took have gone by, if not later
UNSEEN = 90.0  # seconds that a file of another machine may not be seen though it is there
TOGETHER = 8  # steps after which processes that train together ask each other whether to stop


def parents_of(spec: RunSpec, runs: Mapping[str, RunSpec]) -> dict[str, RunSpec]:
    """role -> the run that fills it."""
    return {role: runs[parent.key] for role, parent in spec.parents.items()}


def _part(dataset: Dataset, spec: RunSpec) -> Data:
    """The training images that a run sees."""
    return dataset.train if spec.ref.part == "all" else dataset.train.split()[0]


def execute(
    spec: RunSpec,
    parents: Mapping[str, RunSpec],
    settings: Settings,
    report: Report,
    stop: Callable[[], bool] = lambda: False,
) -> Record:
    """Carry out one run, or go on with it, and write its record. Raises Interrupted where stop() asked for it.

    Whatever else goes wrong in the run becomes its status and reason. parents: role -> the finished run.
    One of several processes that train together ends itself where it fails, see _Run.end_all().
    """
    record = outcome.describe(spec)  # of the code that runs, whatever is edited meanwhile
    run = _Run(spec, record, parents, settings, report, stop)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        results, status, reason = run.carry_out(), "complete", ""
    except DivergedError as error:
        results, status, reason = {"history": run.progress.history}, "diverged", str(error)
    except torch.OutOfMemoryError as error:
        results, status, reason = {}, "oom", f"batch size {spec.recipe.batch_size}: {error}".splitlines()[0]
    except MemoryError as error:
        results, status, reason = {}, "oom", f"batch size {spec.recipe.batch_size}: host memory: {error}"
    except Interrupted:
        raise
    except LtbenchError as error:
        results, status, reason = {}, "failed", str(error)
    except OSError as error:  # a full disk: what was saved before is there, and the same command goes on from it
        results, status, reason = {}, "failed", told(error) + run.trace(error)
    except (Exception, SystemExit) as error:  # a method may even call sys.exit()
        text = first_line(f"{type(error).__name__}: {error}")
        results, status, reason = {}, "failed", text + run.trace(error)
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    volatile = run.volatile() | {"started": started, "finished": finished}
    ended = {"status": status, "reason": reason, "volatile": volatile}
    record = Record.model_validate(record.model_dump() | results | ended)
    if status not in AGREED and world.size() > 1:
        run.end_all(record)
    return run.publish(record)


def end_process(reason: str) -> NoReturn:
    """End one of several processes at once, for a reason that the others may not share: they would wait for ever.

    Whoever started them ends the others, or they find the connection closed.
    """
    print(f"process {world.rank()} ends: {reason}", file=sys.__stderr__, flush=True)
    os._exit(1)


@dataclass
class _Run:
    spec: RunSpec
    record: Record  # before it has results
    parents: Mapping[str, RunSpec]
    settings: Settings
    report: Report
    stop: Callable[[], bool]
    progress: Progress = field(default_factory=Progress)
    images: float = 0.0  # training images drawn, by all processes, since this one began
    seconds: float = 0.0  # spent drawing and training on them
    notes: list[str] = field(default_factory=list)
    traced: str = ""  # where the traceback lies of what ended it

    def __post_init__(self) -> None:
        self.folder = self.settings.folder(self.spec)
        self.log = self.folder / "log.txt"
        self.main = world.is_first()

    # What is told

    def say(self, text: str, anyone: bool = False) -> None:
        """A line in the run's log, by the first process or by anyone. A full disk costs the line, not the run."""
        if not (self.main or anyone):
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.log, "a", encoding="utf-8") as log:
                log.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")
        except OSError as error:
            note = f"the log lacks lines ({told(error)})"
            self.notes += [note] if note not in self.notes else []

    def trace(self, error: BaseException) -> str:
        """Put an error's traceback into the log; the line of a method's file that it came through, as place() has it.

        The log is named in what is printed, not in the record: where it lies is this machine's matter.
        """
        self.say("".join(traceback.format_exception(error)), anyone=True)
        self.traced = f"; traceback in {self.log}"
        return registry.place(error)

    def tell(self, kind: str, text: str, **more: Any) -> None:
        """An event, and its line in the log."""
        self.say(text)
        self.report(Event(self.spec.key, kind, text, epochs=self.spec.recipe.epochs, **more))

    # The run

    def carry_out(self) -> dict[str, Any]:
        """Train and evaluate; the fields of the record that come of it."""
        spec = self.spec
        self.tell("started", f"start {spec.label} seed {spec.ref.seed}")
        self._check_again()
        accelerator = machine.make_accelerator(self.settings.device, spec.recipe.precision)
        gc.collect()  # accelerate ties methods into cycles: those of earlier runs are no part of this one's peak
        machine.forget_peak()
        if accelerator.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        dataset = on_device(spec, self.settings.data, str(accelerator.device), self.settings.workers)
        train = _part(dataset, spec)
        torch.manual_seed(seed_of(spec.ref.seed, "init"))
        method = construct(spec, train, accelerator)
        method.parents = {role: self._parent(role, dataset, accelerator) for role in self.parents}
        method.begin(method.parents, train)
        if spec.recipe.epochs:
            rehearse(method, dataset.test, accelerator)
        self._fit(method, train, accelerator)
        self.tell("evaluating", "evaluate", epoch=spec.recipe.epochs)
        found = evaluate(method, dataset.test, accelerator)
        if not torch.isfinite(found.logits).all():
            raise DivergedError("the finished method gives logits that are not finite")
        strange = [name for name, value in found.per_image.items() if not torch.isfinite(value).all()]
        if strange:
            raise DivergedError(f"the finished method gives {', '.join(strange)} of images that are not finite")
        results = self._results(method, found, len(dataset.classes))
        if machine.agreed(leases.is_anothers(self.folder)):
            raise LostError
        if self.main:
            left = {"weights": method.state_dict(), "logits": {"logits": found.logits.half(), "label": found.label}}
            checkpoints.save_final(self.folder, spec.key, left, outcome.numbers(self.record, results))
        return results

    def _check_again(self) -> None:
        """Raises LtbenchError where a complete run, trained again for its weights, would contradict its record."""
        before = done(self.spec, self.settings)
        if before is None or before.status != "complete":
            return
        here = machine.origin(self.settings.device)
        last = {**before.volatile.model_dump(), "torch": before.volatile.versions.get("torch")}
        other = [
            f"{name} {there[name]}, here {here[name]}"
            for there in (*(part.model_dump() for part in before.volatile.earlier), last)
            for name in ("device", *(() if self.settings.device == "cuda" else ("threads",)), "world_size", "torch")
            if there[name] not in (None, "", 0, "unknown", here[name])
        ]
        if other:
            was = ", ".join(dict.fromkeys(other))
            raise LtbenchError(
                f"its weights are absent, and trained again here they would contradict its record ({was}): copy "
                f"{self.folder} from where it was made, or delete {self.settings.record_path(self.spec)}"
            )

    def _fit(self, method: Method, train: Data, accelerator: Accelerator) -> None:
        spec = self.spec
        saved = checkpoints.load(self.folder, spec.key) if spec.recipe.epochs else None
        optimizer_state = average_state = None
        if saved:
            self.progress, tensors, complaints = saved
            for complaint in complaints:
                self.notes.append(complaint)
                self.tell("resumed", complaint)
            if tensors:
                method.load_state_dict(checkpoints.part(tensors, "method"))
                optimizer_state = checkpoints.part(tensors, "optimizer")
                average_state = checkpoints.part(tensors, "average")
                self.tell("resumed", f"resumed at step {self.progress.step}", epoch=len(self.progress.history))
        self._check_same_step()
        self._sign()
        device = accelerator.device
        self.progress.sums = {name: value.to(device) for name, value in self.progress.sums.items()}
        self._due = time.monotonic() + self.settings.checkpoint
        fit = Fit(
            method, spec.recipe, train, accelerator, spec.ref.seed, self.progress, optimizer_state, average_state,
            make_tape(accelerator), self._note, after_step=self._after_step, after_epoch=self._after_epoch,
        )  # fmt: skip
        fit.run()

    def _check_same_step(self) -> None:
        """Raises LtbenchError where processes that train together would go on from different checkpoints."""
        if world.size() > 1 and len(steps := set(gather_object([self.progress.step]))) > 1:
            raise LtbenchError(
                f"its processes see different checkpoints (of steps {', '.join(map(str, sorted(steps)))}): "
                f"{self.folder} must be one folder that all of them share"
            )

    def _sign(self) -> None:
        """Put down in the progress where its steps from here on are trained."""
        origins, step = self.progress.origins, self.progress.step
        if step and not origins:  # a checkpoint that does not say
            origins.append({"first": 0})
        here = machine.origin(self.settings.device)
        if not origins or here != {name: value for name, value in origins[-1].items() if name != "first"}:
            origins.append({"first": step, **here})

    def _note(self, text: str) -> None:
        """A line for the log and the record."""
        self.notes.append(text)
        self.tell("noted", text, epoch=len(self.progress.history))

    def _stops(self, fit: Fit) -> bool:
        """Whether to stop now; several processes stop together, or one would wait for the others for ever.

        Raises LostError, and nothing is saved, where another runner has the run.
        """
        if fit.share.world == 1:
            return self.stop()
        if fit.progress.step % TOGETHER:  # asking waits for the device
            return False
        asked = gather_object([self._asked()])
        if "lost" in asked:
            raise LostError
        return any(asked)

    def _asked(self) -> bool | str:
        """What stop() says, "lost" where it raises LostError: all processes must hear of it."""
        try:
            return self.stop()
        except LostError:
            return "lost"

    def _after_step(self, fit: Fit) -> None:
        try:
            stop = self._stops(fit)
        except LostError:
            self.tell("interrupted", f"left at step {fit.progress.step} to another runner, which has taken it over")
            raise
        begun = time.monotonic()
        if self.main and (stop or begun >= self._due) and not leases.is_anothers(self.folder):
            checkpoints.save(self.folder, self.spec.key, fit.progress, fit.snapshot())
            now = time.monotonic()
            wait = self.settings.checkpoint
            self._due = now + (max(wait, SAVING * (now - begun)) if wait else 0)  # 0: at every step
        if stop:
            self.tell("interrupted", f"stopped at step {fit.progress.step}")
            raise Interrupted

    def _after_epoch(self, row: dict[str, Any], images: int, seconds: float) -> None:
        self.images, self.seconds = self.images + images, self.seconds + seconds
        rate = images / seconds
        terms = "  ".join(f"{name} {value:.4f}" for name, value in row["terms"].items())
        epoch, epochs = row["epoch"] + 1, self.spec.recipe.epochs
        text = f"epoch {epoch}/{epochs}  lr {row['lr']:.3g}  {terms}  {rate:.0f} images/s"
        self.tell("epoch", text, epoch=epoch, rate=rate, terms=row["terms"])

    def _parent(self, role: str, dataset: Dataset, accelerator: Accelerator) -> Method:
        """A finished run, live: in eval mode, without gradients."""
        spec = self.parents[role]
        weights = self._weights(spec)
        if weights is None:
            raise LtbenchError(f"{role}: the weights of {spec.label} are not in {self.settings.folder(spec)}")
        method = construct(spec, _part(dataset, spec), accelerator)
        method.load_state_dict(weights)
        return method.requires_grad_(False).eval()

    def _weights(self, spec: RunSpec) -> dict[str, torch.Tensor] | None:
        """A finished run's; None where they are absent.

        Of a run of another machine they may have been written, and not be seen here yet: a network file system goes on
        saying for a while what it said when this one looked last.
        """
        record = done(spec, self.settings)
        elsewhere = record is not None and record.volatile.host != platform.node()
        limit = time.monotonic() + (UNSEEN if elsewhere else 0)
        while (weights := weights_of(spec, self.settings)) is None and time.monotonic() < limit:
            if world.size() == 1 and self.stop():
                raise Interrupted
            time.sleep(1.0)
        return weights

    def _results(self, method: Method, found: Evaluation, classes: int) -> dict[str, Any]:
        heads = [head for head in method.modules() if isinstance(head, LinearHead)]
        return {
            **found.counts(classes),
            "predictions": records.encode(found.predicted.numpy()),
            "history": self.progress.history,
            "heads": [
                {"norms": head.weight.norm(dim=1).tolist(), "biases": head.bias.tolist()}
                for head in heads
                if len(head.bias) == classes
            ],
            "parameters": sum(p.numel() for p in method.parameters()),
        }

    def volatile(self) -> dict[str, Any]:
        """The record's volatile part, but for its times of day."""
        return {
            "seconds": self.progress.seconds,
            "images_per_second": self.images / self.seconds if self.seconds else 0.0,
            **machine.facts(self.settings.device),
            "earlier": [{**origin, "until": after["first"]} for origin, after in pairwise(self.progress.origins)],
            "notes": self.notes,
        }

    def publish(self, record: Record) -> Record:
        """Write the record, as outcome.publish() does, and tell of it."""
        record = outcome.publish(record, self.spec, self.settings)
        reason = f": {record.reason}{self.traced}" if record.reason else ""
        accuracy = f" top-1 {100 * sum(record.right) / sum(record.total):.2f} %" if record.total else ""
        self.tell("finished", f"{record.status}{reason}{accuracy}", epoch=len(record.history), status=record.status)
        return record

    def end_all(self, record: Record) -> NoReturn:
        """Write the record of what only this process may have met, and end it.

        The first to fail has the word: what the others then tell is only that it has gone.
        """
        reason = f"{record.label}: {record.status}: {record.reason}{self.traced}"
        self.say(reason, anyone=True)
        end_process(reason + outcome.publish_alone(record, self.spec, self.settings))
