"""Packs whose files are whole and say what cannot be: one message, no traceback, and no image is taken from them.

What is torn or swapped is in test_pack.py, CIFAR's files are in test_safe_loading.py, the drawn characters in
test_glyphs.py.
"""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pytest
from test_pack import altered, pool

from ltbench.data import dataset, pack
from ltbench.data.spec import DataSpec
from ltbench.errors import LtbenchError

SPEC = DataSpec("glyphs_lt", imbalance=3, head=9)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    path = tmp_path_factory.mktemp("pack") / "x.pack"
    pack.write(pool(), np.arange(250), path)
    return path.read_bytes()


def array(change):
    """A change of an array's values."""

    def changed(content: bytes) -> bytes:
        out = io.BytesIO()
        np.save(out, change(np.load(io.BytesIO(content))), allow_pickle=False)
        return out.getvalue()

    return changed


def meta(**changes):
    """A change of what meta.json says."""
    return lambda content: json.dumps(json.loads(content) | changes).encode()


def put(index, value):
    """One value of an array is another."""

    def change(values):
        values[index] = value
        return values

    return array(change)


DAMAGES = {
    "a label beyond the classes": ("train_label.npy", put(3, 5)),
    "a label below 0": ("train_label.npy", put(3, -1)),
    "a test label beyond the classes": ("test_label.npy", put(0, 99)),
    "a test label below 0": ("test_label.npy", put(0, -1)),
    "labels of two dimensions": ("train_label.npy", array(lambda values: values[:, None])),
    "labels that are no numbers": ("test_label.npy", array(lambda values: values.astype("U9"))),
    "labels that are no whole numbers": ("train_label.npy", array(lambda values: values + 0.5)),
    "a class without test images": ("test_label.npy", array(lambda values: np.where(values == 4, 3, values))),
    "a class without training images": ("train_label.npy", array(lambda values: np.where(values == 4, 3, values))),
    "fewer test labels than images": ("test_label.npy", array(lambda values: values[:-1])),
    "no test labels": ("test_label.npy", array(lambda values: values[:0])),
    "a row beyond the pool": ("rows.npy", put(-1, 10_000)),
    "a row below 0": ("rows.npy", put(0, -1)),
    "a row twice": ("rows.npy", put(1, 0)),
    "more rows than images": ("rows.npy", array(lambda values: np.arange(350))),
    "no class": ("meta.json", meta(classes=[])),
    "fewer classes than labels": ("meta.json", meta(classes=["a", "b"])),
    "more classes than labels": ("meta.json", meta(classes=list("abcdefgh"))),
    "classes that are a number": ("meta.json", meta(classes=7)),
    "three groups": ("meta.json", meta(groups=[1, 2, 3])),
    "an enormous size": ("meta.json", meta(size=10**7)),
    "a size of 0": ("meta.json", meta(size=0)),
    "a size below 0": ("meta.json", meta(size=-8)),
    "hashes that are not there": ("meta.json", meta(sha256={})),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_pack_that_says_what_cannot_be_is_refused(tmp_path, packed, damage):
    name, change = DAMAGES[damage]
    with pytest.raises(LtbenchError, match=r"x\.pack: not a whole pack: .*make it anew"):
        pack.read(altered(tmp_path, packed, name, change))


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html><title>404</title>", b"PK\x05\x06" + bytes(18), b"\0" * 5000]
)
def test_what_is_no_pack_is_refused_where_a_suite_asks_for_it(tmp_path, content):
    pack.path_of(tmp_path, SPEC.name).write_bytes(content)
    with pytest.raises(LtbenchError, match="not a whole pack"):
        dataset.open_dataset(SPEC, tmp_path)


def test_the_whole_one_is_read(tmp_path, packed):
    (tmp_path / "x.pack").write_bytes(packed)
    assert len(pack.read(tmp_path / "x.pack").train_label) == 450
    shutil.rmtree(tmp_path)
