"""Which data a suite asks for: read without torch, so that errors and listings are quick."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Interval
from pydantic import ConfigDict, with_config

Name = Literal["cifar10_lt", "cifar100_lt", "glyphs_lt"]

SUMMARIES: dict[str, str] = {
    "cifar10_lt": "CIFAR-10 cut to a long tail, the canonical LDAM-DRW subset; 32x32, 10 classes",
    "cifar100_lt": "CIFAR-100 cut to a long tail, the canonical LDAM-DRW subset; 32x32, 100 classes",
    "glyphs_lt": "letters and digits drawn from matplotlib's fonts: embedded, nothing to download; 32x32, 62 classes",
}


@with_config(ConfigDict(extra="forbid", strict=True))
@dataclass(frozen=True)
class DataSpec:
    """A dataset and how its long tail is cut: once, or several times independently, as draws of one resampling."""

    name: Name
    imbalance: Annotated[float, Ge(1)] = 100.0  # images of the largest class over images of the smallest
    profile: Literal["exp", "step"] = "exp"
    head: Annotated[int, Ge(1)] | None = None  # images of the largest class; None: all that there are
    draws: Annotated[int, Interval(ge=1, le=1000)] | None = None  # training sets to sample; None: the canonical one
    draw: int | None = None  # which of them this is, from 0; no key of a suite file

    @property
    def label(self) -> str:
        """As the table shows it: cifar100_lt(imbalance=100)."""
        parts = [f"imbalance={self.imbalance:g}"]
        parts += [f"profile={self.profile}"] if self.profile != "exp" else []
        parts += [f"head={self.head}"] if self.head else []
        parts += [f"draws={self.draws}"] if self.draws else []
        parts += [f"draw={self.draw}"] if self.draw is not None else []
        return f"{self.name}({', '.join(parts)})"

    def each(self) -> tuple[DataSpec, ...]:
        """The training sets that are asked for: one of each draw, or this one alone."""
        if self.draws is None:
            return (self,)
        return tuple(replace(self, draws=None, draw=i) for i in range(self.draws))


def data_folder(given: str | Path | None) -> Path:
    """Where data lie: --data, else $LTBENCH_DATA, else the user's cache folder."""
    if given or os.environ.get("LTBENCH_DATA"):
        return Path(given or os.environ["LTBENCH_DATA"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ltbench"
