"""Images of one's own: three ways to name them, what is wrong with them in one message, cut to a profile."""

import json
import os
import shutil
from collections.abc import Callable
from functools import wraps
from pathlib import Path

import calls
import made_images
import pytest
import tiny
import torch

from ltbench import listing, registry
from ltbench.data.dataset import open_dataset
from ltbench.data.spec import DataSpec
from ltbench.errors import LtbenchError

COUNTS = (9, 5, 2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_images.own(tmp_path_factory.mktemp("own") / "pets", COUNTS, tested=2, size=16)


@pytest.fixture
def home(tmp_path, made):
    """A data folder with a copy of the images, to be damaged."""
    shutil.copytree(made, tmp_path / "pets")
    return tmp_path


def rows(root: Path, part: str) -> list[tuple[str, str]]:
    return [(str(path.relative_to(root)), path.parent.name) for path in sorted(root.glob(f"{part}/*/*.png"))]


def as_lists(root: Path, number: Callable[[str], str] = str) -> None:
    for part in ("train", "test"):
        lines = [f"{path} {number(name)}\n" for path, name in rows(root, part)]
        (root / f"{part}.txt").write_text("".join(reversed(lines)))


def as_csv(root: Path) -> None:
    lines = [f"{name},{part},{path}\n" for part in ("train", "test") for path, name in rows(root, part)]
    (root / "data.csv").write_text("label,split,path\n" + "".join(lines))


def opened(home, **more):
    open_dataset.cache_clear()
    return open_dataset(DataSpec("folder", root="pets", **more), home)


@pytest.mark.parametrize("write", [lambda root: None, as_lists, as_csv], ids=["folders", "lists", "csv"])
def test_three_ways_name_the_same_images(home, write):
    write(home / "pets")
    data = opened(home)
    assert (data.counts, data.classes, data.groups) == (COUNTS, ("class00", "class01", "class02"), (100, 20))
    assert data.spec.label == "folder(pets)"
    assert data.test.label.tolist() == [0, 0, 1, 1, 2, 2], "in class order"
    assert data.train.place.root == home / "pets"
    assert sorted(data.train.place.paths) == [path for path, _ in rows(home / "pets", "train")]
    assert next(data.train.once(4)).image.shape == (4, 3, 224, 224)


def test_labels_that_are_numbers_are_ordered_as_numbers(home):
    as_lists(home / "pets", lambda name: {"class00": "10", "class01": "9", "class02": "2"}[name])
    data = opened(home)
    assert (data.classes, data.counts) == (("2", "9", "10"), (2, 5, 9))


def test_the_place_of_the_root_changes_no_fingerprint_and_a_label_does(home):
    before = opened(home).fingerprints
    (home / "pets").rename(home / "animals")
    assert open_dataset(DataSpec("folder", root=str(home / "animals")), Path("/elsewhere")).fingerprints == before
    (home / "animals" / "train" / "class00" / "000.png").rename(home / "animals" / "train" / "class01" / "x.png")
    after = open_dataset(DataSpec("folder", root="animals"), home).fingerprints
    assert after["train"] != before["train"] and after["test"] == before["test"]


def suite_of(home: Path) -> Path:
    path = tiny.write(home, "ce")
    path.write_text(path.read_text().replace("{name: glyphs_lt, imbalance: 3, head: 9}", "{name: folder, root: pets}"))
    return path


def planned(home: Path, *sets: str) -> tuple[tuple[int, ...], str, str]:
    """(counts, key, block) of the one run."""
    made = tiny.plan.make(tiny.suite.read(str(suite_of(home)), list(sets)), home)
    (run,), (row,) = made.runs.values(), made.rows
    return run.counts, run.key, row.block


def test_no_image_is_opened_to_plan(home):
    for path in home.rglob("*.png"):
        path.write_bytes(b"")
    assert planned(home)[0] == COUNTS


def test_an_image_size_changes_key_and_block_unless_it_is_the_own_one_and_a_root_neither(home):
    plain = planned(home)
    assert planned(home, "recipe.image_size=224") == plain
    other = planned(home, "recipe.image_size=24")
    assert other[1] != plain[1] and other[2] != plain[2]
    (home / "pets").rename(home / "animals")
    assert planned(home, "data.root=animals") == plain


@pytest.mark.parametrize(("backbone", "fits"), [("resnet8", True), ("timm/vit_tiny_patch16_224", False)])
def test_a_second_stage_at_another_image_size_takes_only_weights_that_fit_it(home, backbone, fits):
    """The plan was content, and the run failed after its parent had been trained."""
    path = suite_of(home)
    path.write_text(path.read_text().replace("[ce]", "[ce, {crt: {}, recipe: {image_size: 64}}]"))
    suite = tiny.suite.read(str(path), ["recipe.image_size=32", f"backbone={backbone}"])
    if fits:
        assert [run.size for run in tiny.plan.make(suite, home).runs.values()] == [32, 64]
        return
    said = r"methods\[1\].recipe.image_size: it starts from ce, trained on images of 32 pixels, and at 64 its weights"
    with pytest.raises(LtbenchError, match=said):
        tiny.plan.make(suite, home)


def test_a_parent_that_cannot_be_built_at_its_childs_image_size_is_one_message(home, monkeypatch):
    build = registry.get("ce").__init__

    @wraps(build)
    def fussy(self, problem, **options):
        if problem.image_size != 32:
            raise ValueError("only for images of 32 pixels")
        build(self, problem, **options)

    monkeypatch.setattr(registry.get("ce"), "__init__", fussy)
    path = suite_of(home)
    path.write_text(path.read_text().replace("[ce]", "[ce, {tau_norm: {}, recipe: {image_size: 64}}]"))
    with pytest.raises(LtbenchError, match=r"methods\[1\].*only for images of 32 pixels"):
        tiny.plan.make(tiny.suite.read(str(path), ["recipe.image_size=32"]), home)


def test_fewer_classes_and_a_profile(home):
    assert opened(home, classes=2).counts == (9, 5)
    data = opened(home, imbalance=3.0)
    assert data.counts == (8, 4, 2), "the largest head that the classes' images allow"
    assert data.spec.label == "folder(pets, imbalance=3)"
    assert opened(home, imbalance=2.0, head=4).counts == (4, 2, 2)
    with pytest.raises(LtbenchError, match="class 'class01' has 5 images, 6 are asked for"):
        opened(home, imbalance=2.0, head=9)
    with pytest.raises(LtbenchError, match=r"data.imbalance: the largest class of .* has 9 images, got 10"):
        opened(home, imbalance=10.0)
    with pytest.raises(LtbenchError, match=r"data.classes: folder\(pets, classes=4\) has 3, got 4"):
        opened(home, classes=4)


def test_other_images_of_the_same_names_are_another_set(home, made):
    shutil.copytree(made, home / "b" / "pets")
    picture = home / "b" / "pets" / "train" / "class00" / "000.png"
    made_images.picture(2, 3, 77, 21).save(picture)
    assert picture.stat().st_size != (home / "pets" / "train" / "class00" / "000.png").stat().st_size
    one, other = opened(home).fingerprints, open_dataset(DataSpec("folder", root="b/pets"), home).fingerprints
    assert one["train"] != other["train"] and (one["rows"], one["test"]) == (other["rows"], other["test"])
    assert planned(home)[1] != planned(home, "data.root=b/pets")[1]
    picture.unlink()
    missing = opened(home / "b").fingerprints
    assert missing["train"] not in (one["train"], other["train"])


def test_two_folders_of_the_same_name_are_named(home, made):
    shutil.copytree(made, home / "b" / "pets")
    path = suite_of(home)
    path.write_text(
        path.read_text()
        .replace("root: pets}", "root: pets}\n  - {name: folder, root: b/pets}")
        .replace("data: ", "data:\n  - ")
    )
    with pytest.raises(
        LtbenchError, match=r"tiny.yaml:3: data\[1\]: folder\(pets\) goes by the same name as data\[0\]: no"
    ):
        tiny.plan.make(tiny.suite.read(str(path), []), home)


def test_the_name_of_a_root_without_one_is_the_sets():
    for root in (".", "..", "a/..", None):
        spec = DataSpec("folder", root=root)
        assert (spec.label, spec.set_name) == ("folder", "folder")
    assert DataSpec("folder", root="../pets").set_name == "folder-pets"


def test_a_head_below_the_imbalance_is_one_message(home):
    with pytest.raises(
        LtbenchError, match=r"data.head: with an imbalance of 8 at least 8, so that the smallest .*, got 5"
    ):
        opened(home, imbalance=8.0, head=5)


@pytest.mark.parametrize("line", ["{path}\t{name}\n", "{path} \t {name}\n"])
def test_names_of_classes_with_spaces_stand_behind_a_tab(home, line):
    for part in ("train", "test"):
        named = [(path, name.replace("class", "polar bear ")) for path, name in rows(home / "pets", part)]
        (home / "pets" / f"{part}.txt").write_text("".join(line.format(path=path, name=name) for path, name in named))
    data = opened(home)
    assert data.classes == ("polar bear 00", "polar bear 01", "polar bear 02") and data.counts == COUNTS
    assert sorted(data.train.place.paths) == [path for path, _ in rows(home / "pets", "train")]


def test_a_line_end_in_a_quoted_field_of_the_csv_is_kept(home):
    as_csv(home / "pets")
    (home / "pets" / "train" / "class00" / "000.png").rename(home / "pets" / "train" / "class00" / "0\n0.png")
    path = home / "pets" / "data.csv"
    path.write_text(path.read_text().replace("train/class00/000.png", '"train/class00/0\n0.png"'))
    assert "train/class00/0\n0.png" in opened(home).train.place.paths
    path.write_text(path.read_text() + "class00,val,x.png\n")
    with pytest.raises(LtbenchError, match=f"data.csv:{1 + len(COUNTS) * 2 + sum(COUNTS) + 2}: split 'val'"):
        opened(home)


def test_links_to_folders_are_followed_and_none_in_a_circle(home):
    root = home / "pets"
    (root / "train" / "class00").rename(home / "elsewhere")
    (root / "train" / "class00").mkdir()
    (root / "train" / "class00" / "more").symlink_to(home / "elsewhere")
    (home / "elsewhere" / "back").symlink_to(root / "train" / "class00")
    (root / "train" / "class01" / "all").symlink_to(root)
    data = opened(home)
    assert data.counts == COUNTS
    assert "train/class00/more/000.png" in data.train.place.paths


def test_what_is_left_out_is_told(home, capsys):
    train = home / "pets" / "train"
    hidden = train / "class00" / ".ipynb_checkpoints"
    hidden.mkdir()
    shutil.copy(train / "class00" / "000.png", hidden / "000-checkpoint.png")
    shutil.copy(train / "class00" / "000.png", train / "stray.png")
    (train / "class01" / "photo.heic").write_bytes(b"")
    words = (suite_of(home), "--data", home)
    shown = calls.ltbench(capsys, "data", "show", *words)
    assert "left out: 2 files of another ending or in no class's folder" in shown.out and opened(home).counts == COUNTS
    assert json.loads(calls.ltbench(capsys, "data", "show", *words, "--format", "json").out)[0]["left_out"] == 2
    verified = calls.ltbench(capsys, "data", "verify", *words)
    assert verified.code == 0 and "remark: left out: end in none of .jpg" in verified.out
    assert "train/class01/photo.heic\n" in verified.out and "train/stray.png\n" in verified.out
    as_lists(home / "pets")
    assert "left out" not in calls.ltbench(capsys, "data", "verify", *words).out


def test_a_folder_that_cannot_be_read_is_named(home, monkeypatch):
    (home / "pets" / "train" / "class00" / "more").mkdir()
    scandir = os.scandir

    def closed(folder):
        if str(folder).endswith("more"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(LtbenchError, match="train/class00/more: Permission denied"):
        opened(home)


def test_the_home_of_an_unknown_user_is_one_message(home, capsys):
    path = suite_of(home)
    root = calls.ltbench(capsys, "data", "show", path, "--data", home, "--set", "data.root=~nosuchuser/imgs")
    assert root.code == 2 and "data.root: ~nosuchuser/imgs: no home folder of ~nosuchuser is known" in root.err
    data = calls.ltbench(capsys, "data", "show", path, "--data", "~nosuchuser")
    assert data.code == 2 and "--data: ~nosuchuser: no home folder of ~nosuchuser is known" in data.err


def test_the_first_classes_of_a_set_in_memory(glyph_cache):
    data = open_dataset(DataSpec("glyphs_lt", 3.0, head=9, classes=5), glyph_cache)
    assert data.counts == (9, 6, 5, 3, 3) and data.spec.label == "glyphs_lt(imbalance=3, head=9, classes=5)"
    assert len(data.classes) == 5 and set(data.test.label.tolist()) == set(range(5))
    whole = open_dataset(DataSpec("glyphs_lt", 3.0, head=9), glyph_cache)
    assert data.fingerprints["test"] != whole.fingerprints["test"]


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (
        lambda r: r.rename(r.parent / "x"),
        "data.root: there is no folder .*pets; it must hold .* with --data DIR or .LTBENCH_DATA",
    ),
    "nothing there": (lambda r: [shutil.rmtree(r / p) for p in ("train", "test")], "no images are named here; it must"),
    "no test part": (lambda r: shutil.rmtree(r / "test"), "pets/test: missing, so there is no test part"),
    "no test list": (lambda r: (r / "train.txt").write_text("a.jpg 0\n"), "pets/test.txt: missing, so there is no"),
    "class only in test": (
        lambda r: shutil.copytree(r / "test" / "class00", r / "test" / "dog"),
        "pets/test: class 'dog' is in test, but not in train",
    ),
    "class without test": (lambda r: shutil.rmtree(r / "test" / "class01"), "no test image of class 'class01'"),
    "empty class": (lambda r: (r / "train" / "cat").mkdir(), "train/cat: a class without images"),
    "one class": (
        lambda r: [shutil.rmtree(p) for p in r.glob("*/class0[12]")],
        "one class alone, 'class00'; a problem has at least two",
    ),
    "list row": (
        lambda r: (as_lists(r), (r / "train.txt").write_text("a.jpg\n")),
        "train.txt:1: 'a.jpg': a row is",
    ),
    "missing file": (
        lambda r: (as_lists(r), (r / "train" / "class00" / "000.png").unlink()),
        r"class00/000.png: there is no such file \(1 of 1\d images are missing; `ltbench data verify SUITE` says which",
    ),
    "test image in train": (
        lambda r: (
            as_lists(r),
            (r / "test.txt").write_text((r / "train.txt").read_text().replace("train/", "./train/")),
        ),
        r"test.txt: '.*' and \d+ more is in train too: a test image may not be trained on",
    ),
    "one image of two classes": (
        lambda r: (
            as_lists(r),
            (r / "train.txt").write_text((r / "train.txt").read_text().replace("class01/", "class00/")),
        ),
        r"train.txt: '.*' is of class 'class0.' and of 'class0.'; an image has one class$",
    ),
    "path leaves": (
        lambda r: (as_lists(r), (r / "test.txt").write_text("../a.jpg 0\n")),
        "test.txt:1: path '../a.jpg': must lie below",
    ),
    "csv column": (
        lambda r: (r / "data.csv").write_text("path,label\n"),
        "data.csv:1: no column split: the columns must be path,label,split, got 'path,label'$",
    ),
    "csv in other letters": (
        lambda r: (r / "data.csv").write_text("Path;Label;Split\n"),
        "no column path, label, split: the columns must be path,label,split, got 'Path;Label;Split'$",
    ),
    "path from the root of all": (
        lambda r: (as_lists(r), (r / "test.txt").write_text(f"{r}/test/class00/000.png 0\n")),
        "test.txt:1: path '/.*/test/class00/000.png': must be relative to ",
    ),
    "csv split": (
        lambda r: (r / "data.csv").write_text("path,label,split\na.png,x,val\n"),
        "data.csv:2: split 'val': must be train or test",
    ),
    "csv and lists": (lambda r: (as_lists(r), as_csv(r)), "holds data.csv and train.txt or test.txt; which of them"),
    "quote not closed": (
        lambda r: (r / "data.csv").write_text(
            'path,label,split\na.png,x,train\n"b.png,x,train\n' + "c.png,x,test\n" * 3
        ),
        "data.csv:3: unexpected end of data: is a quote not closed",
    ),
    "quote not closed, much behind it": (
        lambda r: (r / "data.csv").write_text('path,label,split\n"a.png,x,train\n' + "c.png,x,test\n" * 20_000),
        "data.csv:2: field larger than field limit .*: is a quote not closed",
    ),
    "not utf-8": (lambda r: (r / "data.csv").write_bytes(b"path,label,split\n\xff"), "data.csv: not UTF-8"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_one_message(home, name):
    damage, message = WRONG[name]
    damage(home / "pets")
    with pytest.raises(LtbenchError, match=message):
        opened(home)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("{name: imagenet_lt, imbalance: 100}", "data.imbalance: imagenet_lt is long-tailed as it is: leave imbalance"),
        ("{name: folder, draws: 3}", "data.draws: a folder has no draws"),
        ("{name: folder, head: 3}", "data.head: give imbalance beside head"),
        ("{name: cifar100_lt, root: x}", "data.root: cifar100_lt has no root: give the data folder with --data"),
        ("{name: imagnet_lt}", "did you mean 'imagenet_lt'?"),
        ("{name: folder, classes: 1}", "data.classes: must be greater than or equal to 2, got 1"),
    ],
)
def test_keys_that_do_not_go_with_a_name_are_refused(tmp_path, capsys, data, said):
    path = tiny.write(tmp_path, "ce")
    path.write_text(path.read_text().replace("{name: glyphs_lt, imbalance: 3, head: 9}", data))
    done = calls.ltbench(capsys, "plan", path, "--data", tmp_path)
    assert done.code == 2 and said in done.err and "tiny.yaml:1: " in done.err


def test_data_show_says_how_the_images_are_read(home, capsys):
    path = suite_of(home)
    words = ("data", "show", path, "--data", home, "--set", "recipe.image_size=24")
    assert f"images of 24x24 pixels, read once, into memory, from {home}/pets" in calls.ltbench(capsys, *words).out
    files = (*words, "--set", "recipe.augment=[random_resized_crop]")
    assert f"images of 24x24 pixels, read each time, from {home}/pets" in calls.ltbench(capsys, *files).out
    both = calls.ltbench(capsys, *words, "--set", "recipe.augment=[random_resized_crop, crop]")
    assert both.code == 2 and "recipe.augment: either crop or random_resized_crop" in both.err
    assert "tiny.yaml:4 with --set " in both.err


def test_data_show_names_the_classes_by_their_numbers(home, capsys):
    words = ("data", "show", suite_of(home), "--data", home)
    names, counts = opened(home).classes, opened(home).counts
    said = ", ".join(f"{i} {name} ({count})" for i, (name, count) in enumerate(zip(names, counts, strict=True)))
    assert f"  classes: {said}\n" in calls.ltbench(capsys, *words).out
    assert json.loads(calls.ltbench(capsys, *words, "--format", "json").out)[0]["names"] == list(names)
    many = listing.class_line([f"c{i}" for i in range(100)], range(100, 0, -1))
    assert many.startswith("0 c0 (100), 1 c1 (99), ") and ", 4 c4 (96), ..., 95 c95 (5), " in many


def test_of_fewer_classes_the_test_images_are_those_classes_alone(home):
    assert opened(home, classes=2).test.label.tolist() == [0, 0, 1, 1]


def test_of_fewer_classes_of_a_pool_too(glyph_cache):
    data = open_dataset(DataSpec("glyphs_lt", 3.0, head=9, classes=20), glyph_cache)
    whole = open_dataset(DataSpec("glyphs_lt", 3.0, head=9), glyph_cache)
    assert data.test.label.unique().tolist() == list(range(20)) and data.test.classes == 20
    assert torch.equal(data.test.image, whole.test.image[: len(data.test)])
    assert data.fingerprints["test"] != whole.fingerprints["test"]
