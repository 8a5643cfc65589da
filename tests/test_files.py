"""Images in files: the same face as images in memory, and the same batches whatever the number of workers."""

import multiprocessing
import os
import signal
import subprocess

import made_images
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from ltbench import Recipe
from ltbench.data import dataset, transforms
from ltbench.data.dataset import open_dataset
from ltbench.data.decode import Bad, _open
from ltbench.data.files import SMALL, Files, open_picture, suitable_workers
from ltbench.data.memory import Images
from ltbench.data.spec import DataSpec
from ltbench.data.streams import Share
from ltbench.data.transforms import Look, look_of
from ltbench.errors import LtbenchError
from ltbench.method import Clock, Stream, by_image, by_rarity

COUNTS = (9, 5, 2)
WORDS = ("random_resized_crop", "flip", "color_jitter", "randaugment")
RECIPE = Recipe(epochs=2, batch_size=5, augment=WORDS, image_size=16)
LOOK = Look(16, WORDS)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("files")
    made_images.own(home / "folder", COUNTS)
    return home


def opened(home, look=LOOK, workers=0) -> Files:
    train = open_dataset(DataSpec("folder"), home).train
    assert isinstance(train, Files)
    return train.seen(look).to(torch.device("cpu"), workers)


def epoch(data, stream=by_image, k=0, recipe=RECIPE, share=Share()):
    return data.epoch(stream, Clock(k, 2, 0, 8), 3, 0, recipe, share)


def batches(data, first=0, **more):
    drawn = epoch(data, **more)
    return [drawn.batch(k) for k in range(first, len(drawn.parts))]


def same(one, other) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.image, b.image) and torch.equal(a.label, b.label) for a, b in zip(one, other, strict=True)
    )


def test_the_number_of_workers_and_the_first_batch_asked_for_change_nothing(home):
    before = torch.get_rng_state()
    alone = batches(opened(home), stream=Stream(by_rarity.class_odds, views=2))
    assert alone[0].image.shape == (2, 5, 3, 16, 16) and [len(b.label) for b in alone] == [5, 5, 5, 1]
    assert torch.equal(torch.get_rng_state(), before), "the process's own generator is as it was"
    with_two = batches(opened(home, workers=2), stream=Stream(by_rarity.class_odds, views=2))
    assert same(alone, with_two)
    assert torch.equal(torch.get_rng_state(), before)
    resumed = batches(opened(home, workers=2), first=2, stream=Stream(by_rarity.class_odds, views=2))
    assert same(resumed, alone[2:])


def test_a_draw_may_be_asked_for_again_and_out_of_order(home):
    drawn = epoch(opened(home))
    found = [drawn.batch(k) for k in (2, 0, 0, 1)]
    assert same(found, [batches(opened(home))[k] for k in (2, 0, 0, 1)])


def test_each_view_of_each_draw_is_augmented_in_its_own_way(home):
    data = opened(home)
    drawn = batches(data, stream=Stream(lambda counts, t: torch.tensor([0.0, 0.0, 1.0]), views=2))
    views = [view for batch in drawn for copy in batch.image for view in copy]
    assert len(views) == 32 and len({view.numpy().tobytes() for view in views}) == 32, "two images, 32 ways"
    again = batches(data, k=1)
    assert not same(again, batches(data))


def test_every_image_once_an_epoch(home):
    data = opened(home, Look(16, ()))
    epoch_of = torch.cat([batch.image for batch in batches(data, recipe=RECIPE.with_(augment=()))])
    once = torch.cat([batch.image for batch in data.once(7)])
    assert sorted(i.numpy().tobytes() for i in epoch_of) == sorted(i.numpy().tobytes() for i in once)


def test_the_shares_of_two_processes_are_the_batch_of_one(home):
    data, recipe = opened(home), RECIPE.with_(batch_size=4)
    alone = batches(data, recipe=recipe)
    parts = [batches(data, recipe=recipe, share=Share(rank, 2)) for rank in range(2)]
    for whole, *mine in zip(alone, *parts, strict=True):
        assert torch.equal(torch.cat([part.image for part in mine]), whole.image)
        assert torch.equal(torch.cat([part.label for part in mine]), whole.label)


def test_the_parts_of_a_draw_make_the_parts_of_its_batch(home):
    data = opened(home)
    draw = epoch(data, stream=Stream(views=2)).draw(0)
    assert draw.size == 5
    whole = data.augmented(draw)
    parts = [data.augmented(draw.part(first, last)) for first, last in ((0, 3), (3, 5))]
    assert torch.equal(torch.cat([part.image for part in parts], 1), whole.image)
    assert draw.image[0].is_contiguous(memory_format=torch.channels_last)


def test_split_holds_out_the_same_images_as_in_memory(home):
    fit, held = opened(home).split(0.3)
    assert (fit.counts.tolist(), held.counts.tolist()) == ([6, 3, 1], [3, 2, 1])
    assert not set(fit.place.paths) & set(held.place.paths)
    assert held.place.paths[0] == "train/class00/006.png", "the last of each class"


# Small sets


def test_a_small_set_is_decoded_once_to_the_pixels_that_its_files_give_at_test(home):
    look = Look(16, ("crop", "flip"))
    small = open_dataset(DataSpec("folder"), home).seen(look)
    assert isinstance(small.train, Images) and isinstance(small.test, Images)
    files = open_dataset(DataSpec("folder"), home).test.seen(look)
    for mine, its in zip(small.test.once(5), files.once(5), strict=True):
        torch.testing.assert_close(mine.image, its.image, rtol=0, atol=0)
        assert torch.equal(mine.label, its.label)


def test_what_is_large_or_augmented_otherwise_stays_in_files(home, monkeypatch):
    data = open_dataset(DataSpec("folder"), home)
    assert data.held_in_memory(Look(16, ("crop",))) and not data.held_in_memory(LOOK)
    monkeypatch.setattr(dataset, "MEMORY", (len(data.train) + len(data.test)) * 3 * (16**2 + 24**2) + 2 * 8 * 16**2)
    assert data.held_in_memory(Look(16, ("crop",)))
    assert not data.held_in_memory(Look(16, ("crop", "rotate15"))), "whose table of angles is larger"
    monkeypatch.setattr(dataset, "MEMORY", dataset.MEMORY - 1)
    assert not data.held_in_memory(Look(16, ("crop",)))


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="this system cannot tell who sends a signal")
def test_a_signal_to_all_processes_leaves_the_readers_to_their_parent(home, monkeypatch):
    """A scheduler sends SIGTERM to all: the readers died, and the run failed in place of being saved."""
    drawn = epoch(opened(home, workers=2))
    fork = os.fork

    def signalled_at_birth():
        if number := fork():
            subprocess.run(["kill", str(number)])
        return number

    monkeypatch.setattr(os, "fork", signalled_at_birth)
    mine = [drawn.batch(0)]
    monkeypatch.undo()
    readers = multiprocessing.active_children()
    assert len(readers) == 2
    done = subprocess.run(["kill", *(str(reader.pid) for reader in readers)])  # from another process than their parent
    assert done.returncode == 0
    mine += [drawn.batch(k) for k in range(1, len(drawn.parts))]
    assert same(mine, batches(opened(home)))
    for reader in readers:
        reader.terminate()
        reader.join(10)
        assert not reader.is_alive()


def test_workers_by_default():
    assert suitable_workers(SMALL - 1) == 0
    assert 1 <= suitable_workers(SMALL) <= 4


# Transforms


def test_at_test_the_shorter_side_is_resized_to_256_of_224_and_the_centre_taken():
    picture = made_images.picture(1, 3, 0, 100)
    mine = transforms.at_test(Look(56, ("random_resized_crop",)))(picture)
    wide, high = picture.size
    resized = picture.resize((64, 64 * high // wide), Image.Resampling.BILINEAR)
    top = round((resized.height - 56) / 2)
    assert np.array_equal(mine, resized.crop((4, top, 60, top + 56)))
    whole = transforms.at_test(Look(56, ("crop", "flip")))(picture)
    assert whole.size == (56, 56) and not np.array_equal(whole, mine)


def test_pixels_of_a_square_image_of_the_right_size_are_left_alone():
    picture = made_images.picture(1, 3, 0, 100).crop((0, 0, 32, 32))
    assert np.array_equal(transforms.at_test(Look(32, ()))(picture), picture)
    assert np.array_equal(transforms.in_training(Look(32, ()))(picture), picture)


def test_the_words_are_torchvisions_in_a_fixed_order():
    made = transforms.in_training(Look(32, ("randaugment", "color_jitter", "flip", "random_resized_crop")))
    kinds = [type(step) for step in made.transforms]
    assert kinds == [v2.RandomResizedCrop, v2.RandomHorizontalFlip, v2.ColorJitter, v2.RandAugment]
    assert made.transforms[2].brightness == (0.6, 1.4) and made.transforms[2].hue is None
    plain = transforms.in_training(Look(32, ("rotate15", "crop")))
    assert [type(step) for step in plain.transforms] == [v2.Resize, v2.CenterCrop, v2.RandomCrop, v2.RandomRotation]


@pytest.mark.parametrize(
    ("spec", "change", "message"),
    [
        (DataSpec("glyphs_lt"), {"augment": ("flip", "randaugment")}, "augment: randaugment: the images of glyphs_lt"),
        (DataSpec("glyphs_lt"), {"augment": ("flip",)}, "image_size 16: the images of glyphs_lt have 32"),
        (DataSpec("folder"), {"augment": ("crop", "random_resized_crop")}, "either crop or random_resized_crop"),
    ],
)
def test_what_a_recipe_cannot_have_of_the_data_is_refused(spec, change, message):
    with pytest.raises(LtbenchError, match=message):
        look_of(spec, 32, RECIPE.with_(**change))


# Damage


@pytest.mark.parametrize(
    ("damage", "message", "workers"),
    [
        (lambda path: path.unlink(), "no such image", 2),
        (lambda path: path.unlink(), "no such image", 0),
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "not a whole image: ", 0),
        (lambda path: path.write_text("<html>"), "not a whole image: no known kind of picture", 0),
    ],
)
def test_a_damaged_image_is_named_in_one_line(tmp_path, damage, message, workers):
    made_images.own(tmp_path / "folder", (3, 2))
    path = tmp_path / "folder" / "train" / "class01" / "001.png"
    data = opened(tmp_path, workers=workers)
    damage(path)
    with pytest.raises(LtbenchError) as caught:
        batches(data)
    assert str(caught.value).startswith(f"{path}: {message}") and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_of_16_bits_the_upper_8_are_seen(tmp_path, name):
    values = np.array([[0, 255, 256], [0x1234, 0x8000, 0xFFFF]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / name)
    pixels = np.asarray(open_picture(tmp_path / name))
    assert pixels.shape == (2, 3, 3)
    assert (pixels == np.array([[0, 0, 1], [0x12, 0x80, 0xFF]])[..., None]).all()
    assert isinstance(_open(tmp_path, name), bytes)


@pytest.mark.parametrize(("mode", "kind"), [("I", np.int32), ("F", np.float32)])
def test_a_picture_whose_white_is_not_known_is_refused_and_found(tmp_path, mode, kind):
    Image.fromarray(np.full((4, 4), 3, dtype=kind)).save(tmp_path / "x.tif")
    with pytest.raises(LtbenchError, match=f"x.tif: not a whole image: mode {mode}: write it as 8 bits a channel"):
        open_picture(tmp_path / "x.tif")
    assert _open(tmp_path, "x.tif") == Bad("damaged image", "x.tif", f"mode {mode}: write it as 8 bits a channel")


def test_the_words_are_torchvisions_with_the_numbers_of_the_field():
    made = transforms.in_training(Look(32, ("randaugment", "color_jitter", "flip", "random_resized_crop")))
    resized, _, jitter, _ = made.transforms
    assert (resized.scale, resized.size) == ((0.08, 1.0), (32, 32))
    assert jitter.brightness == jitter.contrast == jitter.saturation == (0.6, 1.4) and jitter.hue is None
    *_, crop, turn = transforms.in_training(Look(32, ("rotate15", "crop"))).transforms
    assert (isinstance(crop, v2.RandomCrop) and crop.padding == [4] * 4) or crop.padding == 4
    assert list(turn.degrees) == [-15, 15]


def test_at_test_a_side_is_rounded_to_the_nearest_pixel():
    # 32 * 256 / 224 = 36.57
    resized, _ = transforms.at_test(Look(32, ("random_resized_crop",))).transforms
    assert list(resized.size) == [37]
