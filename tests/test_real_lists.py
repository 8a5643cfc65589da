"""The field's own lists, where they are: all that is known of them holds."""

from __future__ import annotations

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from ltbench.data import catalogue, lists
from ltbench.scores import group_classes

LISTS = [
    (facts.name, known)
    for facts in catalogue.FACTS.values()
    for known in (*(part for layout in facts.layouts for part in layout.parts.values()), *facts.shifted.values())
]
FREQUENCIES = {"imagenet_lt": "ImageNet_LT", "inat18": "iNaturalist18", "places_lt": "Places_LT"}


@pytest.fixture(scope="module")
def folder() -> Path:
    """The folder of the real lists."""
    data = os.environ.get("LTBENCH_DATA")
    if not data:
        pytest.skip("needs the field's lists: $LTBENCH_DATA is not set")
    if not (Path(data) / "lists").is_dir():
        pytest.skip(f"needs the field's lists: {data} ($LTBENCH_DATA) holds no lists/")
    return Path(data) / "lists"


def read(folder: Path, known: catalogue.ListFacts) -> lists.Listing:
    path = lists.find(known.names, [folder])
    if path is None:
        pytest.skip(f"{known.name} is not in {folder}")
    return _read(path)


_read = lru_cache(lists.read)  # each is looked at by several tests


def frequencies(folder: Path, name: str) -> np.ndarray:
    """[C] training images per class, as published."""
    path = folder / f"{FREQUENCIES[name]}_cls_freq.json"
    if not path.is_file():
        pytest.skip(f"{path.name} is not in {folder}")
    return np.array(json.loads(path.read_text()))


@pytest.mark.parametrize(("name", "known"), LISTS, ids=[known.name for _, known in LISTS])
def test_a_list_holds_what_is_known_of_it(folder, name, known):
    listing = read(folder, known)
    counts = np.bincount(listing.labels)
    there = counts[counts > 0]
    assert (len(listing), len(there), there.max(), there.min()) == (
        known.rows, known.classes, known.most, known.fewest,
    )  # fmt: skip
    assert len(counts) == catalogue.FACTS[name].classes and not listing.notes
    assert len(set(listing.paths)) == len(listing)
    if not known.likely:
        assert listing.sha256 == known.sha256
    if known.counts_sha256:
        assert hashlib.sha256(counts.astype("<i4").tobytes()).hexdigest() == known.counts_sha256


@pytest.mark.parametrize("name", FREQUENCIES)
def test_published_images_per_class_give_the_known_hash_and_groups(folder, name):
    facts, counts = catalogue.FACTS[name], frequencies(folder, name)
    assert hashlib.sha256(counts.astype("<i4").tobytes()).hexdigest() == facts.layouts[0].train.counts_sha256
    assert (counts.sum(), len(counts)) == (facts.layouts[0].train.rows, facts.classes)
    groups = group_classes(tuple(counts.tolist()), catalogue.GROUPS)
    assert tuple(len(groups[group]) for group in ("many", "medium", "few")) == facts.groups


def test_the_places_list_agrees_with_the_published_counts_class_by_class(folder):
    expected = frequencies(folder, "places_lt")
    for layout in catalogue.FACTS["places_lt"].layouts:
        assert np.array_equal(np.bincount(read(folder, layout.train).labels), expected)


@pytest.mark.parametrize("name", catalogue.FACTS)
def test_the_parts_share_no_file_and_lie_below_the_layouts_folders(folder, name):
    for layout in catalogue.FACTS[name].layouts:
        seen: set[str] = set()
        for known in layout.parts.values():
            if known.likely:
                continue  # not published where it could be had
            paths = set(read(folder, known).paths)
            assert not paths & seen
            assert {path.partition("/")[0] for path in paths} <= set(layout.folders)
            seen |= paths


@pytest.mark.parametrize("name", catalogue.FACTS)
def test_the_shifted_lists_name_images_of_the_test_list(folder, name):
    facts = catalogue.FACTS[name]
    layout = facts.layouts[-1]  # theirs are the paths of the archives with data_256/ and val_256/
    test = read(folder, layout.test)
    label = dict(zip(test.paths, test.labels.tolist(), strict=True))
    for known in facts.shifted.values():
        listing = read(folder, known)
        assert all(label[path] == number for path, number in zip(listing.paths, listing.labels.tolist(), strict=True))
