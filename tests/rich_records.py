"""A made-up suite with all that a leaderboard meets: seeds, experts, a router, runs diverged, failed and missing.

`python tests/rich_records.py DIR` writes it to look at. The numbers are drawn, not trained.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from make_records import FINGERPRINTS, VOLATILE, make, row, write

from ltbench.planfile import Row
from ltbench.record import Calibration, Data, Epoch, Parent, PerImage, Record, encode

RECIPE = {
    "name": "ride200", "epochs": 200, "batch_size": 128, "optimizer": "sgd", "lr": 0.1, "momentum": 0.9,
    "weight_decay": 5e-4, "schedule": "steps", "steps": [0.8, 0.9], "gamma": 0.01, "augment": ["crop", "flip"],
}  # fmt: skip
# label: (right on the most frequent class, on the rarest, experts, multiply-adds, as used, its loss terms)
METHODS: dict[str, tuple[float, float, int, float, float, tuple[str, ...]]] = {
    "ce": (0.74, 0.06, 1, 69e6, 69e6, ("ce",)),
    "ldam_drw": (0.66, 0.20, 1, 69e6, 69e6, ("ldam",)),
    "crt": (0.70, 0.16, 1, 69e6, 69e6, ("ce",)),
    "balanced_softmax": (0.64, 0.26, 1, 69e6, 69e6, ("ce",)),
    "tau_norm(tau=1.0)": (0.68, 0.15, 1, 69e6, 69e6, ()),
    "bbn": (0.69, 0.22, 1, 87e6, 87e6, ("ce",)),
    "ride(experts=3)": (0.70, 0.28, 3, 100e6, 100e6, ("diversity", "ldam")),
    "ride_ea(base=ride(experts=3))": (0.70, 0.27, 3, 100e6, 76e6, ("router",)),
    "ride_distill(experts=3, teacher=ride(experts=6))": (0.71, 0.31, 3, 100e6, 100e6, ("distill", "diversity", "ldam")),
    "ride(experts=6)": (0.72, 0.30, 6, 150e6, 150e6, ("diversity", "ldam")),
}


def counts(classes: int, largest: int = 500, imbalance: int = 100) -> tuple[int, ...]:
    """An exponential profile."""
    return tuple(int(largest * imbalance ** (-i / (classes - 1))) for i in range(classes))


def drawn(label: str, seed: int, classes: int = 40, images: int = 30, epochs: int = 200, **changes: Any) -> Record:
    """A complete record of that label, all its parts consistent."""
    head, tail, experts, macs, used, terms = METHODS.get(label, METHODS["ce"])
    random = np.random.default_rng([seed, *label.encode("utf-8", "replace")])
    share = np.linspace(head, tail, classes) + random.normal(0, 0.06, classes)
    members = [random.binomial(images, (share * 0.92).clip(0.01, 0.98)) for _ in range(experts)]
    right = random.binomial(images, share.clip(0.01, 0.98))
    predicted = _predicted(right, images, random)
    hits = int(right.sum())
    data = Data(
        name=f"toy{classes}_lt(imbalance=100)", counts=counts(classes), groups=(100, 20), fingerprints=FINGERPRINTS
    )
    history = tuple(
        Epoch(
            epoch=e,
            lr=0.1 * 0.01 ** ((e >= 0.8 * epochs) + (e >= 0.9 * epochs)),
            terms=_terms(terms, e / epochs, random),
        )
        for e in range(epochs if terms else 0)
    )
    done: dict[str, Any] = {
        "right": tuple(map(int, right)), "total": (images,) * classes, "predictions": encode(predicted),
        "calibration": _bins(hits, images * classes, random), "parameters": 470_000 * (1 + experts) // 2, "macs": macs,
        "macs_used": used, "members": tuple(tuple(map(int, m)) for m in members) if experts > 1 else (),
        "history": history, "source": "c0ffee" * 10 + "beef",
    }  # fmt: skip
    if used < macs:
        asked = 1 + 1.4 * np.linspace(0.2, 1, classes) + random.normal(0, 0.05, classes)
        by_class = tuple(round(float(v), 4) for v in asked)
        done["per_image"] = {"experts_used": PerImage(mean=float(np.mean(by_class)), by_class=by_class)}
    minutes = 60 * (30 + 10 * experts)
    volatile = VOLATILE.model_copy(
        update={"seconds": minutes + 13.0 * seed, "versions": {"python": "3.11.7", "torch": "2.15.0"}, "threads": 1,
                "started": f"2026-11-2{seed}T08:00:00Z", "finished": f"2026-11-2{seed}T09:00:00Z"}
    )  # fmt: skip
    fields = {"backbone": "resnet32", "data": data, "recipe": RECIPE, "suite_recipe": RECIPE, "volatile": volatile}
    return make(label, seed, **fields | done | changes)


def _predicted(right: np.ndarray, images: int, random: np.random.Generator) -> np.ndarray:
    """Class numbers in class order; what is wrong goes to a few more frequent neighbours."""
    classes = len(right)
    parts = []
    for c, good in enumerate(right):
        near = [k for k in (c // 2, c // 3, max(0, c - 5), (c + 7) % classes) if k != c] or [(c + 1) % classes]
        wrong = random.choice(near, images - int(good))
        parts.append(np.concatenate([np.full(int(good), c), wrong]))
    return np.concatenate(parts).astype(int)


def _terms(names: tuple[str, ...], progress: float, random: np.random.Generator) -> dict[str, float]:
    fall = 0.4 + 3.5 * np.exp(-4 * progress) - 0.25 * (progress >= 0.8)
    return {name: float((fall if i else fall * 1.4) + random.normal(0, 0.03)) for i, name in enumerate(names)}


def _bins(hits: int, images: int, random: np.random.Generator) -> Calibration:
    """15 bins with so many hits; surer than right."""
    centre = (np.arange(15) + 0.5) / 15
    weight = 0.3 + centre**2 + 0.5 * (centre > 0.9)
    count = np.floor(images * weight / weight.sum()).astype(int)
    count[-1] += images - int(count.sum())
    right = np.floor(count * centre * hits / max(1.0, float((count * centre).sum()))).astype(int)
    confidence = count * (centre + random.uniform(-0.01, 0.01, 15)).clip(0.01, 1)
    return Calibration(
        count=tuple(map(int, count)), right=tuple(map(int, right)), confidence=tuple(map(float, confidence))
    )


def suite(folder: Path, classes: int = 40, seeds: int = 3, suite: str = "toy") -> Path:
    """folder/<suite>: METHODS over seeds; one diverged, one failed, one missing, one skipped, one seed missing."""
    rows: list[Row] = []
    written: list[Record] = []
    for label in METHODS:
        made = [drawn(label, seed, classes) for seed in range(seeds)]
        if label.startswith("ride_distill") and made:
            parents = {"teacher": Parent(key=drawn("ride(experts=6)", 0, classes).key, label="ride(experts=6)")}
            made = [drawn(label, seed, classes, parents=parents) for seed in range(seeds)]
        rows.append(row(made, recipe="ride200"))
        written += made[1:] if label == "bbn" else made
    fallen = [drawn("focal(gamma=9.0)", s, classes) for s in range(seeds)]
    bare: dict[str, Any] = {"right": (), "total": (), "predictions": "", "calibration": None}
    burst = [
        f.model_copy(update={**bare, "status": "diverged", "reason": "loss not finite in 3 epochs running (52 to 54)",
                             "history": f.history[:54]})
        for f in fallen
    ]  # fmt: skip
    rows.append(row(burst, recipe="ride200"))
    written += burst
    oom = [
        drawn("paco", s, classes, status="oom", reason="CUDA out of memory: 81920 MB asked", **bare)
        for s in range(seeds)
    ]
    rows.append(row(oom, recipe="ride200"))
    written += oom[:1]
    rows.append(row([drawn("sade", s, classes) for s in range(seeds)], recipe="ride200"))
    skipped = row([drawn("mislas", s, classes) for s in range(seeds)], recipe="ride200", skip="needs a linear head")
    return write(folder, [*rows, skipped], written, suite=suite)


if __name__ == "__main__":
    print(suite(Path(sys.argv[1]), classes=100))
