"""The canonical long-tailed subset, row by row; and CIFAR from torchvision's files."""

from __future__ import annotations

from urllib.error import URLError

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltbench.data import cifar, dataset
from ltbench.data.catalogue import FACTS
from ltbench.data.dataset import open_dataset
from ltbench.data.spec import DataSpec
from ltbench.data.subset import longtail_rows, pixel_fingerprint, row_fingerprint
from ltbench.errors import LtbenchError
from ltbench.scores import group_classes

FEW = settings(deadline=None, max_examples=30)


# Rows. The expected ones were made apart from ltbench, with np.random.seed(0) and np.random.shuffle as in LDAM-DRW.


def test_rows_of_a_small_pool_are_the_published_rule():
    rows = longtail_rows(np.arange(60) % 3, [20, 7, 2])
    assert rows[:10].tolist() == [54, 3, 57, 24, 30, 51, 18, 39, 12, 6]
    assert rows[20:25].tolist() == [34, 4, 55, 52, 7]
    assert row_fingerprint(rows) == "fe6cf8aaf21061ab3f9a4530aef1e477a969922500612d9e6f470e1200351d59"


def test_rows_of_a_pool_of_ten_classes_are_the_published_rule():
    rows = longtail_rows(np.arange(1000) % 10, [100, 60, 36, 22, 13, 8, 5, 3, 2, 1])
    assert row_fingerprint(rows) == "87cf2e1f9bb0a7dcc694c6ad9402ae23c65545aac83b74c8ad26d09cb38ec073"


def test_rows_do_not_hang_on_numpys_global_generator_nor_touch_it():
    np.random.seed(7)
    one, after = longtail_rows(np.arange(60) % 3, [9, 7, 2]), np.random.random()
    np.random.seed(7)
    assert np.random.random() == after
    assert np.array_equal(longtail_rows(np.arange(60) % 3, [9, 7, 2]), one)


@FEW
@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.data())
def test_each_class_gets_its_count_of_different_rows(labels, data):
    labels = np.array(labels)
    counts = [data.draw(st.integers(0, n)) for n in np.bincount(labels, minlength=5).tolist()]
    rows = longtail_rows(labels, counts)
    assert len(set(rows.tolist())) == len(rows)
    assert labels[rows].tolist() == sorted(labels[rows].tolist())
    assert np.bincount(labels[rows], minlength=5).tolist() == counts


def test_a_larger_count_keeps_the_rows_of_a_smaller_one():
    labels = np.arange(60) % 3
    few, many = (longtail_rows(labels, [n, 1, 1])[:n] for n in (5, 20))
    assert np.array_equal(few, many[:5])


def test_a_pool_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="class 1 has 3 images, 4 are asked for"):
        longtail_rows(np.array([0, 0, 1, 1, 1]), [1, 4])


def test_fingerprints_are_of_int32_little_endian_rows_and_of_pixels():
    # sha256 of the bytes 01 00 00 00 02 00 00 00, whatever the integers' type
    expected = "34fb5c825de7ca4aea6e712f19d439c1da0c92c37b423936c5f618545ca4fa1f"
    assert {row_fingerprint(np.array([1, 2], dtype=kind)) for kind in ("<i4", ">i4", "i8", "u2")} == {expected}
    pixels = np.array([1, 0, 0, 0, 2, 0, 0, 0], dtype=np.uint8)
    assert pixel_fingerprint(pixels) == expected
    assert pixel_fingerprint(np.repeat(pixels, 2)[::2]) == expected


# CIFAR


def test_cifar100_lt_is_the_canonical_subset(cifar100):
    data = open_dataset(DataSpec("cifar100_lt"), cifar100)
    assert data.fingerprints == {
        "rows": "92db61d4d8847a2a1140b271ec8575f002729622531a6595aa6f84211fee79e7",
        "train": "85a4cf2fa0d08ccc5f855eb51a96abfeda4a5b8204f8430df31e41c9c8bdaf35",
        "test": "4cb8e5d9309da489bf6b19cc10cd96c3ae6f8daf225380b605aaee4c0d6aee19",
    }
    groups = group_classes(data.counts, data.groups)
    assert {name: len(classes) for name, classes in groups.items()} == {"many": 35, "medium": 35, "few": 30}
    assert (data.counts[0], data.counts[-1], sum(data.counts)) == (500, 5, 10847)
    assert data.train.counts.tolist() == list(data.counts)
    assert len(data.classes) == 100
    assert (data.classes[0], data.classes[-1]) == ("apple", "worm")


def test_cifar100s_test_images_stand_in_class_order(cifar100):
    test = open_dataset(DataSpec("cifar100_lt"), cifar100).test
    assert torch.equal(test.label, torch.arange(100).repeat_interleave(100))
    assert test.image.shape == (10_000, 32, 32, 3)
    assert (test.image.dtype, test.label.dtype) == (torch.uint8, torch.int64)


def test_a_head_larger_than_the_pool_is_refused(cifar100):
    with pytest.raises(LtbenchError, match=r"data\.head: cifar100_lt has 500 images a class, got 501"):
        open_dataset(DataSpec("cifar100_lt", head=501), cifar100)


def test_an_imbalance_that_empties_a_class_is_refused(cifar100):
    with pytest.raises(LtbenchError, match=r"data\.imbalance: imbalance 501 leaves a class"):
        open_dataset(DataSpec("cifar100_lt", imbalance=501), cifar100)


@pytest.mark.parametrize(
    ("classes", "folder", "archive"),
    [
        (10, "cifar-10-batches-py/", "cifar-10-python.tar.gz"),
        (100, "cifar-100-python/", "cifar-100-python.tar.gz"),
    ],
)
@pytest.mark.parametrize("fault", [URLError("no network"), RuntimeError("File not found or corrupted.")])
def test_missing_images_are_a_message_of_where_to_put_what(classes, folder, archive, fault, tmp_path, monkeypatch):
    def fail(*given, **named):
        raise fault

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)
    with pytest.raises(LtbenchError) as caught:
        cifar.load(tmp_path, classes)
    message = str(caught.value)
    assert all(text in message for text in (f"CIFAR-{classes}", str(tmp_path), folder, archive, "--data", str(fault)))


def test_damaged_images_are_refused_and_not_downloaded_over(tmp_path, monkeypatch):
    def fail(*given, **named):
        raise AssertionError("must not download")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)
    (tmp_path / "cifar-100-python").mkdir()
    (tmp_path / "cifar-100-python" / "train").write_bytes(b"half a file")
    with pytest.raises(LtbenchError, match=r"of another md5[\s\S]*--data"):
        cifar.load(tmp_path, 100)
    assert (tmp_path / "cifar-100-python" / "train").read_bytes() == b"half a file"


def test_images_are_normalised_as_in_the_official_codes():
    cifar = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    norms = {name: tuple(norm) for name, (_, norm) in dataset._SETS.items()}
    assert norms == {"cifar10_lt": cifar, "cifar100_lt": cifar, "glyphs_lt": ((0.5,) * 3, (0.25,) * 3)}
    assert {name: (facts.mean, facts.std) for name, facts in FACTS.items()} == {
        "imagenet_lt": imagenet, "places_lt": imagenet, "inat18": ((0.466, 0.471, 0.380), (0.195, 0.194, 0.192)),
    }  # fmt: skip
