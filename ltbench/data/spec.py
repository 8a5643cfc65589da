"""Which data a suite asks for: read without torch, so that errors and listings are quick."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval
from pydantic import ConfigDict, with_config

from ..errors import LtbenchError

Name = Literal["cifar10_lt", "cifar100_lt", "glyphs_lt", "imagenet_lt", "inat18", "places_lt", "folder"]
IN_FILES = ("imagenet_lt", "inat18", "places_lt", "folder")  # lists of files; the others lie in memory
LONG_TAILED = IN_FILES  # as they are, unless a folder is cut

SUMMARIES: dict[str, str] = {
    "cifar10_lt": "CIFAR-10 cut to a long tail, the canonical LDAM-DRW subset; 32x32, 10 classes",
    "cifar100_lt": "CIFAR-100 cut to a long tail, the canonical LDAM-DRW subset; 32x32, 100 classes",
    "glyphs_lt": "letters and digits drawn from matplotlib's fonts: embedded, nothing to download; 32x32, 62 classes",
    "imagenet_lt": "ImageNet-LT (Liu et al. 2019) from the field's lists and the ILSVRC2012 images; 1000 classes",
    "inat18": "iNaturalist 2018, long-tailed by nature, from the field's lists and its images; 8142 classes",
    "places_lt": "Places-LT (Liu et al. 2019) from the field's lists and the Places365 images; 365 classes",
    "folder": "your own images: train/ and test/ with a folder per class, lists, or a CSV; see suites/my_folder.yaml",
}
_CUTS = ("imbalance", "profile", "head", "draws")  # keys that cut a long tail from a balanced pool


@with_config(ConfigDict(extra="forbid", strict=True))
@dataclass(frozen=True)
class DataSpec:
    """A dataset and how its long tail is cut: once, or several times independently, as draws of one resampling."""

    name: Name
    # images of the largest class over images of the smallest; None: 100 for what is cut from a balanced pool, and for
    # sets of files their counts as they are
    imbalance: Annotated[float, Ge(1)] | None = None
    profile: Literal["exp", "step"] = "exp"
    head: Annotated[int, Ge(1)] | None = None  # images of the largest class; None: all that there are
    draws: Annotated[int, Interval(ge=1, le=1000)] | None = None  # training sets to sample; None: the canonical one
    draw: int | None = None  # which of them this is, from 0; no key of a suite file
    root: str | None = None  # of files: where they lie, relative to the data folder; None: there by the set's name
    classes: Annotated[int, Ge(2)] | None = None  # only the first so many, in label order; None: all

    def __post_init__(self) -> None:
        if self.imbalance is None and self.name not in LONG_TAILED:
            object.__setattr__(self, "imbalance", 100.0)

    @property
    def in_files(self) -> bool:
        """Whether its images are read from files of their own."""
        return self.name in IN_FILES

    @property
    def set_name(self) -> str:
        """The set that it is cut from: its name, with that of its root where it is a folder of one's own."""
        return f"folder-{self._own}" if self._own else self.name

    @property
    def _own(self) -> str:
        """The name of the root of a folder of one's own, "" where it has none (as . and ..)."""
        name = Path(self.root or "").name if self.name == "folder" else ""
        return "" if name == ".." else name

    @property
    def label(self) -> str:
        """As the table shows it: cifar100_lt(imbalance=100). A folder of one's own goes by the name of its root."""
        parts = [self._own] if self._own else []
        parts += [f"imbalance={self.imbalance:g}"] if self.imbalance is not None else []
        parts += [f"profile={self.profile}"] if self.profile != "exp" else []
        parts += [f"head={self.head}"] if self.head else []
        parts += [f"draws={self.draws}"] if self.draws else []
        parts += [f"draw={self.draw}"] if self.draw is not None else []
        parts += [f"classes={self.classes}"] if self.classes else []
        return f"{self.name}({', '.join(parts)})" if parts else self.name

    def each(self) -> tuple[DataSpec, ...]:
        """The training sets that are asked for: one of each draw, or this one alone."""
        if self.draws is None:
            return (self,)
        return tuple(replace(self, draws=None, draw=i) for i in range(self.draws))


def misfits(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(key, what is wrong with it) of keys that do not go with the name beside them."""
    name, wrong = given.get("name"), []
    if name in IN_FILES:
        if name != "folder":
            wrong += [(key, f"{name} is long-tailed as it is: leave {key} out") for key in _CUTS if key in given]
        elif "draws" in given:
            wrong.append(("draws", "a folder has no draws: they are taken from a balanced pool in memory"))
        if name == "folder" and "imbalance" not in given:
            wrong += [(key, f"give imbalance beside {key}") for key in ("profile", "head") if key in given]
    elif "root" in given:
        wrong.append(("root", f"{name} has no root: give the data folder with --data DIR or $LTBENCH_DATA"))
    return wrong


def data_folder(given: str | Path | None) -> Path:
    """Where data lie: --data, else $LTBENCH_DATA, else the user's cache folder."""
    if given or os.environ.get("LTBENCH_DATA"):
        return expanded(given or os.environ["LTBENCH_DATA"], "--data" if given else "$LTBENCH_DATA")
    return user_cache()


def expanded(given: str | Path, where: str) -> Path:
    """The path, ~ and ~user being home folders. Raises LtbenchError where there is no such user."""
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise LtbenchError(f"{where}: {given}: no home folder of {Path(given).parts[0]} is known") from None


def user_cache() -> Path:
    """The user's cache folder for ltbench."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ltbench"


def state_folders(root: Path) -> tuple[Path, Path]:
    """Where what is learnt of a dataset lies: (the folder that it is written to, the other that it may be in).

    Beside the images; in the user's cache where nothing can be written there.
    """
    own = user_cache() / "datasets" / hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    return (root, own) if os.access(root, os.W_OK) else (own, root)
