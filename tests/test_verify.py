"""`ltbench data verify` on small trees: each kind of damage is found, by name, and nothing else is."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import made_images
import pytest
from small_lists import TESTED, TRAIN, change, command, copy, found, image, rows, text_of

from ltbench.data import catalogue, verify
from ltbench.data.spec import DataSpec


@pytest.fixture
def data(small_lists_made, tmp_path, monkeypatch) -> Path:
    return copy(small_lists_made, tmp_path, monkeypatch)


def test_a_whole_tree_is_clean(data):
    assert found(data) == found(data, deep=True) == []


# Lists


def line(number: int, new: bytes):
    """A change of one line, from 0; b"" takes it out."""

    def how(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        return b"".join([*lines[:number], new, *lines[number + 1 :]])

    return how


def test_crlf_is_a_remark_and_no_wrong_hash(data):
    change(data, "test", lambda content: content.replace(b"\n", b"\r\n"))
    assert found(data) == [("CRLF line ends", False)]


def test_a_byte_order_mark_is_a_remark_and_no_wrong_hash(data):
    change(data, "train", lambda content: b"\xef\xbb\xbf" + content)
    assert found(data) == [("byte order mark", False)]


def test_a_row_too_few_is_a_wrong_count(data):
    change(data, "test", line(0, b""))
    assert found(data) == [("wrong count", True), ("wrong hash", True)]


def test_as_many_rows_of_other_classes_are_a_wrong_count(data):
    change(data, "train", line(0, b"train/n0/train_0_0.png 1\n"))
    assert found(data) == [("wrong count", True), ("wrong hash", False)]


def test_another_order_is_a_wrong_hash_and_a_remark_where_the_hash_is_only_likely(data):
    for name in ("train", "test"):
        change(data, name, lambda content: b"".join(reversed(content.splitlines(keepends=True))))
    assert found(data) == [("wrong hash", False), ("wrong hash", True)]


def test_a_label_out_of_range(data):
    change(data, "test", line(5, b"val/n2/val_2_1.png 3\n"))
    assert ("label out of range", True) in found(data)


def test_an_empty_class(data):
    change(data, "test", lambda content: content.replace(b" 2\n", b" 1\n"))
    assert ("empty class", True) in found(data)


def test_a_file_named_twice_is_a_duplicate(data):
    change(data, "test", line(1, b"val/n0/val_0_0.png 0\n"))
    assert found(data) == [("duplicate", True), ("wrong hash", True)]


def test_a_file_under_two_labels_is_told(data):
    change(data, "test", line(1, b"val/n0/val_0_0.png 1\n"))
    said = [finding.said for finding in verify.verify(DataSpec("imagenet_lt"), data).findings]
    assert any(text.endswith("names 1 file more than once, 1 of them under several labels") for text in said)


def test_a_file_of_train_and_test_is_a_duplicate(data):
    change(data, "test", line(1, b"train/n0/train_0_0.png 0\n"))
    report = verify.verify(DataSpec("imagenet_lt"), data)
    (finding,) = (finding for finding in report.findings if finding.kind == "duplicate")
    assert finding.damage and finding.first == ("train/n0/train_0_0.png",)
    assert finding.said == "1 file stands in train and in test"


def test_a_list_with_a_bad_row_is_named_and_the_other_is_still_looked_at(data):
    change(data, "train", line(2, b"train/n0/x.png\n"))
    (data / "imagenet_lt" / "val" / "n0" / "val_0_1.png").unlink()
    assert found(data) == [("bad list", True), ("missing file", True)]


def test_a_missing_list_is_named_with_its_source_and_its_place(data, capsys, tmp_path):
    (data / "lists" / "ImageNet_LT_train.txt").unlink()
    done = command(capsys, tmp_path, data, "--format", "json")
    (report,) = json.loads(done.out)
    assert done.code == 2 and [finding["kind"] for finding in report["findings"]] == ["missing list"]
    facts = catalogue.FACTS["imagenet_lt"]
    expected = {"what": "ImageNet_LT_train.txt", "source": facts.lists_page, "place": str(data / "lists")}
    assert report["needs"] == [expected | {"how": "", "md5": ""}]


def test_a_shifted_list_that_is_there_is_checked_too(data, monkeypatch):
    known = catalogue.ListFacts("sade_x_forward2.txt", 3, 3, 1, 1, "f" * 64)
    facts = replace(catalogue.FACTS["imagenet_lt"], shifted={"forward2": known})
    monkeypatch.setitem(catalogue.FACTS, "imagenet_lt", facts)
    assert found(data) == []
    (data / "lists" / known.name).write_text(text_of(rows("val", [1, 1, 1])))
    assert found(data) == [("wrong hash", True)]


# Files


def test_missing_files_are_counted_and_the_first_ten_named(data, capsys, tmp_path):
    shutil.rmtree(data / "imagenet_lt" / "train")
    done = command(capsys, tmp_path, data)
    assert done.code == 2
    assert "missing file: train: 11 of 11 files not there" in done.out and "and 1 more" in done.out
    assert sum(line.startswith("      train/n") and line.endswith(".png") for line in done.out.splitlines()) == 10
    for archive in catalogue.FACTS["imagenet_lt"].layouts[0].archives:
        assert archive.name in done.out and archive.md5 in done.out


def test_an_image_cut_short_is_found_when_it_is_opened(data):
    os.truncate(image(data), image(data).stat().st_size - 200)
    assert found(data) == []
    assert found(data, deep=True) == [("truncated image", True)]


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("truncated image", lambda path: path.write_bytes(b"")),
        ("unreadable file", lambda path: (path.unlink(), path.mkdir())),
        ("unreadable file", lambda path: (path.unlink(), path.symlink_to(path))),
    ],
)
def test_what_is_no_file_is_found_without_opening_images(data, kind, spoil):
    spoil(image(data))
    assert found(data) == [(kind, True)]


def test_a_page_in_place_of_an_image_is_found_when_it_is_opened(data):
    image(data).write_text("<!DOCTYPE html><title>404</title>")
    assert found(data, deep=True) == [("not an image", True)]


def test_an_image_of_train_that_is_one_of_test_by_content_is_a_remark(data):
    shutil.copy(image(data), data / "imagenet_lt" / "val" / "n1" / "val_1_0.png")
    report = verify.verify(DataSpec("imagenet_lt"), data, True)
    (finding,) = report.findings
    assert (finding.kind, finding.damage, report.status) == ("duplicate", False, "remarks")
    assert finding.first == ("train/n0/train_0_0.png = val/n1/val_1_0.png",)


def test_only_the_classes_that_are_asked_for_must_be_there(data):
    shutil.rmtree(data / "imagenet_lt" / "train" / "n2")
    assert found(data) == [("missing file", True)]
    assert found(data, classes=2) == []


def test_images_may_lie_elsewhere(data):
    (data / "imagenet_lt").rename(data.parent / "elsewhere")
    assert found(data, root=str(data.parent / "elsewhere")) == []
    assert found(data) == [("missing file", True)] * 2


# Other kinds of data


def test_a_folder_of_ones_own_is_checked(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = made_images.own(tmp_path / "data" / "mine", TRAIN, size=12)
    for number, path in enumerate(sorted((root / "test").rglob("*.png"))):
        path.write_bytes(path.read_bytes() + bytes([number]))
    spec = "{name: folder, root: mine}"
    done = command(capsys, tmp_path, tmp_path / "data", "--decode", spec=spec)
    assert done.code == 0 and "folder(mine)  clean" in done.out
    assert command(capsys, tmp_path, tmp_path / "data", name="prepare", spec=spec).code == 0
    assert sorted(json.loads((root / "fingerprint.json").read_text())["parts"]) == ["test", "train"]
    next((root / "train" / "class00").iterdir()).unlink()
    assert found(tmp_path / "data", name="folder", root="mine") == [("changed", True)]
    shutil.rmtree(root / "test" / "class01")
    assert found(tmp_path / "data", name="folder", root="mine") == [("bad list", True)]


def test_the_lists_of_a_folder_of_ones_own_are_checked(tmp_path):
    root = tmp_path / "mine"
    both = rows("train", TRAIN), rows("val", [TESTED] * 3)
    made_images.write(root, both[0] + both[1], 12)
    (root / "train.txt").write_bytes(b"\xef\xbb\xbf" + text_of(both[0] + both[0][:1]).encode())
    (root / "test.txt").write_bytes(text_of(both[1]).replace("\n", "\r\n").encode())
    expected = [("byte order mark", False), ("CRLF line ends", False), ("duplicate", True)]
    assert found(tmp_path, name="folder", root="mine") == expected


def test_cifar_is_checked_by_its_md5s(tmp_path, capsys, monkeypatch):
    from torchvision.datasets import CIFAR10

    folder = tmp_path / CIFAR10.base_folder
    spec = "{name: cifar10_lt, imbalance: 100}"
    done = command(capsys, tmp_path, tmp_path, spec=spec)
    assert done.code == 2 and "7 of 7 official files are not there" in done.out and CIFAR10.tgz_md5 in done.out
    folder.mkdir()
    files = {}
    for number, (name, _) in enumerate((*CIFAR10.train_list, *CIFAR10.test_list, ("batches.meta", ""))):
        (folder / name).write_bytes(bytes([number]))
        files[name] = hashlib.md5(bytes([number]), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [[name, files[name]] for name, _ in CIFAR10.train_list])
    monkeypatch.setattr(CIFAR10, "test_list", [[name, files[name]] for name, _ in CIFAR10.test_list])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": files["batches.meta"]})
    done = command(capsys, tmp_path, tmp_path, spec=spec)
    assert done.code == 0 and "7 official files, md5 as published" in done.out
    (folder / "data_batch_3").write_bytes(b"x")
    assert found(tmp_path, name="cifar10_lt") == [("wrong hash", True)]


def test_a_damaged_pack_is_found(tmp_path, capsys):
    (tmp_path / "cifar10_lt.pack").write_bytes(b"PK")
    assert found(tmp_path, name="cifar10_lt") == [("damaged pack", True)]


def test_what_is_drawn_is_always_there(tmp_path, capsys):
    assert found(tmp_path, name="glyphs_lt") == []
