"""`ltbench data prepare`: what it moves and writes, and what `verify` makes of that."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import calls
import made_images
import numpy as np
import pytest
from small_lists import TESTED, TRAIN, change, command, copy, found, image, rows

from ltbench.data import catalogue, lists, verify
from ltbench.data.damage import Lists
from ltbench.data.spec import DataSpec


@pytest.fixture
def data(small_lists_made, tmp_path, monkeypatch) -> Path:
    return copy(small_lists_made, tmp_path, monkeypatch)


def test_prepare_writes_a_fingerprint_that_verify_compares_with(data, capsys, tmp_path):
    done = command(capsys, tmp_path, data, name="prepare")
    path = data / "imagenet_lt" / "fingerprint.json"
    assert done.code == 0 and f"  written: {path}\n" in done.out and not done.err
    written = json.loads(path.read_text())
    listed, facts = rows("val", [TESTED] * 3), catalogue.FACTS["imagenet_lt"].layouts[0]
    digests = [hashlib.sha256((data / "imagenet_lt" / name).read_bytes()).digest() for name, _ in listed]
    assert written["parts"]["test"] == {
        "rows": 6, "list": facts.test.sha256, "images": hashlib.sha256(b"".join(digests)).hexdigest(),
    }  # fmt: skip
    assert set(written["parts"]) == {"train", "test"}
    assert found(data) == found(data, deep=True) == []
    made_images.picture(0, 3, 99, 12).save(image(data))
    assert found(data) == [], "which images have changed shows only once they are opened"
    assert found(data, deep=True) == [("changed", True)]
    assert command(capsys, tmp_path, data, name="prepare").code == 0, "the change was meant"
    assert found(data, deep=True) == []


def test_a_list_that_has_changed_since_prepare_is_told(data, capsys, tmp_path):
    command(capsys, tmp_path, data, name="prepare")
    change(data, "train", lambda content: b"".join(reversed(content.splitlines(keepends=True))))
    assert found(data) == [("wrong hash", False), ("changed", True)]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"parts": 3}', '{"parts": {"train": 3}}', "\0"])
def test_a_damaged_fingerprint_is_told_and_made_anew(data, capsys, tmp_path, content):
    (data / "imagenet_lt" / "fingerprint.json").write_text(content)
    assert found(data) == [("bad fingerprint", True)]
    assert command(capsys, tmp_path, data, name="prepare").code == 0 and found(data) == []


def test_prepare_writes_no_fingerprint_of_damaged_data(data, capsys, tmp_path):
    image(data).unlink()
    done = command(capsys, tmp_path, data, name="prepare")
    assert done.code == 2 and "missing file" in done.out
    assert not (data / "imagenet_lt" / "fingerprint.json").exists()


def test_prepare_moves_images_that_the_archive_left_one_folder_too_high(data, capsys, tmp_path):
    val = data / "imagenet_lt" / "val"
    for path in sorted(val.rglob("*.png")):
        path.rename(val / path.name)
    shutil.rmtree(val / "n0")
    report = verify.verify(DataSpec("imagenet_lt"), data)
    assert [finding.kind for finding in report.findings] == ["missing file"]
    assert any("one folder too high" in need.what for need in report.needs)
    done = command(capsys, tmp_path, data, name="prepare")
    assert done.code == 0 and "6 images moved" in done.out
    assert found(data, deep=True) == []


def test_prepare_moves_no_file_that_a_list_names_nor_one_that_two_may_be(data):
    root = data / "imagenet_lt"
    for folder in ("a", "b"):
        (root / "x" / folder).mkdir(parents=True)
    for name in ("named", "claimed", "free"):
        (root / "x" / name).write_bytes(b"")
    paths = ("x/named", "x/a/named", "x/a/claimed", "x/b/claimed", "x/a/free", "free")
    listing = lists.listing(root / "list", paths, np.zeros(len(paths), dtype=np.int64))
    assert verify.out_of_place(Lists("imagenet_lt", root, {"train": listing})) == [("x/free", "x/a/free")]


def test_prepare_moves_nothing_in_a_folder_of_ones_own(tmp_path, capsys):
    root = made_images.own(tmp_path / "data" / "mine", TRAIN, size=12)
    for part, counts in (("train", TRAIN), ("test", [4] * len(TRAIN))):
        paths = [f"{part}/class{c:02}/{i:03}.png {c}" for c, n in enumerate(counts) for i in range(n)]
        (root / f"{part}.txt").write_text("\n".join(paths))
    (root / "train" / "class00" / "000.png").rename(root / "train" / "000.png")
    done = command(capsys, tmp_path, tmp_path / "data", name="prepare", spec="{name: folder, root: mine}")
    assert done.code == 2 and "missing file" in done.out and "moved" not in done.out
    assert (root / "train" / "000.png").is_file()


def test_the_fingerprint_of_some_classes_says_nothing_of_all(data, capsys, tmp_path):
    command(capsys, tmp_path, data, name="prepare", spec="{name: imagenet_lt, classes: 2}")
    assert json.loads((data / "imagenet_lt" / "fingerprint.json").read_text())["classes"] == 2
    assert found(data) == [], "another cut"
    made_images.picture(0, 3, 99, 12).save(image(data))
    assert found(data, deep=True) == []
    assert found(data, deep=True, classes=2) == [("changed", True)]


def test_a_class_that_is_still_packed_is_told(data):
    shutil.rmtree(data / "imagenet_lt" / "train" / "n0")
    (data / "imagenet_lt" / "train" / "n0.tar").write_bytes(b"")
    report = verify.verify(DataSpec("imagenet_lt"), data)
    assert any("train/n0.tar is still packed" in need.what for need in report.needs)


def test_a_fingerprint_of_data_that_cannot_be_written_to_is_the_users(data, capsys, tmp_path):
    with calls.read_only(data):
        assert command(capsys, tmp_path, data, name="prepare").code == 0
        assert found(data) == []
        (state,) = (data.parent / "cache").rglob("fingerprint.json")
        state.write_text(state.read_text().replace('"rows": 6', '"rows": 7'))
        assert found(data) == [("changed", True)]
