"""`ltbench data verify` as a command, and what it remembers of images that it has opened."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import calls
import pytest
from small_lists import change, command, copy, found, image

from ltbench.data import catalogue, decode, verify
from ltbench.data.spec import DataSpec, state_folders


@pytest.fixture
def data(small_lists_made, tmp_path, monkeypatch) -> Path:
    return copy(small_lists_made, tmp_path, monkeypatch)


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
