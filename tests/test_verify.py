"""`ltbench data verify` and `prepare` on small trees: each kind of damage is found, by name, and nothing else is."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import calls
import made_images
import numpy as np
import pytest

from ltbench.data import catalogue, decode, lists, verify
from ltbench.data.damage import Lists
from ltbench.data.spec import DataSpec, state_folders

TRAIN = (6, 3, 2)
TESTED = 2
HEAD = "backbone: resnet20\nrecipe: {epochs: 1}\nmethods: [ce]\n"


def rows(part: str, counts) -> list[tuple[str, int]]:
    return [(f"{part}/n{c}/{part}_{c}_{i}.png", c) for c, count in enumerate(counts) for i in range(count)]


def text_of(listed) -> str:
    return "".join(f"{path} {label}\n" for path, label in listed)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A data folder with images and lists that stand for ImageNet-LT's."""
    data = tmp_path_factory.mktemp("made")
    both = rows("train", TRAIN), rows("val", [TESTED] * 3)
    made_images.write(data / "imagenet_lt", [row for part in both for row in part], 12)
    made_images.write_lists("imagenet_lt", both, data / "lists")
    for number, path in enumerate(sorted((data / "imagenet_lt").rglob("*.png"))):
        with open(path, "ab") as file:
            file.write(bytes([number]))  # behind the end of the image: no two files are the same
    return data


@pytest.fixture
def data(made, tmp_path, monkeypatch) -> Path:
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


def test_a_whole_tree_is_clean(data):
    assert found(data) == found(data, deep=True) == []


# Lists


def change(data: Path, name: str, how) -> None:
    path = data / "lists" / f"ImageNet_LT_{name}.txt"
    path.write_bytes(how(path.read_bytes()))


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


def image(data: Path, number: int = 0) -> Path:
    return sorted((data / "imagenet_lt" / "train").rglob("*.png"))[number]


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


# What is remembered


def opened(monkeypatch) -> list[str]:
    """The images that are opened from now on."""
    names: list[str] = []
    before = decode._open
    monkeypatch.setattr(decode, "_open", lambda root, path: (names.append(path), before(root, path))[1])
    return names


def test_an_image_is_opened_again_only_once_it_has_changed(data, monkeypatch):
    names = opened(monkeypatch)
    assert found(data, deep=True) == [] and len(names) == 17
    assert found(data, deep=True) == [] and len(names) == 17
    os.utime(image(data), ns=(1, 1))
    assert found(data, deep=True) == [] and names[17:] == ["train/n0/train_0_0.png"]


def test_a_damaged_image_is_not_remembered(data, monkeypatch):
    image(data).write_bytes(b"x")
    assert found(data, deep=True) == found(data, deep=True) == [("not an image", True)]


def test_a_killed_look_goes_on_where_it_was(data, monkeypatch):
    monkeypatch.setattr(decode, "_AT_ONCE", 5)
    names = opened(monkeypatch)

    def die(done):
        if len(names) > 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify.verify(DataSpec("imagenet_lt"), data, True, lambda what, times: die)
    first = len(names)
    assert 5 < first <= 10
    assert found(data, deep=True) == [] and len(names) == first + 12  # five were written down


def test_a_torn_memory_loses_its_last_entry_only(data, monkeypatch):
    found(data, deep=True)
    memory = data / "imagenet_lt" / decode.REMEMBERED
    os.truncate(memory, memory.stat().st_size - 7)
    names = opened(monkeypatch)
    assert found(data, deep=True) == [] and len(names) == 1
    assert found(data, deep=True) == [] and len(names) == 1


@pytest.mark.parametrize("content", [b"", b"\0" * 5, os.urandom(4800)])
def test_rubbish_in_the_memory_does_no_harm(data, monkeypatch, content):
    (data / "imagenet_lt" / decode.REMEMBERED).write_bytes(content)
    names = opened(monkeypatch)
    assert found(data, deep=True) == [] and len(names) == 17
    assert found(data, deep=True) == [] and len(names) == 17


def test_beside_images_that_cannot_be_written_to_the_memory_is_the_users(data, monkeypatch):
    names = opened(monkeypatch)
    with calls.read_only(data):
        assert found(data, deep=True) == found(data, deep=True) == [] and len(names) == 17
        assert state_folders(data / "imagenet_lt")[0].is_relative_to(data.parent / "cache")
    assert found(data, deep=True) == [] and len(names) == 17, "and is known later, too"


# The command


def command(capsys, folder: Path, data: Path, *words: str, name: str = "verify", spec: str = "{name: imagenet_lt}"):
    """`ltbench data verify` on a suite of that dataset."""
    path = folder / "s.yaml"
    path.write_text(f"data: {spec}\n{HEAD}")
    return calls.ltbench(capsys, "data", name, path, "--data", data, *words)


def test_a_clean_tree_ends_with_0_and_a_damaged_one_with_2(data, capsys, tmp_path):
    done = command(capsys, tmp_path, data, "--decode")
    assert done.code == 0 and "imagenet_lt  clean" in done.out
    assert "17 of 17 files there, 17 images opened and found whole" in done.out
    change(data, "test", lambda content: b"\xef\xbb\xbf" + content)
    done = command(capsys, tmp_path, data)
    assert done.code == 0 and "imagenet_lt  remarks" in done.out
    image(data).unlink()
    done = command(capsys, tmp_path, data)
    assert done.code == 2 and "imagenet_lt  damaged" in done.out
    assert done.out.index("damage: ") < done.out.index("remark: ")


def test_the_reports_as_json(data, capsys, tmp_path):
    (report,) = json.loads(command(capsys, tmp_path, data, "--format", "json").out)
    assert {key: report[key] for key in ("name", "status", "findings", "needs")} == {
        "name": "imagenet_lt", "status": "clean", "findings": [], "needs": [],
    }  # fmt: skip
    assert report["parts"]["train"] | {"list": "", "sha256": ""} == {
        "list": "", "sha256": "", "rows": 11, "classes": 3, "most": 6, "fewest": 2,
    }  # fmt: skip
    assert report["parts"]["train"]["sha256"] == catalogue.FACTS["imagenet_lt"].layouts[0].train.sha256


def test_an_interrupted_look_ends_with_130_and_says_that_it_goes_on(data, capsys, tmp_path, monkeypatch):
    def stopped(root, path):
        raise KeyboardInterrupt

    monkeypatch.setattr(decode, "_open", stopped)
    done = command(capsys, tmp_path, data, "--decode")
    assert (done.code, done.out, done.err) == (130, "", "interrupted: the same command goes on from here\n")


def test_no_line_is_broken_within_a_path_nor_padded(data, capsys, tmp_path):
    shutil.rmtree(data / "imagenet_lt" / "val")
    done = command(capsys, tmp_path, data)
    assert f"\n      into {data / 'imagenet_lt'}\n" in done.out
    assert not [line for line in done.out.splitlines() if line.endswith(" ") and not line.strip().startswith("t")]


def test_a_wrong_format_or_suite_is_one_message(data, capsys, tmp_path):
    done = command(capsys, tmp_path, data, "--format", "xml")
    assert done.code == 2 and "text" in done.err and done.err.count("\n") == 1
    done = command(capsys, tmp_path, data, spec="{name: imagenet}")
    assert done.code == 2 and "did you mean 'imagenet_lt'?" in done.err


# prepare


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
