"""Lists of "path label" lines: what is read, and what is refused with file and line."""

from __future__ import annotations

import gzip
import hashlib
import time

import numpy as np
import pytest

from ltbench.data import lists
from ltbench.errors import LtbenchError

TEXT = "train/a b/1.jpg 3\ntrain/ä/2.jpg 0\n"


def written(folder, content: str | bytes, name="x.txt"):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_rows_are_read_in_order_with_their_hash(tmp_path):
    listing = lists.read(written(tmp_path, TEXT))
    assert listing.paths == ("train/a b/1.jpg", "train/ä/2.jpg")
    assert listing.labels.tolist() == [3, 0] and listing.labels.dtype == np.int64
    assert listing.sha256 == listing.plain_sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert listing.notes == () and len(listing) == 2


def test_a_gzipped_list_is_the_list_inside(tmp_path):
    inside, plain = lists.read(written(tmp_path, gzip.compress(TEXT.encode()), "x.txt.gz")), TEXT.encode()
    assert (inside.paths, inside.sha256) == (("train/a b/1.jpg", "train/ä/2.jpg"), hashlib.sha256(plain).hexdigest())


@pytest.mark.parametrize(
    ("content", "notes"),
    [
        (b"\xef\xbb\xbf" + TEXT.encode(), (lists.BOM,)),
        (TEXT.replace("\n", "\r\n").encode(), (lists.CRLF,)),
        (b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode(), (lists.BOM, lists.CRLF)),
    ],
)
def test_a_byte_order_mark_and_crlf_are_noted_and_read(tmp_path, content, notes):
    listing = lists.read(written(tmp_path, content))
    assert listing.notes == notes
    assert listing.paths == ("train/a b/1.jpg", "train/ä/2.jpg") and listing.labels.tolist() == [3, 0]
    assert listing.sha256 == hashlib.sha256(content).hexdigest()
    assert listing.plain_sha256 == hashlib.sha256(TEXT.encode()).hexdigest()


@pytest.mark.parametrize("content", ["a.jpg\t0\n", "a.jpg  0  \n", "a.jpg 0", "a.jpg 0\n\n\n"])
def test_blanks_may_vary(tmp_path, content):
    listing = lists.read(written(tmp_path, content))
    assert listing.paths == ("a.jpg",) and listing.labels.tolist() == [0]


FAULTS = {
    "no label": ("a.jpg 0\nb.jpg\n", r":2: 'b\.jpg': no label"),
    "a label alone": ("a.jpg 0\n 1\n", r":2: .* no label"),
    "an empty line": ("a.jpg 0\n\nb.jpg 1\n", ":2: an empty line"),
    "a label below 0": ("a.jpg -1\n", ":1: label '-1': must be a whole number from 0"),
    "a label that is a word": ("a.jpg 0\nb.jpg cat\n", ":2: label 'cat'"),
    "a label with a point": ("a.jpg 0.0\n", ":1: label '0.0'"),
    "a label with a sign": ("a.jpg +1\n", r":1: label '\+1'"),
    "a label of other digits": ("a.jpg ٣\n", ":1: label '٣'"),
    "a label of superscripts": ("a.jpg ²\n", ":1: label '²'"),
    "a label of gigabytes": (
        "a.jpg 0\nb.jpg 1000000\n",
        ":2: label '1000000': must be a whole number from 0 to 999999",
    ),
    "an enormous label": ("a.jpg 99999999999999999999\n", ":1: label '9+'"),
    "an absolute path": ("a.jpg 0\n/etc/passwd 1\n", ":2: path '/etc/passwd': must lie below the root"),
    "a path on a drive": ("C:/a.jpg 1\n", ":1: path 'C:/a.jpg': must lie below the root"),
    "a path that leaves the root": ("a/../../b.jpg 1\n", r":1: path .* must lie below the root"),
    "a path that is the folder above": (".. 1\n", r":1: path '\.\.': must lie below the root"),
    "a backslash": ("a\\b.jpg 1\n", ":1: path .* holds a backslash"),
    "a NUL": ("a\0.jpg 1\n", ":1: path .* control character"),
    "a bell": ("a.jpg 0\nb\a.jpg 1\n", ":2: path .* control character"),
    "old Mac line ends": ("a.jpg 0\rb.jpg 1\n", ":1: path .* control character"),
    "no UTF-8": (b"a.jpg 0\nb\xff.jpg 1\n", ":2: not UTF-8"),
    "nothing": ("", ": empty"),
    "blank lines alone": (" \n\n", ": empty"),
    "a byte order mark alone": (b"\xef\xbb\xbf", ": empty"),
    "half a gzip file": (gzip.compress(TEXT.encode())[:-9], ": not a whole gzip file"),
    "a damaged gzip file": (gzip.compress(TEXT.encode())[:12] + b"\xff" * 30, ": not a whole gzip file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_list_is_refused_with_file_and_line(tmp_path, fault):
    content, said = FAULTS[fault]
    with pytest.raises(LtbenchError, match=f"x.txt{said}"):
        lists.read(written(tmp_path, content))


def test_further_bad_rows_are_counted(tmp_path):
    with pytest.raises(LtbenchError, match=r":1: .* \(and 2 more such lines\)"):
        lists.read(written(tmp_path, "a -1\nb 0\nc x\nd\n"))


def test_dots_and_colons_within_a_path_are_no_fault(tmp_path):
    names = ("a..b/c.jpg", "ab:c.jpg", "...", "1:2/x", "a/b..")
    assert lists.read(written(tmp_path, "".join(f"{name} 0\n" for name in names))).paths == names


def test_a_list_that_is_not_there_or_a_folder_is_one_message(tmp_path):
    with pytest.raises(LtbenchError, match="No such file"):
        lists.read(tmp_path / "none.txt")
    with pytest.raises(LtbenchError, match="Is a directory"):
        lists.read(tmp_path)


def test_the_first_name_in_the_first_folder_is_found(tmp_path):
    (tmp_path / "b").mkdir()
    last, folders = written(tmp_path / "b", TEXT, "v.txt"), (tmp_path / "absent", tmp_path, tmp_path / "b")
    assert lists.find(("x.txt", "v.txt"), folders) == last
    gzipped = written(tmp_path, gzip.compress(TEXT.encode()), "x.txt.gz")
    assert lists.find(("x.txt", "v.txt"), folders) == gzipped
    assert lists.find(("y.txt",), folders) is None


@pytest.mark.slow
def test_the_largest_list_is_read_in_about_a_second(tmp_path):
    """As many rows as iNaturalist 2018 has; the limit leaves room for a machine that is busy."""
    row = "train_val2018/Plantae/{}/9f8ecb39e5f767e39e9b28e34488f{:06}.jpg {}\n"
    path = written(tmp_path, "".join(row.format(i % 8142, i, i % 8142) for i in range(437_513)))
    begun = time.process_time()
    assert len(lists.read(path)) == 437_513
    assert time.process_time() - begun < 4
