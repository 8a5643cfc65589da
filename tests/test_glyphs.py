"""The embedded data set: what it draws, and what its cache survives."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFont

from ltbench.data import glyphs
from ltbench.data.source import Source

LOOK_ALIKES = ("O0o", "l1I", "s5S", "2Zz", "B8", "cGC", "pP", "Uu", "Xx", "wW")
ABSENT = "\U0010fffe"  # a code point that no face holds


@pytest.fixture(scope="session")
def pool() -> Source:
    """The whole pool, drawn once for all tests."""
    return glyphs.draw_pool()


def small(pool: Source) -> Source:
    """The first images of a pool: a cheap stand-in where only the cache matters."""
    return Source(
        pool.train_image[:20],
        pool.train_label[:20],
        pool.test_image[:10],
        pool.test_label[:10],
        pool.classes,
        pool.groups,
    )


def same(one: Source, other: Source) -> bool:
    """Whether two pools hold the same images, labels, names and groups, in the same types."""
    names = ("train_image", "train_label", "test_image", "test_label")
    pairs = [(getattr(one, name), getattr(other, name)) for name in names]
    alike = all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)
    return alike and one.classes == other.classes and one.groups == other.groups


@pytest.fixture
def drawings(pool: Source, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replaces the drawing of the pool by a small one; the list grows by one with every drawing."""
    made: list[int] = []

    def draw_small() -> Source:
        made.append(1)
        return small(pool)

    monkeypatch.setattr(glyphs, "draw_pool", draw_small)
    return made


def cached(folder: Path) -> list[Path]:
    """Every file under the data set's folder."""
    return sorted((folder / glyphs.NAME).iterdir())


def test_shapes_and_counts(pool: Source) -> None:
    count = len(glyphs.CLASSES)
    assert count == len(set(glyphs.CLASSES)) == len(set(glyphs.CHARS)) == 62
    assert pool.classes == glyphs.CLASSES and pool.groups == glyphs.GROUPS
    for image, label, each in (
        (pool.train_image, pool.train_label, glyphs.HEAD),
        (pool.test_image, pool.test_label, glyphs.TEST),
    ):
        assert image.shape == (count * each, 32, 32, 3) and image.dtype == np.uint8
        assert label.dtype == np.int64 and np.array_equal(np.bincount(label), np.full(count, each))


def test_class_names_and_order() -> None:
    assert glyphs.CLASSES[:3] == ("upper O", "lower l", "lower s")
    assert glyphs.CLASSES[glyphs.CHARS.index("0")] == "digit 0"
    sections = (glyphs.HEAD_CHARS, glyphs.MIDDLE_CHARS, glyphs.TAIL_CHARS)
    assert tuple(map(len, sections)) == (17, 26, 19)
    for group in ("O0o", "l1I", "s5S", "2Zz", "B38", "cGC", "VYv"):
        assert all(char in section for char, section in zip(group, sections, strict=True))


def test_sections_match_the_groups() -> None:
    counts = [int(glyphs.HEAD * (1 / 50) ** (c / 61) + 1e-9) for c in range(62)]
    assert sum(n > glyphs.GROUPS[0] for n in counts) == len(glyphs.HEAD_CHARS)
    assert sum(n < glyphs.GROUPS[1] for n in counts) == len(glyphs.TAIL_CHARS)


def test_two_drawings_are_equal(pool: Source) -> None:
    image, label = glyphs._drawn("test", glyphs.TEST)
    assert np.array_equal(image, pool.test_image) and np.array_equal(label, pool.test_label)


def test_one_image_alone_equals_its_place_in_the_pool(pool: Source) -> None:
    for label, index in ((61, 149), (0, 0), (30, 77)):
        assert np.array_equal(glyphs.draw("train", label, index), pool.train_image[label * glyphs.HEAD + index])
    assert np.array_equal(glyphs.draw("test", 12, 3), pool.test_image[12 * glyphs.TEST + 3])


def test_unknown_split() -> None:
    with pytest.raises(ValueError):
        glyphs.draw("validation", 0, 0)


def test_no_two_images_are_identical(pool: Source) -> None:
    both = np.concatenate([pool.train_image, pool.test_image])
    assert len({image.tobytes() for image in both}) == len(both)


def test_images_have_contrast(pool: Source) -> None:
    spread = pool.train_image.astype(np.float32).mean(axis=3).std(axis=(1, 2))
    assert np.quantile(spread, 0.01) > 8


def outline(face: ImageFont.FreeTypeFont, char: str) -> tuple[tuple[int, int], bytes]:
    """The size and the pixels of a character."""
    mask = face.getmask(char)
    return mask.size, bytes(mask)


@pytest.mark.parametrize("name", glyphs.FACES)
def test_every_face_draws_every_character(name: str) -> None:
    face = glyphs.font(name)
    missing = outline(face, ABSENT)
    drawn = [outline(face, char) for char in glyphs.CHARS]
    assert missing not in drawn
    assert all(any(pixels) for _, pixels in drawn)
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("name", glyphs.FACES)
def test_every_character_fits_its_canvas(name: str) -> None:
    for char in glyphs.CHARS:
        left, top, right, bottom = glyphs._stamp(name, char).getbbox() or (0, 0, 64, 64)
        assert min(left, top) > 0 and max(right, bottom) < 64, char


def mean_glyph(char: str) -> np.ndarray:
    """The mean [64, 64] of a character over all faces, from 0 to 1, at the height of its ink and in its middle."""
    total = np.zeros((64, 64))
    for name in glyphs.FACES:
        image = glyphs._stamp(name, char)
        box = image.getbbox()
        assert box is not None
        total += np.asarray(image.crop(box).resize((64, 64)), dtype=np.float64) / 255
    return total / len(glyphs.FACES)


def test_look_alikes_are_close_and_yet_not_identical() -> None:
    mean = {char: mean_glyph(char) for char in glyphs.CHARS}
    chars = glyphs.CHARS
    typical = np.median([np.abs(mean[a] - mean[b]).mean() for a in chars for b in chars if a != b])
    for group in LOOK_ALIKES:
        for other in group[1:]:
            far = np.abs(mean[group[0]] - mean[other]).mean()
            assert 0.005 < far < typical, (group[0], other)


def test_cache_round_trip(tmp_path: Path, pool: Source, drawings: list[int]) -> None:
    first, second = glyphs.load(tmp_path), glyphs.load(tmp_path)
    assert same(first, small(pool)) and same(second, first)
    assert len(drawings) == 1 and len(cached(tmp_path)) == 1


def test_loads_at_once_do_not_clash(tmp_path: Path, pool: Source, drawings: list[int]) -> None:
    with ThreadPoolExecutor(4) as workers:
        loaded = list(workers.map(glyphs.load, [tmp_path] * 8))
    assert all(same(one, small(pool)) for one in loaded) and len(cached(tmp_path)) == 1


def test_whole_pool_round_trip(tmp_path: Path, pool: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glyphs, "draw_pool", lambda: pool)
    glyphs.load(tmp_path)
    monkeypatch.setattr(glyphs, "draw_pool", lambda: pytest.fail("drawn again"))
    assert same(glyphs.load(tmp_path), pool)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_damaged_cache_is_redrawn(tmp_path: Path, drawings: list[int], damage: str) -> None:
    first = glyphs.load(tmp_path)
    (path,) = cached(tmp_path)
    good = path.read_bytes()
    flipped = good[:5000] + bytes([good[5000] ^ 1]) + good[5001:]
    path.write_bytes({"cut": good[: len(good) // 2], "flip": flipped, "empty": b""}[damage])
    assert same(glyphs.load(tmp_path), first) and len(drawings) == 2
    assert same(glyphs.load(tmp_path), first) and len(drawings) == 2
    assert cached(tmp_path) == [path] and path.read_bytes() == good


def test_a_folder_in_the_way_of_the_cache(tmp_path: Path, pool: Source, drawings: list[int]) -> None:
    glyphs.load(tmp_path)
    (path,) = cached(tmp_path)
    path.unlink()
    path.mkdir()
    assert same(glyphs.load(tmp_path), small(pool)) and cached(tmp_path) == [path]


def test_other_library_versions_use_another_cache(
    tmp_path: Path, drawings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    glyphs.load(tmp_path)
    monkeypatch.setattr("PIL.__version__", "0.0")
    glyphs.load(tmp_path)
    assert len(drawings) == 2 and len(cached(tmp_path)) == 2


def test_unwritable_folder_still_works(tmp_path: Path, pool: Source, drawings: list[int]) -> None:
    blocked = tmp_path / "file"  # a file where a folder should be: also stops the root user, whom modes do not
    blocked.write_text("")
    assert same(glyphs.load(blocked), small(pool))


def test_full_disk_leaves_nothing_behind(
    tmp_path: Path, pool: Source, drawings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", refuse)
    assert same(glyphs.load(tmp_path), small(pool)) and cached(tmp_path) == []


def test_other_users_may_read_the_cache(tmp_path: Path, drawings: list[int]) -> None:
    before = os.umask(0o022)
    try:
        glyphs.load(tmp_path)
    finally:
        os.umask(before)
    (path,) = cached(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o644
