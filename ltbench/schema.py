"""The typed row of the leaderboard, as `ltbench table --format json` prints it, and the JSON schemas in docs/."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict

Status = Literal["complete", "partial", "missing", "failed", "oom", "diverged", "skipped", "refused"]


class Spread(TypedDict):
    """Over the seeds, in per cent: mean, sample standard deviation, Student's 95 % half-width; None where undefined."""

    mean: float | None
    sd: float | None
    ci95: float | None


class Gain(TypedDict):
    """The score's difference to the baseline, paired by seed, over the n seeds that both have."""

    baseline: str
    mean: float | None
    ci95: float | None
    n: int


class Reported(TypedDict):
    """A published result of the same row: see ltbench/published.py."""

    top1: float
    many: float | None
    medium: float | None
    few: float | None
    source: str
    recipe: str  # the suite recipe nearest to the source's
    epochs: int
    routing: bool
    distilled: bool
    best_epoch: bool  # chosen by its accuracy on test, where ours is the last
    same_recipe: bool  # whether that is this row's recipe: else the two may not be compared
    differs: bool | None  # whether another run of ours would rarely be as far away: see ltbench/published.py


class Adjusted(TypedDict):
    """Logits were lowered by tau * log(training frequency) after training."""

    tau: float
    oracle: bool  # tau is the best of several on the test set: an upper bound, never ranked


class TableRow(TypedDict):
    """One method on one data set, backbone and recipe, over its complete seeds."""

    suite: str
    data: str
    backbone: str
    recipe: str
    method: str
    label: str
    seeds: list[int]  # the complete ones, which the figures are over
    n: int
    asked: int  # seeds that the suite wants
    status: Status
    reason: str
    top1: Spread
    many: Spread
    medium: Spread
    few: Spread
    ece: Spread
    alone: Spread  # top-1 of the single experts, or of an ensemble's networks, by themselves: their mean
    gain: Gain | None  # None for the baseline itself
    params: int | None
    macs: int | None  # multiply-adds an image, nothing skipped
    macs_used: float | None  # on average over the test images
    images_per_second: float | None
    seconds: float | None  # a run
    commits: list[str]
    devices: list[str]
    groups: list[int] | None  # many > the first, few < the second
    fingerprints: dict[str, str] | None
    reported: Reported | None
    block: str  # rows of one block may be compared
    metric: str  # what score, gain, best are of
    score: Spread
    best: bool | None  # the highest score of its block, or not told apart from it (ltbench/paired.py); None: no test
    test_list: str
    adjust: Adjusted | None


def table_schema() -> dict[str, Any]:
    """The JSON schema of a list of rows."""
    from pydantic import ConfigDict, TypeAdapter

    strict = TypeAdapter(list[TableRow], config=ConfigDict(extra="forbid")).json_schema()
    for definition in strict["$defs"].values():
        definition["additionalProperties"] = False
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ltbench table --format json",
        **strict,
    }


def record_schema() -> dict[str, Any]:
    """The JSON schema of a record's file."""
    from .record import Record

    inner = Record.model_json_schema()
    hashed = {**inner["properties"], "sha256": {"type": "string", "description": "of all but volatile: keys.digest()"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **inner,
        "title": "the record of one run of ltbench",
        "properties": hashed,
        "required": [*inner["required"], "schema_version", "sha256"],
    }
