"""Which backbone a suite asks for: read without torch, so that errors and listings are quick."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import Annotated, Any

from annotated_types import Interval
from pydantic import ConfigDict, with_config

PRETRAINED = "pretrained"


@with_config(ConfigDict(extra="forbid", strict=True))
@dataclass(frozen=True)
class BackboneSpec:
    """A backbone's name and options. Frozen: it is part of a run's key."""

    name: str  # one of SUMMARIES, or timm/<model>
    drop_path: Annotated[float, Interval(ge=0, lt=1)] | None = None  # None: the model's own default
    weights: str = ""  # where training starts from: "pretrained", a file, or "" for scratch
    origin: str = ""  # which weights these are: sha256 of the file, or timm's name of them; no key of a suite file

    @property
    def label(self) -> str:
        """As the table shows it: timm/convnext_tiny(drop_path=0.1, weights=pretrained); of a file its name alone."""
        # in full, since keys hash it
        parts = [] if self.drop_path is None else [f"drop_path={str(self.drop_path).removesuffix('.0')}"]
        parts += [f"weights={PurePath(self.weights).name}"] if self.weights else []
        return f"{self.name}({', '.join(parts)})" if parts else self.name

    @property
    def plain(self) -> Any:
        """In the grammar of a suite: the name, or {name: options}."""
        options = {key: getattr(self, key) for key in OPTIONS if getattr(self, key) not in (None, "")}
        return {self.name: options} if options else self.name


OPTIONS = tuple(f.name for f in fields(BackboneSpec) if f.name not in ("name", "origin"))
