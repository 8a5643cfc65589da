"""Small trees that stand for ImageNet-LT's, and what `ltbench data verify` finds in them."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import calls
import made_images
import numpy as np

from ltbench.data import catalogue, verify
from ltbench.data.spec import DataSpec

TRAIN = (6, 3, 2)
TESTED = 2
HEAD = "backbone: resnet20\nrecipe: {epochs: 1}\nmethods: [ce]\n"


def rows(part: str, counts) -> list[tuple[str, int]]:
    return [(f"{part}/n{c}/{part}_{c}_{i}.png", c) for c, count in enumerate(counts) for i in range(count)]


def text_of(listed) -> str:
    return "".join(f"{path} {label}\n" for path, label in listed)


def write(data: Path) -> Path:
    """A data folder with images and lists that stand for ImageNet-LT's."""
    both = rows("train", TRAIN), rows("val", [TESTED] * 3)
    made_images.write(data / "imagenet_lt", [row for part in both for row in part], 12)
    made_images.write_lists("imagenet_lt", both, data / "lists")
    for number, path in enumerate(sorted((data / "imagenet_lt").rglob("*.png"))):
        with open(path, "ab") as file:
            file.write(bytes([number]))  # behind the end of the image: no two files are the same
    return data


def copy(made: Path, tmp_path: Path, monkeypatch) -> Path:
    """A copy of it; what is known of ImageNet-LT is what these lists hold, so that nothing is wrong with them."""
    shutil.copytree(made, tmp_path / "data")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    facts = catalogue.FACTS["imagenet_lt"]
    (layout,) = facts.layouts
    parts = {}
    for part, known in (("train", layout.train), ("test", layout.test)):
        listed = rows(*(("train", TRAIN) if part == "train" else ("val", [TESTED] * 3)))
        counts = np.bincount([label for _, label in listed])
        parts[part] = replace(
            known, rows=len(listed), classes=3, most=int(counts.max()), fewest=int(counts.min()),
            sha256=hashlib.sha256(text_of(listed).encode()).hexdigest(),
            counts_sha256=hashlib.sha256(counts.astype("<i4").tobytes()).hexdigest(),
        )  # fmt: skip
    small = replace(facts, classes=3, layouts=(replace(layout, **parts),), shifted={})
    monkeypatch.setitem(catalogue.FACTS, "imagenet_lt", small)
    return tmp_path / "data"


def found(data: Path, deep: bool = False, name: str = "imagenet_lt", **spec) -> list[tuple[str, bool]]:
    """(kind, whether it is damage) of each finding."""
    return [(finding.kind, finding.damage) for finding in verify.verify(DataSpec(name, **spec), data, deep).findings]


def change(data: Path, name: str, how) -> None:
    path = data / "lists" / f"ImageNet_LT_{name}.txt"
    path.write_bytes(how(path.read_bytes()))


def image(data: Path, number: int = 0) -> Path:
    return sorted((data / "imagenet_lt" / "train").rglob("*.png"))[number]


def command(capsys, folder: Path, data: Path, *words: str, name: str = "verify", spec: str = "{name: imagenet_lt}"):
    """`ltbench data verify` on a suite of that dataset."""
    path = folder / "s.yaml"
    path.write_text(f"data: {spec}\n{HEAD}")
    return calls.ltbench(capsys, "data", name, path, "--data", data, *words)
