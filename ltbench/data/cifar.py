"""CIFAR-10 and CIFAR-100 from torchvision's official files, md5-checked, downloaded where absent."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LtbenchError
from .source import Source

GROUPS = (100, 20)


@dataclass(frozen=True)
class State:
    """What is there of CIFAR's official files."""

    folder: Path
    official: tuple[str, ...]  # their names
    absent: tuple[str, ...]
    other: tuple[str, ...]  # of another md5 than the official file's
    url: str  # of the archive that holds them
    md5: str  # of that archive


def load(folder: Path, classes: int) -> Source:
    """The balanced pool of CIFAR-10 or CIFAR-100 from folder. Raises LtbenchError where it cannot be had."""
    reader = _reader(classes)
    present = (folder / reader.base_folder).is_dir()
    try:
        train, test = (reader(str(folder), train=part, download=not present) for part in (True, False))
    except (RuntimeError, OSError) as error:
        now = state(folder, classes)
        raise LtbenchError(
            f"CIFAR-{classes} is not to be had in {folder}: {(_faults(now) if present else '') or error}\n"
            f"Give the folder that holds {reader.base_folder}/ with --data DIR or $LTBENCH_DATA, "
            f"or fetch {now.url} and unpack it there (md5 {now.md5})."
        ) from error
    labels = (np.asarray(part.targets, dtype=np.int64) for part in (train, test))
    train_label, test_label = labels
    return Source(train.data, train_label, test.data, test_label, tuple(train.classes), GROUPS)


def state(folder: Path, classes: int) -> State:
    """Which of the official files of CIFAR-10 or CIFAR-100 are in folder. Raises OSError."""
    from torchvision.datasets.utils import check_integrity  # heavy

    reader = _reader(classes)
    place = folder / reader.base_folder
    official = [*reader.train_list, *reader.test_list, (reader.meta["filename"], reader.meta["md5"])]
    absent = tuple(name for name, _ in official if not (place / name).is_file())
    other = tuple(name for name, md5 in official if name not in absent and not check_integrity(str(place / name), md5))
    return State(place, tuple(name for name, _ in official), absent, other, reader.url, reader.tgz_md5)


def _reader(classes: int) -> Any:
    from torchvision.datasets import CIFAR10, CIFAR100  # heavy: only where these images are asked for

    return CIFAR10 if classes == 10 else CIFAR100


def _faults(now: State) -> str:
    said = [f"absent: {', '.join(now.absent)}"] if now.absent else []
    said += [f"of another md5 than the official file's: {', '.join(now.other)}"] if now.other else []
    return "; ".join(said)
