"""Which data a suite asks for: read without torch, so that errors and listings are quick."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge
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
    """A dataset and how its long tail is cut."""

    name: Name
    imbalance: Annotated[float, Ge(1)] = 100.0  # images of the largest class over images of the smallest
    profile: Literal["exp", "step"] = "exp"
    head: Annotated[int, Ge(1)] | None = None  # images of the largest class; None: all that there are

    @property
    def label(self) -> str:
        """As the table shows it: cifar100_lt(imbalance=100)."""
        parts = [f"imbalance={self.imbalance:g}"]
        parts += [f"profile={self.profile}"] if self.profile != "exp" else []
        parts += [f"head={self.head}"] if self.head else []
        return f"{self.name}({', '.join(parts)})"


def data_folder(given: str | Path | None) -> Path:
    """Where data lie: --data, else $LTBENCH_DATA, else the user's cache folder."""
    if given or os.environ.get("LTBENCH_DATA"):
        return Path(given or os.environ["LTBENCH_DATA"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ltbench"
