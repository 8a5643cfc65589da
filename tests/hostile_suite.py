"""A suite in which every name wants to run, steer or break something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from make_records import DONE, VOLATILE, make, row, write
from test_hostile import HOSTILE

from ltbench.record import Epoch, HeadNorms, Parent, PerImage, Stretch


def hostile_suite(folder: Path) -> Path:
    """folder/evil: 26 rows, one for each name, which stands wherever a record may hold a name; two have failed."""
    rows, made = [], []
    for i, name in enumerate(HOSTILE):
        fields: dict[str, Any] = {
            "options": {name: name, "label": name},
            "recipe": {"epochs": 2, name: name},
            "parents": {name: Parent(key="0" * 64, label=name)},
            "source": name,
            "volatile": VOLATILE.model_copy(
                update={
                    "host": name,
                    "device": name,
                    "commit": name,
                    "versions": {name: name},
                    "notes": (name,),
                    "earlier": (Stretch(first=0, until=1, device=name, torch=name, commit=name),),
                }
            ),
        }
        if i < 2:
            fields |= {"status": "failed", "reason": name}
        else:
            norms = HeadNorms(norms=(1.0, 1.0, 1.0), biases=(0.0, 0.0, 0.0))
            history = tuple(Epoch(epoch=e, lr=0.1, terms={name: 2.0 - e}) for e in range(2))
            asked = {name: PerImage(mean=1.5, by_class=(1.0, 1.5, 2.0))}
            fields |= {"right": (9, 7, i % 10), "history": history, "per_image": asked, "heads": (norms,)}
            fields |= {"members": ((8, 6, i % 10), (9, 5, 1)), "macs_used": DONE["macs"] * 0.9}
        record = make(name, 0, method="ce", **fields)
        made.append(record)
        rows.append(row([record], method="ce", recipe=HOSTILE[0], data=HOSTILE[1]))
    return write(folder, rows, made, baseline=HOSTILE[5], suite="evil")
