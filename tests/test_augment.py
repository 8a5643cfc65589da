"""The batched augmentation against PIL's own operations, image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from ltbench.data.augment import ANGLES, PAD, UPRIGHT, draw, gather_table, pad, take

FEW = settings(deadline=None, max_examples=60)
ALL = ("crop", "flip", "rotate15")
MIRROR = ANGLES + 1  # table rows from an upright angle to the same, mirrored
MIDDLE = slice(PAD, -PAD)


def angle_of(turn: int) -> float:
    """Degrees of a table row, by the definition: 512 of them from -15 to 15, and none."""
    return 0.0 if turn % MIRROR == UPRIGHT else -15 + 30 * (turn % MIRROR) / (ANGLES - 1)


def by_pil(image: np.ndarray, turn: int, down: int, right: int) -> np.ndarray:
    """Pad, crop, mirror, rotate: as torchvision does with PIL images."""
    size = len(image)
    one = ImageOps.expand(Image.fromarray(image), PAD, 0).crop((right, down, right + size, down + size))
    if turn >= MIRROR:
        one = one.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if turn % MIRROR != UPRIGHT:
        one = one.rotate(angle_of(turn), Image.Resampling.NEAREST, fillcolor=(0, 0, 0))
    return np.asarray(one)


def by_us(image: np.ndarray, turn: list[int], down: list[int], right: list[int]) -> np.ndarray:
    """The same in one gather; image: [N, H, H, 3], drawn once each."""
    size = image.shape[1]
    shift = torch.tensor(down) * (size + 2 * PAD) + torch.tensor(right)
    rows = torch.arange(len(image))
    taken = take(pad(torch.from_numpy(image)), rows, torch.tensor(turn), shift, gather_table(size), size)
    return taken.permute(0, 2, 3, 1).numpy()


def noise(images: int, size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (images, size, size, 3), dtype=np.uint8)


one_draw = st.tuples(st.integers(0, 2 * MIRROR - 1), st.integers(0, 2 * PAD), st.integers(0, 2 * PAD))


@FEW
@given(st.lists(one_draw, min_size=1, max_size=8), st.sampled_from([8, 31, 32]), st.integers(0, 2**32 - 1))
def test_the_gather_is_pils_pad_crop_flip_rotate_bit_for_bit(draws, size, seed):
    images = noise(len(draws), size, seed)
    expected = np.stack([by_pil(image, *one) for image, one in zip(images, draws, strict=True)])
    turn, down, right = (list(part) for part in zip(*draws, strict=True))
    assert np.array_equal(by_us(images, turn, down, right), expected)


def test_every_row_of_the_table_is_pils():
    (image,) = noise(1, 32, 0)
    rows = range(2 * MIRROR)
    expected = np.stack([by_pil(image, turn, 1, 6) for turn in rows])
    found = by_us(np.repeat(image[None], len(rows), 0), list(rows), [1] * len(rows), [6] * len(rows))
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("size", [8, 32])
def test_an_upright_centre_crop_is_the_image(size):
    images = noise(3, size, 1)
    assert np.array_equal(by_us(images, [UPRIGHT] * 3, [PAD] * 3, [PAD] * 3), images)


def test_a_mirrored_centre_crop_is_the_image_mirrored():
    images = noise(2, 32, 2)
    assert np.array_equal(by_us(images, [UPRIGHT + MIRROR] * 2, [PAD] * 2, [PAD] * 2), images[:, :, ::-1])


def test_a_corner_crop_shows_the_black_border():
    images = noise(1, 32, 3) | 1  # no black pixel
    (found,) = by_us(images, [UPRIGHT], [0], [2 * PAD])
    # the crop begins at the padded image's top and 8 to the right: 4 black rows above, 4 black columns on the right
    assert not found[:PAD].any()
    assert not found[:, -PAD:].any()
    assert np.array_equal(found[PAD:, :-PAD], images[0, :-PAD, PAD:])


def test_rows_may_be_taken_twice_and_in_any_order():
    images, rows = noise(4, 8, 4), torch.tensor([3, 0, 3])
    upright = torch.full((3,), UPRIGHT)
    shift = torch.full((3,), PAD * 16 + PAD)
    found = take(pad(torch.from_numpy(images)), rows, upright, shift, gather_table(8), 8)
    assert np.array_equal(found.permute(0, 2, 3, 1).numpy(), images[[3, 0, 3]])


# The law of the draws


def parts(draws, size=32):
    """(row of the angle, mirrored, down, right) of draws."""
    side = size + 2 * PAD
    return draws.turn % MIRROR, draws.turn >= MIRROR, draws.shift // side, draws.shift % side


MANY = 40_000


def test_draws_are_uniform():
    angle, flip, down, right = parts(draw(ALL, 1, MANY, 32, (0, "law")))
    # half of 40000 within 5 standard deviations of sqrt(40000) / 2 = 100
    assert abs(flip.sum().item() - MANY / 2) < 500
    for shift in (down, right):
        # a ninth of 40000 is 4444, with a deviation of 63
        counts = torch.bincount(shift.flatten(), minlength=2 * PAD + 1)
        assert len(counts) == 9
        assert (counts - MANY / 9).abs().max() < 5 * 63
    counts = torch.bincount(angle.flatten(), minlength=ANGLES)
    # a 512th of 40000 is 78, with a deviation of 8.8
    assert len(counts) == ANGLES
    assert (counts - MANY / ANGLES).abs().max() < 5 * 8.9


def test_draws_do_not_hang_together():
    table = torch.stack([part.flatten().double() for part in parts(draw(ALL, 1, MANY, 32, (0, "law")))])
    # correlations of 40000 independent pairs deviate by 1 / 200
    assert (torch.corrcoef(table) - torch.eye(4)).abs().max() < 5 / 200


def test_angles_run_from_minus_15_to_15_degrees():
    assert [angle_of(turn) for turn in (0, ANGLES - 1, UPRIGHT, MIRROR, MIRROR + UPRIGHT)] == [-15, 15, 0, -15, 0]


@pytest.mark.parametrize("augment", [(), ("crop",), ("flip",), ("rotate15",), ("crop", "flip"), ("flip", "rotate15")])
def test_what_is_not_asked_for_is_neutral_and_the_rest_stays(augment):
    place = (3, "augment", 0, 7)
    angle, flip, down, right = parts(draw(ALL, 2, 50, 32, place))
    mine = parts(draw(augment, 2, 50, 32, place))
    crop = "crop" in augment
    assert torch.equal(mine[0], angle if "rotate15" in augment else torch.full_like(angle, UPRIGHT))
    assert torch.equal(mine[1], flip if "flip" in augment else torch.zeros_like(flip))
    assert torch.equal(mine[2], down if crop else torch.full_like(down, PAD))
    assert torch.equal(mine[3], right if crop else torch.full_like(right, PAD))


def test_draws_are_a_function_of_their_place_alone():
    one = draw(ALL, 1, 20, 32, (0, "augment", 0, 1))
    torch.manual_seed(99)
    again, elsewhere = draw(ALL, 1, 20, 32, (0, "augment", 0, 1)), draw(ALL, 1, 20, 32, (0, "augment", 0, 2))
    assert all(map(torch.equal, one, again))
    assert not torch.equal(one.turn, elsewhere.turn)


def test_the_order_in_which_augmentations_are_named_does_not_matter():
    one, other = (draw(names, 1, 20, 32, (0,)) for names in (ALL, ALL[::-1]))
    assert all(map(torch.equal, one, other))


def test_the_black_border_is_four_pixels_wide():
    images = torch.from_numpy(noise(2, 8, 5) | 1)
    padded = pad(images).view(2, 16, 16, 3)
    assert torch.equal(padded[:, MIDDLE, MIDDLE], images)
    assert padded.count_nonzero() == images.count_nonzero()


@pytest.mark.parametrize("size", [8, 32])
def test_a_table_that_is_not_rotated_gives_the_same_pixels(size):
    images = torch.from_numpy(noise(6, size, 4))
    drawn = draw(("crop", "flip"), 1, 6, size, (0, "augment", 0, 0))
    assert len(drawn.turn.unique()) == 2
    taken = [
        take(pad(images), torch.arange(6), drawn.turn[0], drawn.shift[0], gather_table(size, rotated), size)
        for rotated in (True, False)
    ]
    assert torch.equal(*taken) and gather_table(size, False).shape == (2, size * size)
