"""CIFAR-10 and CIFAR-100 from torchvision's official files, md5-checked, downloaded where absent."""

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LtbenchError
from .source import Source

GROUPS = (100, 20)


def load(folder: Path, classes: int) -> Source:
    """The balanced pool of CIFAR-10 or CIFAR-100 from folder. Raises LtbenchError where it cannot be had."""
    from torchvision.datasets import CIFAR10, CIFAR100  # heavy: only where these images are asked for

    reader = CIFAR10 if classes == 10 else CIFAR100
    present = (folder / reader.base_folder).is_dir()
    try:
        train, test = (reader(str(folder), train=part, download=not present) for part in (True, False))
    except (RuntimeError, OSError) as error:
        raise LtbenchError(
            f"CIFAR-{classes} is not to be had in {folder}: {_faults(folder / reader.base_folder, reader) or error}\n"
            f"Give the folder that holds {reader.base_folder}/ with --data DIR or $LTBENCH_DATA, "
            f"or fetch {reader.url} and unpack it there (md5 {reader.tgz_md5})."
        ) from error
    labels = (np.asarray(part.targets, dtype=np.int64) for part in (train, test))
    train_label, test_label = labels
    return Source(train.data, train_label, test.data, test_label, tuple(train.classes), GROUPS)


def _faults(folder: Path, reader: Any) -> str:
    """The files that are absent, or whose md5 is not the official one."""
    from torchvision.datasets.utils import check_integrity

    official = [*reader.train_list, *reader.test_list, (reader.meta["filename"], reader.meta["md5"])]
    absent = [name for name, _ in official if not (folder / name).is_file()]
    other = [name for name, md5 in official if name not in absent and not check_integrity(str(folder / name), md5)]
    return "; ".join(
        [f"absent: {', '.join(absent)}"] * bool(absent)
        + [f"of another md5 than the official file's: {', '.join(other)}"] * bool(other)
    )
