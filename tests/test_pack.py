"""A pack holds a suite's images to the bit, and no damage to it passes."""

import json
import shutil
import zipfile

import calls
import made_images
import numpy as np
import pytest
import tiny

from ltbench.data import dataset, pack
from ltbench.data.dataset import open_dataset
from ltbench.data.source import Source
from ltbench.data.spec import DataSpec
from ltbench.data.transforms import Look
from ltbench.errors import LtbenchError

SPEC = DataSpec("glyphs_lt", imbalance=3, head=9)


def pool(train=450, test=130, size=8):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (train + test, size, size, 3), dtype=np.uint8)
    image[0] = 0
    label = np.arange(train + test, dtype=np.int64) % 5
    names = ("a", "é", "c", "d", "e")
    return Source(image[:train], label[:train], image[train:], label[train:], names, (100, 20))


def test_what_was_packed_comes_back_to_the_bit(tmp_path):
    source, rows = pool(), np.array([0, 3, 4, 101, 449])
    pack.write(source, rows, tmp_path / "x.pack")
    back = pack.read(tmp_path / "x.pack")
    assert np.array_equal(back.train_image[rows], source.train_image[rows])
    assert np.array_equal(back.test_image, source.test_image)
    assert np.array_equal(back.train_label, source.train_label)
    assert np.array_equal(back.test_label, source.test_label)
    assert (back.classes, back.groups) == (source.classes, source.groups)
    assert np.flatnonzero(~back.absent).tolist() == rows.tolist()


def test_same_images_same_bytes(tmp_path):
    for name in ("one", "two"):
        pack.write(pool(), np.arange(250), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_share_done_rises_to_one(tmp_path):
    told = []
    pack.write(pool(), np.arange(250), tmp_path / "x.pack", lambda completed: told.append(completed))
    assert told == sorted(told) and told[-1] == 1.0 and len(told) == 5


def test_nothing_is_left_where_writing_fails(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pack, "_add_pixels", full)
    with pytest.raises(OSError, match="No space left"):
        pack.write(pool(), np.arange(5), tmp_path / "x.pack")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def glyph_pack(tmp_path_factory, glyph_cache):
    """A data folder with a pack of what SPEC needs."""
    folder, source = tmp_path_factory.mktemp("glyphs"), dataset.source_of("glyphs_lt", glyph_cache)
    pack.write(source, dataset.rows_of([SPEC], source), pack.path_of(folder, "glyphs_lt"))
    return folder


def test_a_dataset_cut_from_a_pack_is_the_same(glyph_pack, glyph_cache):
    whole = open_dataset(SPEC, glyph_cache)
    packed = open_dataset(SPEC, glyph_pack)
    assert packed.fingerprints == whole.fingerprints
    assert packed.counts == whole.counts
    assert packed.train.image.equal(whole.train.image) and packed.test.image.equal(whole.test.image)


def test_a_pack_made_for_less_is_refused_by_name(glyph_pack):
    with pytest.raises(LtbenchError, match=r"images of glyphs_lt\(imbalance=3, head=20\) are not in this pack"):
        open_dataset(DataSpec("glyphs_lt", imbalance=3, head=20), glyph_pack)


def test_runs_from_a_pack_have_the_same_keys(tmp_path, glyph_pack, glyph_cache):
    made = tiny.make(tmp_path, glyph_cache, "ce")
    assert list(tiny.make(tmp_path, glyph_pack, "ce").runs) == list(made.runs)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    path = tmp_path_factory.mktemp("pack") / "x.pack"
    pack.write(pool(), np.arange(250), path)
    return path.read_bytes()


def altered(tmp_path, packed, name, change):
    """The pack with one file of the zip changed; None leaves it out."""
    (tmp_path / "whole").write_bytes(packed)
    path = tmp_path / "x.pack"
    with zipfile.ZipFile(tmp_path / "whole") as before, zipfile.ZipFile(path, "w") as after:
        for each in before.namelist():
            content = before.read(each)
            content = change(content) if each == name else content
            if content is not None:
                after.writestr(each, content)
    return path


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("meta.json", lambda content: None),
        ("meta.json", lambda content: b"[" * 10000),
        ("meta.json", lambda content: b"{}"),
        ("meta.json", lambda content: content.replace(b'"format": 1', b'"format": 2')),
        ("meta.json", lambda content: content.replace(b'"size": 8', b'"size": 9')),
        ("rows.npy", lambda content: None),
        ("rows.npy", lambda content: content[:-4]),
        ("rows.npy", lambda content: b"\x80\x04N."),
        ("train_label.npy", lambda content: content[:60]),
        ("train/00001.webp", lambda content: None),
        ("train/00001.webp", lambda content: content[: len(content) // 2]),
        ("train/00001.webp", lambda content: b"GIF89a" + content),
        ("test/00000.webp", lambda content: b""),
    ],
)
def test_a_damaged_pack_is_refused(tmp_path, packed, name, change):
    with pytest.raises(LtbenchError, match=r"not a whole pack.*make it anew"):
        pack.read(altered(tmp_path, packed, name, change))


def test_swapped_columns_are_noticed(tmp_path, packed):
    (tmp_path / "whole").write_bytes(packed)
    with zipfile.ZipFile(tmp_path / "whole") as archive:
        other = archive.read("train/00000.webp")
    with pytest.raises(LtbenchError, match="train pixels contradict their sha256"):
        pack.read(altered(tmp_path, packed, "train/00001.webp", lambda content: other))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_pack_is_refused(tmp_path, packed, share):
    path = tmp_path / "x.pack"
    path.write_bytes(packed[: int(len(packed) * share)])
    with pytest.raises(LtbenchError, match="not a whole pack"):
        pack.read(path)


def test_a_pickle_in_it_is_not_run(tmp_path, packed):
    import io

    out = io.BytesIO()
    np.save(out, np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(LtbenchError, match="allow_pickle"):
        pack.read(altered(tmp_path, packed, "rows.npy", lambda content: out.getvalue()))


# Sets of files

FOLDER = "data: {name: folder, root: mine}"
SMALL = "backbone: resnet20\nrecipe: {epochs: 1, image_size: 16, batch_size: 8}\nmethods: [ce]\n"


@pytest.fixture
def files(tmp_path):
    """A data folder with a folder of one's own, and a suite of it."""
    made_images.own(tmp_path / "data" / "mine", [6, 3, 2], size=20)
    (tmp_path / "s.yaml").write_text(f"{FOLDER}\n{SMALL}")
    return tmp_path


def pack_files(capsys, folder, *words):
    return calls.ltbench(capsys, "data", "pack", folder / "s.yaml", "--data", folder / "data", "--out", folder, *words)


def test_a_packed_folder_gives_the_same_images_and_fingerprints_without_its_files(files, capsys):
    done = pack_files(capsys, files)
    assert done.code == 0 and "folder-mine.pack: 11 training and 12 test images" in done.out
    spec, look = DataSpec("folder", root="mine"), Look(16, ("crop", "flip"))
    whole, packed = open_dataset(spec, files / "data"), open_dataset(spec, files)
    assert packed.fingerprints == whole.fingerprints and packed.counts == whole.counts == (6, 3, 2)
    assert packed.classes == whole.classes and packed.held_in_memory(look)
    for part in ("train", "test"):
        one, other = getattr(whole.seen(look), part), getattr(packed.seen(look), part)
        assert one.image.equal(other.image) and one.label.equal(other.label) and one.norm == other.norm


def test_what_was_packed_as_json(files, capsys):
    done = pack_files(capsys, files, "--format", "json")
    (item,) = json.loads(done.out)
    assert done.err == ""
    path = files / "folder-mine.pack"
    assert item == {
        "name": "folder-mine", "path": str(path), "train": 11, "test": 12, "bytes": path.stat().st_size,
    }  # fmt: skip


def test_two_folders_of_the_same_name_are_not_packed_into_one(files, capsys):
    made_images.own(files / "data" / "b" / "mine", [5, 3, 2], size=20)
    (files / "s.yaml").write_text(f"data: [{{name: folder, root: mine}}, {{name: folder, root: b/mine}}]\n{SMALL}")
    done = pack_files(capsys, files)
    assert done.code == 2 and "data.root: mine and b/mine would share one pack, folder-mine.pack" in done.err
    assert not list(files.glob("*.pack"))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ("root: ours", "data[1]: data.root: there is no folder"),
        ("root: mine, imbalance: 3, head: 99", "data[1]: class 'class00' has 6 images, 99 are asked for"),
    ],
)
def test_data_that_cannot_be_opened_are_named_with_their_line(files, capsys, other, said):
    (files / "s.yaml").write_text(f"data:\n  - {{name: folder, root: mine}}\n  - {{name: folder, {other}}}\n{SMALL}")
    done = pack_files(capsys, files)
    assert done.code == 2 and done.err.count("\n") == 1 and f"s.yaml:3: {said}" in done.err


def test_the_pack_of_one_folder_is_not_read_for_another_of_its_name(files, capsys):
    pack_files(capsys, files)
    with pytest.raises(LtbenchError, match=r"folder-mine.pack: was made of data.root mine, so it is not b/mine"):
        open_dataset(DataSpec("folder", root="b/mine"), files)


def test_the_folder_itself_may_be_packed(files, capsys):
    (files / "s.yaml").write_text(f"data: {{name: folder, root: .}}\n{SMALL}")
    done = calls.ltbench(capsys, "data", "pack", files / "s.yaml", "--data", files / "data" / "mine", "--out", files)
    assert done.code == 0 and "folder.pack: 11 training" in done.out
    assert open_dataset(DataSpec("folder", root="."), files).counts == (6, 3, 2)


@pytest.mark.parametrize("change", [{}, {"sizes": {"train": [1], "test": [1]}}, {"sizes": 3}])
def test_a_pack_without_the_sizes_of_its_files_is_refused(tmp_path, files, capsys, change):
    def without(content):
        meta = json.loads(content)
        del meta["sizes"]
        return json.dumps(meta | change).encode()

    pack_files(capsys, files)
    path = altered(tmp_path, (files / "folder-mine.pack").read_bytes(), "meta.json", without)
    path.rename(tmp_path / "folder-mine.pack")
    with pytest.raises(LtbenchError, match=r"not a whole pack|has not the sizes of its files"):
        open_dataset.__wrapped__(DataSpec("folder", root="mine"), tmp_path)


def test_a_packed_folder_trains_and_is_verified(files, capsys):
    pack_files(capsys, files)
    made_of_files = calls.ltbench(capsys, "plan", files / "s.yaml", "--data", files / "data", "--format", "json")
    shutil.rmtree(files / "data")
    planned = calls.ltbench(capsys, "plan", files / "s.yaml", "--data", files, "--format", "json")
    assert planned.code == 0 and planned.out == made_of_files.out
    done = calls.ltbench(capsys, "data", "verify", files / "s.yaml", "--data", files)
    assert done.code == 0 and "11 training and 12 test images" in done.out


def test_a_packed_folder_of_which_less_is_needed(files, capsys):
    done = pack_files(capsys, files, "--set", "data.classes=2")
    assert "9 training and 12 test images" in done.out
    assert open_dataset(DataSpec("folder", root="mine", classes=2), files).counts == (6, 3)
    with pytest.raises(LtbenchError, match=r"2 training images of folder\(mine\) are not in this pack"):
        open_dataset(DataSpec("folder", root="mine"), files)


def test_a_pack_of_another_size_or_for_other_augmentation_is_refused_by_name(files, capsys):
    pack_files(capsys, files)
    packed = open_dataset(DataSpec("folder", root="mine"), files)
    for look in (Look(24, ("crop",)), Look(16, ("random_resized_crop",))):
        with pytest.raises(LtbenchError, match=r"folder-mine\.pack: holds whole images of 16x16 pixels"):
            packed.seen(look)


def test_what_needs_its_files_or_is_too_large_is_not_packed(files, capsys, monkeypatch):
    done = pack_files(capsys, files, "--set", "recipe.augment=[random_resized_crop]")
    assert done.code == 2 and "needs the files themselves" in done.err and done.err.count("\n") == 1
    monkeypatch.setattr(dataset, "MEMORY", 23 * 3 * (16**2 + 24**2))
    done = pack_files(capsys, files)
    assert done.code == 2 and "23 images of 16x16 pixels are too many for a pack" in done.err
    assert not list(files.glob("*.pack"))


def test_no_column_of_large_images_is_higher_than_webp_allows(tmp_path, monkeypatch):
    assert [part.stop - part.start for part in pack._columns(300, 224)] == [73] * 5
    monkeypatch.setattr(pack, "HIGHEST", 43)  # five images of 8 pixels
    source = pool(12, 10)
    pack.write(source, np.arange(12), tmp_path / "x.pack")
    with zipfile.ZipFile(tmp_path / "x.pack") as archive:
        assert sum(name.startswith("train/") for name in archive.namelist()) == 3
    assert np.array_equal(pack.read(tmp_path / "x.pack").train_image, source.train_image)


@pytest.mark.parametrize("content", ['["a"]', "3", "[1]", "{}"])
def test_a_pack_that_does_not_name_its_files_one_by_one_is_refused(tmp_path, files, capsys, content):
    pack_files(capsys, files)
    path = altered(tmp_path, (files / "folder-mine.pack").read_bytes(), "test_path.json", lambda _: content.encode())
    with pytest.raises(LtbenchError, match="not a whole pack"):
        pack.read(path)


def test_a_pack_of_no_files_is_none_of_a_folder(tmp_path):
    pack.write(pool(), np.arange(5), tmp_path / "folder-mine.pack")
    with pytest.raises(LtbenchError, match="names no files"):
        open_dataset(DataSpec("folder", root="mine"), tmp_path)
