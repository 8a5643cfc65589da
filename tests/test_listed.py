"""ImageNet-LT, iNaturalist 2018 and Places-LT from the field's own lists, and its shifted test sets."""

import hashlib
from collections import Counter

import made_images
import numpy as np
import pytest

from ltbench import scores
from ltbench.data.catalogue import FACTS, folders
from ltbench.data.dataset import open_dataset
from ltbench.data.lists import find, read
from ltbench.data.spec import DataSpec
from ltbench.errors import LtbenchError
from ltbench.scores import group_classes

PUBLISHED = {
    # train images, test images, classes, (many, medium, few), largest and smallest class
    "places_lt": (62_500, 36_500, 365, (131, 163, 71), (4980, 5)),
    "imagenet_lt": (115_846, 50_000, 1000, (385, 479, 136), (1280, 5)),
    "inat18": (437_513, 24_426, 8142, (842, 4076, 3224), (1000, 2)),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory, lists):
    """A data folder with the lists; train lists that are not to be had are made to the published counts."""
    home = tmp_path_factory.mktemp("lists")
    for name in PUBLISHED:
        made_images.write_lists(name, made_images.published(lists, name), home / name)
    return home


@pytest.mark.parametrize("name", PUBLISHED)
def test_images_classes_and_groups_are_those_that_were_published(home, name):
    data = open_dataset(DataSpec(name), home)
    train, test, classes, groups, ends = PUBLISHED[name]
    assert (len(data.train), len(data.test), len(data.classes)) == (train, test, classes)
    assert tuple(map(len, group_classes(data.counts, data.groups).values())) == groups
    assert (max(data.counts), min(data.counts)) == ends
    assert len(set(data.classes)) == classes
    assert (np.diff(data.test.label.numpy()) >= 0).all(), "test images stand in class order"
    lines = zip(data.train.place.paths, data.train.label.tolist(), strict=True)
    text = "".join(f"{path} {label}\n" for path, label in lines)
    assert data.fingerprints["rows"] == hashlib.sha256(text.encode()).hexdigest()


def test_the_official_list_is_its_own_fingerprint(home):
    assert open_dataset(DataSpec("places_lt"), home).fingerprints["rows"] == FACTS["places_lt"].layouts[0].train.sha256


def test_the_first_classes_alone(home):
    data = open_dataset(DataSpec("places_lt", classes=20), home)
    assert len(data.counts) == 20 == len(data.classes) and len(data.test) == 2000
    assert data.counts == open_dataset(DataSpec("places_lt"), home).counts[:20]
    assert data.spec.label == "places_lt(classes=20)"


def test_lists_lie_gzipped_in_a_folder_of_lists_too(lists):
    assert len(open_dataset(DataSpec("places_lt", root="/nowhere"), lists.parent).train) == 62_500


# Shifted test sets


def shifted(name, which, data):
    """One of the field's shifted test lists (SADE): forward50 .. uniform .. backward50."""
    _, places = folders(name, data, None)
    return read(find(FACTS[name].shifted[which].names, places))


@pytest.fixture(scope="module")
def tested(home):
    """name -> file name -> label of the images of its test list."""
    found = {name: open_dataset(DataSpec(name), home).test for name in PUBLISHED}
    return {
        name: dict(zip((path.rpartition("/")[2] for path in test.place.paths), test.label.tolist(), strict=True))
        for name, test in found.items()
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_all_shifted_lists_load_and_hold_images_of_the_test_list(lists, tested, name):
    for which, facts in FACTS[name].shifted.items():
        listing = shifted(name, which, lists.parent)
        assert len(listing) == facts.rows
        images = [path.rpartition("/")[2] for path in listing.paths]  # Places-LT's are of the layout without folders
        assert len(set(images)) == len(images)
        assert [tested[name][image] for image in images] == listing.labels.tolist()


@pytest.mark.parametrize("which", [name for name in scores.TEST_LISTS if name != "uniform"])
def test_the_weights_of_a_shifted_table_are_the_shares_of_the_fields_list(lists, home, which):
    """`table --test-list` weighs a class where the list draws int(50 * weight) images of it; ties fall otherwise."""
    counts = open_dataset(DataSpec("imagenet_lt"), home).counts
    expected = (50 * np.array(scores.class_shift(counts, which)) + 1e-9).astype(int)
    found = np.bincount(shifted("imagenet_lt", which, lists.parent).labels, minlength=1000)
    assert sorted(found) == sorted(expected)
    alike = Counter(counts)
    elsewhere = [c for c in range(1000) if found[c] != expected[c]]
    assert all(alike[counts[c]] > 1 for c in elsewhere), "only among classes with as many training images"
    assert len(elsewhere) < 150 and np.abs(found - expected).max() <= 2


# What is missing


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_missing_list_is_named_with_its_archive_and_place(tmp_path, name):
    layout = FACTS[name].layouts[0]
    with pytest.raises(LtbenchError) as caught:
        open_dataset(DataSpec(name), tmp_path)
    said = str(caught.value)
    assert f"{layout.train.name} and {layout.test.name} are not to be found" in said
    assert str(tmp_path / name) in said and layout.archives[0].name in said and "https://" in said
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / layout.test.name).write_text("a.jpg 0\n")
    with pytest.raises(LtbenchError, match=f"{layout.train.name} is not to be found"):
        open_dataset(DataSpec(name), tmp_path)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("a.jpg 0\nb.jpg 2\n", "c.jpg 0\n", "labels run to 2, but 1 have? no image"),
        ("a.jpg 0\nb.jpg 1\n", "c.jpg 0\nd.jpg 2\n", "test.txt:2: label 2: .* has labels from 0 to 1"),
    ],
)
def test_labels_that_make_no_set_of_classes_are_refused(tmp_path, train, test, message):
    (tmp_path / "ImageNet_LT_train.txt").write_text(train)
    (tmp_path / "ImageNet_LT_test.txt").write_text(test)
    with pytest.raises(LtbenchError, match=message):
        open_dataset(DataSpec("imagenet_lt"), tmp_path)
