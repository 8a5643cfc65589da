"""What names a run: the hash of everything that could change its numbers, and nothing else."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from pydantic import TypeAdapter

T = TypeVar("T")

PROTOCOL = 1  # raised when the trainer or the evaluator changes numbers


def canonical_json(value: Any) -> str:
    """The one spelling of plain data that is hashed. Raises ValueError on NaN and infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """sha256 of plain data, in hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


_TENTHS_OF_MILLI = re.compile(rb"0\.0000([1-9])(\d*)")  # msgspec writes 0.00001, Python 1e-05
_SHORT_EXPONENT = re.compile(rb"e-(\d)(?!\d)")  # msgspec writes 1e-7, Python 1e-07


def has_digest(value: Any, claimed: Any) -> bool:
    """Whether sha256 of plain data is the claimed one, in hex: digest(value) == claimed, but ten times as fast.

    msgspec writes what canonical_json() does, except for small numbers, whose spelling is put right. Where that does
    not give the claimed hash, canonical_json() itself decides, so nothing is refused for a difference of spelling.
    """
    try:
        text = msgspec.json.encode(value, order="sorted")
    except TypeError:  # integers of more than 64 bits
        return digest(value) == claimed
    text = _SHORT_EXPONENT.sub(rb"e-0\1", _TENTHS_OF_MILLI.sub(_scientific, text))
    return hashlib.sha256(text).hexdigest() == claimed or digest(value) == claimed


def _scientific(match: re.Match[bytes]) -> bytes:
    if match.string[match.start() - 1 : match.start()].isdigit():  # 10.00001
        return match[0]
    first, rest = match.groups()
    return first + (b"." + rest if rest else b"") + b"e-05"


def validated(adapter: TypeAdapter[T], value: Any) -> T:
    """Plain data as a strictly checked dataclass. Raises pydantic's ValidationError.

    By way of JSON, where strict checking still takes a mapping for a dataclass and a list for a tuple.
    """
    return adapter.validate_json(json.dumps(value))


@dataclass(frozen=True)
class Identity:
    """All that a run's numbers depend on, as plain data."""

    method: str
    version: int
    plugin: str  # sources.plugin_hash(): "" for a built-in, which has its version
    options: Mapping[str, Any]
    recipe: Mapping[str, Any]
    fingerprints: Mapping[str, str]
    backbone: str
    seed: int
    part: str
    parents: Mapping[str, str]  # role -> key
    weights: str = ""  # what the backbone starts from: a file's sha256, or timm's name of it; "" from scratch
    protocol: int = PROTOCOL

    @property
    def key(self) -> str:
        """sha256, in hex; a recipe's name is no part of it."""
        fields = {key: value for key, value in vars(self).items() if key != "weights" or value}
        fields["recipe"] = without_off({key: value for key, value in self.recipe.items() if key != "name"})
        fields["options"] = without_off(self.options)
        return digest(fields)


def _off(value: Any) -> bool:
    return value is None or value is False or value in ("", [], ())


def without_off(value: Any) -> Any:
    """Options or a recipe without what is off (None, False, empty): a new switch leaves the keys of old runs alone."""
    if not isinstance(value, Mapping):
        return value
    kept = {key: without_off(inner) for key, inner in value.items()}
    return {key: inner for key, inner in kept.items() if isinstance(inner, Mapping) or not _off(inner)}


def stem(method: str, key: str, seed: int) -> str:
    """The name of a run's record and folder: ride-1a2b3c4d-s0."""
    return f"{method}-{key[:8]}-s{seed}"


def is_stem(name: str) -> bool:
    """Whether a name is one that stem() may have made."""
    return bool(re.fullmatch(r"[a-z][a-z0-9_]*-[0-9a-f]{8}-s[0-9]+", name))
