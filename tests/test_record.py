"""Records: written whole or not at all, read strictly, refused by name."""

from __future__ import annotations

import gc
import json
import math
import os
from pathlib import Path

import make_records
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_records import make

from ltbench import atomic, keys, record
from ltbench.errors import LtbenchError
from ltbench.keys import digest

RESULTS = Path(__file__).parent.parent / "results"


def sealed(body: dict) -> str:
    """A record's text with a hash that fits its contents, whatever they are."""
    fixed = {key: value for key, value in body.items() if key not in ("volatile", "sha256")}
    return json.dumps({**body, "sha256": digest(fixed)})


# Writing and reading back


def test_a_record_comes_back_equal_and_is_written_again_byte_for_byte(tmp_path):
    made = make_records.make(
        "ride(experts=3)", 2,
        predictions=record.encode(np.array([0, 1, 61])), members=((1, 2, 3), (4, 5, 6)), reason="Grüße [±]",
        per_image={"experts_used": record.PerImage(mean=1.5, by_class=(1.0, 2.0, 1.5))},
        history=(record.Epoch(epoch=0, lr=0.1, terms={"ce": 4.0}),),
        heads=(record.HeadNorms(norms=(1.0,), biases=(0.1,)),),
        parents={"stage1": record.Parent(key="dd", label="ce")},
        options={"base": {"ce": {"head": "linear"}}, "tau": 1.0},
    )  # fmt: skip
    path = record.write(made, tmp_path)
    assert path.name == f"ride-{made.key[:8]}-s2.json"
    first, back = path.read_bytes(), record.read(path)
    assert back == made
    assert record.write(back, tmp_path) == path and path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_hash_is_of_the_fixed_part_alone(tmp_path):
    made = make_records.make()
    other = made.model_copy(update={"volatile": record.Volatile(host="elsewhere", seconds=1e6)})
    hashes = [json.loads(record.write(r, tmp_path).read_text())["sha256"] for r in (made, other)]
    assert hashes[0] == hashes[1] == digest(made.fixed())
    assert "volatile" not in made.fixed() and "sha256" not in made.fixed()


def test_a_record_may_be_read_by_others(tmp_path):
    assert record.write(make_records.make(), tmp_path).stat().st_mode & 0o777 == 0o644


@given(st.lists(st.integers(0, 65535), max_size=300))
def test_predictions_come_back(classes):
    back = record.decode(record.encode(np.array(classes, dtype=np.int64)))
    assert back.dtype == np.int64 and back.tolist() == classes


def test_predictions_are_text_that_does_not_hang_on_the_machine():
    # base64 of zlib of 00 00 01 00 2c 01: little-endian, two bytes a class
    import base64
    import zlib

    assert zlib.decompress(base64.b64decode(record.encode(np.array([0, 1, 300])))) == b"\x00\x00\x01\x00\x2c\x01"


# Refused


def edited(text: str, **changes: object) -> str:
    return json.dumps(json.loads(text) | changes)


NAN, HALF = "NaN", "half a character"
DAMAGES = {
    "a figure changed by hand": (lambda text: edited(text, right=[10, 10, 10]), "contradict its sha256"),
    "a number for a text": (lambda text: sealed(json.loads(text) | {"label": 3}), "not a record"),
    "another seed under the same key": (lambda text: sealed(json.loads(text) | {"seed": 1}), "its key or name"),
    "another recipe under the same key": (
        lambda text: sealed(json.loads(text) | {"recipe": {"epochs": 3}}),
        "its key or name",
    ),
    "another key": (lambda text: sealed(json.loads(text) | {"key": "0" * 64}), "its key or name"),
    "cut short": (lambda text: text[: len(text) // 2], "not a record"),
    "empty": (lambda text: "", "not a record"),
    "no JSON": (lambda text: "<html>", "not a record"),
    "JSON, but a list": (lambda text: "[]", "not a record"),
    "JSON, but a number": (lambda text: "1", "not a record"),
    "not UTF-8": (lambda text: b"\xff\xfe\x00", "not a record"),
    "no hash": (lambda text: "{}", "not a record"),
    "another schema": (lambda text: sealed(json.loads(text) | {"schema_version": 99}), "schema 99; this ltbench"),
    "no schema": (
        lambda text: sealed({k: v for k, v in json.loads(text).items() if k != "schema_version"}),
        "schema None",
    ),
    "a field too many": (lambda text: sealed(json.loads(text) | {"verdict": "good"}), "not a record"),
    "a field too few": (
        lambda text: sealed({k: v for k, v in json.loads(text).items() if k != "label"}),
        "not a record",
    ),
    "an unknown status": (lambda text: sealed(json.loads(text) | {"status": "partial"}), "not a record"),
    NAN: (lambda text: text.replace('"macs": 2000000.0', '"macs": NaN'), "not a record"),
    HALF: (lambda text: text.replace('"reason": ""', '"reason": "\\ud800"'), "not a record"),
    "NaN in the volatile part": (lambda text: text.replace('"seconds": 90.0', '"seconds": NaN'), "not a record"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_refused_by_name_and_the_others_are_read(tmp_path, damage):
    harm, said = DAMAGES[damage]
    good, bad = make_records.make("ce"), make_records.make("bbn")
    record.write(good, tmp_path)
    path = record.write(bad, tmp_path)
    text = path.read_text()
    harmed = harm(text)
    assert harmed != text
    path.write_bytes(harmed if isinstance(harmed, bytes) else harmed.encode())
    with pytest.raises(LtbenchError) as caught:
        record.read(path)
    assert str(caught.value).startswith(f"{path}: ") and said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert record.read_folder(tmp_path) == ({good.key: good}, [str(caught.value)])


@pytest.mark.parametrize("name", ["ce.json", "bbn-{key}-s0.json", "ce-{key}-s1.json", "copy of ce-{key}-s0.json"])
def test_a_record_under_another_name_is_refused(tmp_path, name):
    made = make_records.make("ce")
    path = record.write(made, tmp_path)
    other = path.rename(tmp_path / name.format(key=made.key[:8]))
    with pytest.raises(LtbenchError, match="its key or name"):
        record.read(other)
    assert record.read_folder(tmp_path)[0] == {}


def test_what_is_absent_or_a_folder_is_refused_by_name(tmp_path):
    (tmp_path / "folder.json").mkdir()
    for path in (tmp_path / "absent.json", tmp_path / "folder.json"):
        with pytest.raises(LtbenchError, match=path.name):
            record.read(path)


def test_files_that_are_no_records_are_let_be(tmp_path):
    made = make_records.make()
    record.write(made, tmp_path)
    for name in ("plan.json", "notes.txt", f".{made.stem}.json.abc123"):
        (tmp_path / name).write_text("{")
    assert record.read_folder(tmp_path) == ({made.key: made}, [])


def test_a_folder_that_is_not_there_has_no_records(tmp_path):
    assert record.read_folder(tmp_path / "absent") == ({}, [])


# Atomic


def failing(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("before", [None, "the old text"])
def test_a_failed_write_leaves_no_stump_and_what_was_there(tmp_path, monkeypatch, call, before):
    path = tmp_path / "x.json"
    if before:
        path.write_text(before)
    monkeypatch.setattr(os, call, failing)
    with pytest.raises(OSError, match="No space left"):
        atomic.write_atomically(path, "the new text")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == ({"x.json": before} if before else {})


def test_an_interrupt_in_the_write_leaves_no_stump(tmp_path, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        atomic.write_atomically(tmp_path / "x.json", "text")
    assert not list(tmp_path.iterdir())


def test_the_text_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, name=name, real=real: (calls.append(name), real(*given)))
    atomic.write_atomically(tmp_path / "deep" / "x.json", "Grüße\n")
    assert calls == ["fsync", "replace", "fsync"], "the file, its name, and the folder that holds the name"
    assert (tmp_path / "deep" / "x.json").read_bytes() == "Grüße\n".encode()


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_who_may_read_a_file_is_what_the_umask_says(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        atomic.write_atomically(tmp_path / "x.json", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "x.json").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["fixed", "volatile"])
def test_what_is_not_a_number_is_not_written(tmp_path, value, place):
    changes = {"macs": value} if place == "fixed" else {"volatile": record.Volatile(seconds=value)}
    made = make_records.make().model_copy(update=changes)
    with pytest.raises(ValueError):
        record.write(made, tmp_path)
    assert not list(tmp_path.iterdir())


# Speed and bytes


def test_integers_of_any_size_come_back(tmp_path):
    made = make_records.make(options={"seed": 2**70})
    assert record.read(record.write(made, tmp_path)) == made


def test_a_history_is_read_as_strictly_as_the_rest(tmp_path):
    good = {"epoch": 0, "lr": 1e-05, "terms": {"ce": 4}}
    bad = [
        good | {"lr": "0.1"},
        good | {"loss": 1.0},
        {"epoch": 0, "lr": 0.1},
        good | {"terms": {"ce": None}},
        [0, 0.1],
    ]
    body = json.loads(record.write(make_records.make(), tmp_path).read_text())
    path = tmp_path / f"{make_records.make().stem}.json"
    path.write_text(sealed(body | {"history": [good]}))
    assert record.read(path).history == (record.Epoch(epoch=0, lr=1e-05, terms={"ce": 4.0}),)
    for epoch in bad:
        path.write_text(sealed(body | {"history": [epoch]}))
        with pytest.raises(LtbenchError, match="not a record"):
            record.read(path)


def test_a_record_of_before_is_written_again_byte_for_byte(tmp_path):
    paths = sorted(path for path in RESULTS.glob("*/*.json") if path.name != "plan.json")
    assert paths, "the committed records"
    for path in paths:
        assert record.write(record.read(path), tmp_path).read_bytes() == path.read_bytes()


def test_no_committed_record_needs_the_slow_way_to_its_hash(monkeypatch):
    monkeypatch.setattr(keys, "digest", lambda value: "the slow way")
    for path in RESULTS.glob("*/*.json"):
        if path.name != "plan.json":
            body = json.loads(path.read_text())
            fixed = {key: value for key, value in body.items() if key not in ("volatile", "sha256")}
            assert keys.has_digest(fixed, body["sha256"]), path


def test_pythons_collector_is_on_again_after_reading(tmp_path):
    record.read_folder(tmp_path)
    assert gc.isenabled()


@pytest.mark.parametrize(
    "changes",
    [
        {"right": [11, 5, 1]},  # of 10
        {"members": [[1, 2]]},  # of three classes
        {"per_image": {"experts_used": {"mean": 1.0, "by_class": [1.0]}}},
        {"calibration": {"count": [30], "right": [15], "confidence": [18.0, 0.0]}},
        {"macs": -1.0},
        {"macs_used": -1.0},
        {"data": make().data.model_dump() | {"counts": [200, 50, -1]}},
        {"data": make().data.model_dump() | {"groups": [20, 100]}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_figures_that_cannot_be_are_refused(tmp_path, changes):
    path = record.write(make(), tmp_path)
    path.write_text(sealed(json.loads(path.read_text()) | changes))
    with pytest.raises(LtbenchError, match="not a record"):
        record.read(path)
