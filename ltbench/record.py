"""The record of one run: counts, not summaries. Written last, atomically; read strictly; torch-free.

The fixed part (all fields but `volatile` and `sha256`) is the same on every repetition of the run on one machine.
"""

from __future__ import annotations

import base64
import gc
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import msgspec
from pydantic import (
    BaseModel,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from .atomic import write_atomically
from .errors import LtbenchError, UnreadableError
from .keys import Identity, digest, has_digest, is_stem, stem

if TYPE_CHECKING:
    import numpy as np

SCHEMA = 1
Status = Literal["complete", "failed", "oom", "diverged", "skipped"]
FINAL = ("complete", "diverged", "skipped")  # not run again; the others are

COMPARED = {"right", "predictions", "history", "members", "per_image", "calibration"}  # by Record.numbers
MOST = 2**53  # what is counted: larger numbers are no longer exact as floats


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Part):
    """The data a run saw."""

    name: str  # cifar100_lt(imbalance=100)
    counts: tuple[int, ...]  # [C] training images per class
    groups: tuple[int, int]  # many > groups[0] >= medium >= groups[1] > few
    fingerprints: dict[str, str]  # sha256 of rows, training pixels, test pixels; in files: of lists


class Parent(_Part):
    """A run that this one started from."""

    key: str
    label: str


class Calibration(_Part):
    """Test images by the confidence of their prediction, in 15 equal bins from 0 to 1."""

    count: tuple[int, ...]
    right: tuple[int, ...]
    confidence: tuple[float, ...]  # summed over the bin's images


class PerImage(_Part):
    """The mean of a per-image figure, such as experts used."""

    mean: float
    by_class: tuple[float, ...]  # [C]


class Epoch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One epoch of training: the rate, and the mean of each loss term over its steps.

    A record has hundreds: msgspec checks them as strictly as pydantic does the rest, four times as fast.
    """

    epoch: int
    lr: float
    terms: dict[str, float]


_EPOCHS = {"type": "array", "items": msgspec.json.schema(Epoch)["$defs"]["Epoch"]}
History = Annotated[
    tuple[Epoch, ...],
    PlainValidator(lambda given: msgspec.convert(given, tuple[Epoch, ...])),
    PlainSerializer(msgspec.to_builtins),
    WithJsonSchema(_EPOCHS),
]


class HeadNorms(_Part):
    """Of one linear head: the norm of each class's weight, and its bias."""

    norms: tuple[float, ...]
    biases: tuple[float, ...]


class Stretch(_Part):
    """Steps of a run that were trained elsewhere, or by other code, before it was taken up again."""

    first: int
    until: int  # the step at which it was taken up
    device: str = "unknown"
    threads: int = 0
    world_size: int = 1
    torch: str = ""
    commit: str = ""
    clean: bool = False


class Volatile(_Part):
    """What may differ between two equal runs; of a run that was taken up again, device and commit of its last part."""

    seconds: float = 0.0
    images_per_second: float = 0.0
    peak_memory_mb: float = 0.0
    host: str = ""
    device: str = ""
    threads: int = 0
    world_size: int = 1
    versions: dict[str, str] = {}
    commit: str = ""
    clean: bool = False
    started: str = ""  # UTC, ISO 8601
    finished: str = ""
    earlier: tuple[Stretch, ...] = ()
    notes: tuple[str, ...] = ()


class Record(_Part):
    """One run."""

    schema_version: int = SCHEMA
    protocol: int
    suite: str
    key: str
    status: Status
    reason: str = ""
    method: str
    version: int
    plugin: str
    options: dict[str, Any]
    label: str
    backbone: str
    weights: str = ""  # what the backbone started from: a file's sha256, or timm's name of it; "" from scratch
    data: Data
    seed: int
    part: str
    recipe: dict[str, Any]  # as this run used it
    suite_recipe: dict[str, Any]  # as the suite has it for all rows
    parents: dict[str, Parent]
    right: tuple[int, ...] = ()  # [C] test images of each class that were predicted right
    total: tuple[int, ...] = ()  # [C] test images of each class
    predictions: str = ""  # the predicted class of every test image in class order: see encode()
    calibration: Calibration | None = None
    per_image: dict[str, PerImage] = {}
    members: tuple[tuple[int, ...], ...] = ()  # [E, C] right, of single experts
    history: History = ()
    heads: tuple[HeadNorms, ...] = ()
    parameters: int = 0
    macs: float = 0.0  # multiply-adds per image of convolutions and matrix products, no part skipped
    macs_used: float = 0.0  # the same, as the test images used them
    source: str = ""  # sha256 of the method's code, see sources.source_hash()
    volatile: Volatile = Volatile()

    @model_validator(mode="after")
    def _check_numbers(self) -> Self:
        """One number per class wherever there is one for each; counts and costs that can be some."""
        per_class = (self.right, self.total, *self.members, *(item.by_class for item in self.per_image.values()))
        expected = len(self.data.counts)
        if self.status == "complete" and any(len(numbers) != expected for numbers in per_class):
            raise ValueError(f"a figure per class has not {expected} values, as there are classes")
        if any(not 0 <= right <= total for right, total in zip(self.right, self.total, strict=bool(self.right))):
            raise ValueError("more images are right than there are, or fewer than none")
        bins = self.calibration
        counted = (*self.total, self.parameters, *((*bins.count, *bins.right) if bins else ()))
        if any(not 0 <= number <= MOST for number in counted) or min(self.data.counts, default=0) < 0:
            raise ValueError("a number of images or parameters is no count")
        if min(self.macs, self.macs_used) < 0:
            raise ValueError("a number of multiply-adds is below 0")
        if self.data.groups[0] + 1 < self.data.groups[1]:  # few = many + 1 leaves no class between
            raise ValueError(f"the limits of the groups, {self.data.groups}, are in the wrong order")
        if bins and not len(bins.count) == len(bins.right) == len(bins.confidence):
            raise ValueError("the bins of the calibration differ in number")
        return self

    def grouped(self, groups: tuple[int, int]) -> Record:
        """This run, its classes grouped otherwise: many > the first >= medium >= the second > few."""
        return self.model_copy(update={"data": self.data.model_copy(update={"groups": groups})})

    def fixed(self) -> dict[str, Any]:
        """The fixed part, as plain data; from scratch there are no weights to name."""
        return self.model_dump(mode="json", exclude={"volatile"} | (set() if self.weights else {"weights"}))

    @property
    def numbers(self) -> str:
        """sha256 of what two runs of one key must agree in, and the weights that one leaves belong to."""
        return digest(self.model_dump(mode="json", include=COMPARED))

    @property
    def stem(self) -> str:
        """The file's name without .json."""
        return stem(self.method, self.key, self.seed)

    @property
    def identity(self) -> Identity:
        """What the key must be the hash of."""
        return Identity(
            method=self.method, version=self.version, plugin=self.plugin, options=self.options, recipe=self.recipe,
            fingerprints=self.data.fingerprints, backbone=self.backbone, seed=self.seed, part=self.part,
            parents={role: parent.key for role, parent in self.parents.items()}, protocol=self.protocol,
            weights=self.weights,
        )  # fmt: skip


def encode(predictions: np.ndarray) -> str:
    """Class numbers [M] as base64 of compressed little-endian uint16."""
    return base64.b64encode(zlib.compress(predictions.astype("<u2").tobytes(), 9)).decode()


def decode(text: str) -> np.ndarray:
    """Class numbers [M] from encode()'s text, as int64."""
    return _raw(text).astype("i8")


def raw_predictions(record: Record) -> np.ndarray:
    """A complete record's class numbers [M] as they are stored, in two bytes each: for those who read thousands.

    Raises LtbenchError where they cannot be read, though the record's hash is right.
    """
    try:
        return _raw(record.predictions)
    except (ValueError, zlib.error) as error:
        raise LtbenchError(f"{record.stem}.json: its predictions cannot be read: {error}") from None


def _raw(text: str) -> np.ndarray:
    import numpy as np

    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<u2")


def write(record: Record, folder: Path) -> Path:
    """Write folder/<stem>.json by rename, so that it is there whole or not at all. Raises OSError."""
    fixed = record.fixed()
    stayed = set() if record.volatile.earlier else {"earlier"}
    body = {**fixed, "volatile": record.volatile.model_dump(mode="json", exclude=stayed), "sha256": digest(fixed)}
    path = folder / f"{record.stem}.json"
    write_atomically(path, json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def read(path: Path) -> Record:
    """One record. Raises LtbenchError where it is damaged, of another schema, or contradicts its hash or key.

    Raises UnreadableError, which is one, where the system does not let it be read.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        body, fixed, sound = _parsed(text)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise LtbenchError(f"{path}: not a record: {type(error).__name__}: {error}") from None
    if fixed.get("schema_version") != SCHEMA:
        raise LtbenchError(f"{path}: schema {fixed.get('schema_version')!r}; this ltbench reads {SCHEMA}")
    if not sound:
        raise LtbenchError(f"{path}: its contents contradict its sha256")
    try:
        record = Record.model_validate(body)
    except (ValidationError, ValueError) as error:
        raise LtbenchError(f"{path}: not a record: {str(error).splitlines()[0]}") from None
    if record.identity.key != record.key or path.stem != record.stem:
        raise LtbenchError(f"{path}: its contents contradict its key or name")
    return record


def _parsed(text: bytes) -> tuple[dict[str, Any], dict[str, Any], bool]:
    """(all but the hash, the fixed part of it, whether the hash is the fixed part's)."""
    body = msgspec.json.decode(text)  # refuses NaN, infinity and half characters
    claimed, fixed = body.pop("sha256"), {key: value for key, value in body.items() if key != "volatile"}
    return body, fixed, has_digest(fixed, claimed)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Python's cycle collector is off: it would walk the growing heap of records, which hold no cycles, ever again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def read_folder(folder: Path, groups: tuple[int, int] | None = None) -> tuple[dict[str, Record], list[str]]:
    """(records by key, what was refused and why) of one suite's results.

    groups: to group all classes so, in place of the data sets' own groups.
    """
    records, refused = {}, []
    with _without_collector():
        for path in files(folder):
            try:
                record = read(path)
                records[record.key] = record.grouped(groups) if groups else record
            except LtbenchError as error:
                refused.append(str(error))
    return records, refused


def files(folder: Path) -> list[Path]:
    """The files of a folder that bear a record's name; no other JSON is ours."""
    return [path for path in sorted(folder.glob("*.json")) if is_stem(path.stem)]
