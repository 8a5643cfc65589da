"""Records of simulated classifiers over draws of a training set, with their logits, for the analysis."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import make_records
import numpy as np
import torch
from rich.console import Console

from ltbench import analysis_writers, record
from ltbench.checkpoints import save_final
from ltbench.planfile import Row
from ltbench.record import Data, Record

COUNTS = (200,) * 3 + (60,) * 3 + (5,) * 3
TOTAL = (10,) * 9
TRUE = np.repeat(np.arange(9), TOTAL)
DRAWS = 4
NAME = "toy_lt(imbalance=40, head=200, draws=4)"
Methods = Mapping[str, tuple[dict[str, Any], float]]
METHODS: Methods = {  # label -> (options, how far the label's logit stands out)
    "ce": ({}, 1.0),
    "ldam_drw": ({}, 1.5),
    "ride(experts=1)": ({"experts": 1, "diversity": -0.2}, 1.6),
    "ride(experts=2)": ({"experts": 2, "diversity": -0.2}, 2.0),
    "ride(experts=3)": ({"experts": 3, "diversity": -0.2}, 2.4),
    "ride(experts=3, diversity=0)": ({"experts": 3, "diversity": 0}, 2.2),
}


def logits(seed: int, draw: int, skill: float) -> np.ndarray:
    """[M, C]: the head classes stand out always, the label by skill, hard images less."""
    ease = np.random.default_rng(seed).normal(size=len(TRUE))
    found = np.random.default_rng((seed, draw)).normal(size=(len(TRUE), len(TOTAL)))
    found[:, :3] += 1
    found[np.arange(len(TRUE)), TRUE] += skill + ease
    return found.astype("f2")


def make(label: str, draw: int, said: np.ndarray, **changes: Any) -> Record:
    """A complete record of these logits."""
    predicted = said.argmax(1)
    prints = {"rows": f"{draw:064x}", "train": f"{draw + 9:064x}", "test": "c" * 64}
    fields: dict[str, Any] = {
        "total": TOTAL,
        "right": tuple(np.bincount(TRUE[predicted == TRUE], minlength=len(TOTAL)).tolist()),
        "predictions": record.encode(predicted),
        "data": Data(name=f"{NAME[:-2]}{draw})", counts=COUNTS, groups=(100, 20), fingerprints=prints),
    }
    return make_records.make(label, draw, **fields | changes)


def write(
    folder: Path, methods: Methods = METHODS, draws: int = DRAWS, name: str = NAME, with_logits: bool = True
) -> Path:
    """folder/results with a suite `toy` of these methods; logits under folder/runs."""
    rows: list[Row] = []
    made: list[Record] = []
    for seed, (label, (options, skill)) in enumerate(methods.items()):
        runs, method = [], label.partition("(")[0]
        for draw in range(draws):
            said = logits(seed, draw, skill)
            runs.append(
                make(
                    label,
                    draw,
                    said,
                    options=options or {"label": label},
                    method=method if method.isidentifier() else "toy",
                )
            )
            if with_logits:
                tensors = {"logits": torch.from_numpy(said), "label": torch.from_numpy(TRUE)}
                save_final(folder / "runs" / runs[-1].stem, runs[-1].key, {"weights": {}, "logits": tensors})
        rows.append(make_records.row(runs, data=name))
        made += runs
    make_records.write(
        folder / "results", rows, made, classes={"b" * 64: tuple(f"class{c}" for c in range(len(TOTAL)))}
    )
    return folder / "results"


def row_of(block, label):
    """A row of an analysed block."""
    return next(row for row in block["rows"] if row["label"] == label)


def text_of(found, width=80):
    """An analysis as a terminal of that width shows it."""
    sink = io.StringIO()
    analysis_writers.show(found, Console(file=sink, width=width))
    return sink.getvalue()
