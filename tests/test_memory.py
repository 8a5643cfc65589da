"""Images in memory: streams of indices, batches, splits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltbench import Clock, Recipe, Stream, by_class, by_image, by_rarity
from ltbench.data.memory import Epoch, Images, Norm
from ltbench.data.streams import Share

FEW = settings(deadline=None, max_examples=25)
NORM = Norm((0.1, 0.5, 0.9), (0.2, 0.25, 0.5))
PLAIN = Recipe(epochs=9, batch_size=16, augment=())
AUGMENTED = Recipe(epochs=9, batch_size=16)
STREAMS = {"by_image": by_image, "by_class": by_class, "by_rarity": by_rarity}
every_stream = pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)


def numbered(counts, size=4) -> Images:
    """Images of which each has its row number in all pixels (rows under 256), classes in order."""
    label = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    image = torch.arange(len(label)).remainder(256).to(torch.uint8)
    return Images(image[:, None, None, None].repeat(1, size, size, 3), label, len(counts), NORM)


def textured(counts, size=16) -> Images:
    """Images of noise, no two alike however they are augmented."""
    label = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    random = torch.Generator().manual_seed(0)
    image = torch.randint(1, 256, (len(label), size, size, 3), generator=random, dtype=torch.uint8)
    return Images(image, label, len(counts), NORM)


def clock(epoch=0) -> Clock:
    return Clock(epoch, 9, 0, 9)


def epoch(data, stream=by_image, k=0, seed=0, number=0, recipe=PLAIN, share=Share()) -> Epoch:
    return Epoch(data, stream, clock(k), seed, number, recipe, share)


def batches(e: Epoch):
    """The whole epoch of one process."""
    return [e.batch(k) for k in range(-(-len(e.data) // e.batch_size))]


def same(one, other) -> bool:
    return torch.equal(one.image, other.image) and torch.equal(one.label, other.label)


SKEWED = (60, 25, 10, 5)


# Orders


def test_by_image_takes_each_row_once():
    rows = epoch(numbered(SKEWED)).rows
    assert rows.sort().values.tolist() == list(range(100))
    assert rows.tolist() != list(range(100))


@every_stream
def test_every_stream_draws_as_many_images_as_there_are(stream):
    drawn = batches(epoch(numbered(SKEWED), stream))
    assert [len(batch.label) for batch in drawn] == [16] * 6 + [4]


def frequencies(stream, counts, epochs=60):
    data = numbered(counts)
    rows = torch.cat([epoch(data, stream, seed=seed).rows for seed in range(epochs)])
    return rows, torch.bincount(data.label[rows], minlength=len(counts)).double()


def chi_square(found, shares):
    expected = found.sum() * torch.tensor(shares, dtype=torch.float64)
    return ((found - expected) ** 2 / expected).sum().item()


def test_by_class_takes_every_class_as_often():
    _, found = frequencies(by_class, SKEWED)
    # 3 degrees of freedom: above 21.1 once in 10000
    assert chi_square(found, [1 / 4] * 4) < 21.1


def test_by_rarity_takes_classes_in_proportion_to_one_over_their_count():
    # odds 60 / n: 1, 2.4, 6, 12, which sum to 21.4
    _, found = frequencies(by_rarity, SKEWED)
    assert chi_square(found, [1 / 21.4, 2.4 / 21.4, 6 / 21.4, 12 / 21.4]) < 21.1


@pytest.mark.parametrize("stream", [by_class, by_rarity], ids=["by_class", "by_rarity"])
def test_images_of_one_class_are_equally_likely(stream):
    rows, found = frequencies(stream, SKEWED)
    # the 60 of the first class: 59 degrees of freedom, above 111 once in 10000
    in_first = torch.bincount(rows[rows < 60], minlength=60).double()
    assert in_first.sum() == found[0]
    assert chi_square(in_first, [1 / 60] * 60) < 111


def test_class_odds_see_the_counts_and_the_clock():
    seen = []

    def odds(counts, t):
        seen.append((counts.tolist(), t))
        return torch.tensor([0.0, 1.0, 0.0, 0.0])

    drawn = epoch(numbered(SKEWED), Stream(odds), k=3)
    assert seen == [([60, 25, 10, 5], clock(3))]
    assert set(drawn.data.label[drawn.rows].tolist()) == {1}


@pytest.mark.parametrize("stream", [by_class, by_rarity], ids=["by_class", "by_rarity"])
def test_a_class_without_images_is_never_drawn(stream):
    data = numbered((5, 0, 3))
    rows = epoch(data, stream).rows
    assert len(rows) == 8
    assert set(data.label[rows].tolist()) <= {0, 2}


# Statelessness


@every_stream
@FEW
@given(st.permutations(range(7)), st.integers(0, 8))
def test_a_batch_is_the_same_asked_alone_or_after_others(stream, order, k):
    data = textured(SKEWED, 8)
    together = epoch(data, stream, k, recipe=AUGMENTED)
    found = {i: together.batch(i) for i in order}
    for i in order[:2]:
        torch.manual_seed(i)  # torch's global generator has no say
        assert same(epoch(data, stream, k, recipe=AUGMENTED).batch(i), found[i])


@every_stream
@pytest.mark.parametrize("change", [{"k": 1}, {"seed": 1}, {"number": 1}], ids=["epoch", "seed", "stream number"])
def test_another_epoch_seed_or_stream_draws_and_augments_differently(stream, change):
    data = textured(SKEWED)
    one, other = epoch(data, stream, recipe=AUGMENTED), epoch(data, stream, recipe=AUGMENTED, **change)
    assert not torch.equal(one.rows, other.rows)
    assert not torch.equal(one.turn, other.turn)
    assert not torch.equal(one.shift, other.shift)


def test_an_image_drawn_twice_in_an_epoch_is_augmented_in_two_ways():
    data = textured((30, 1))
    e = epoch(data, by_rarity, recipe=AUGMENTED)
    drawn = batches(e)
    image, label = (torch.cat(part) for part in zip(*[(b.image, b.label) for b in drawn], strict=True))
    copies = image[label == 1]
    assert len(copies) > 20
    assert len({one.numpy().tobytes() for one in copies}) == len(copies)


# Batches


def test_a_batch_without_augmentation_is_the_normalised_images_of_its_rows():
    data = textured(SKEWED)
    e = epoch(data)
    batch = e.batch(2)
    rows = e.rows[32:48]
    assert same(batch, data.batch(rows))
    assert torch.equal(batch.label, data.label[rows])
    assert batch.target is batch.label


def test_views_are_copies_of_the_same_images_augmented_differently():
    data = textured(SKEWED)
    e = epoch(data, Stream(views=3), recipe=AUGMENTED)
    batch = e.batch(0)
    assert batch.image.shape == (3, 16, 3, 16, 16)
    assert batch.label.shape == (16,)
    for i in range(16):
        assert len({view[i].numpy().tobytes() for view in batch.image}) == 3
    plain = epoch(data, Stream(views=3)).batch(0)
    assert all(torch.equal(view, data.batch(e.rows[:16]).image) for view in plain.image)


def test_one_view_has_no_axis_of_its_own():
    assert epoch(textured(SKEWED)).batch(0).image.shape == (16, 3, 16, 16)


@every_stream
@FEW
@given(st.integers(1, 3), st.integers(20, 60), st.sampled_from([6, 12]))
def test_the_shares_of_all_processes_are_the_batch_of_one(stream, world, images, size):
    data = textured((images - 4, 4), 8)
    recipe = AUGMENTED.with_(batch_size=size)
    alone = batches(epoch(data, stream, recipe=recipe))
    parts = [batches(epoch(data, stream, recipe=recipe, share=Share(rank, world))) for rank in range(world)]
    for k, whole in enumerate(alone):
        # where a short batch leaves a process without an image, it is given the first, which counts for nothing
        mine = [part[k] for rank, part in enumerate(parts) if len({*Share(rank, world).of(len(whole.label))}) == 2]
        assert max(len(batch.label) for batch in mine) - min(len(batch.label) for batch in mine) <= 1
        assert torch.equal(torch.cat([batch.label for batch in mine]), whole.label)
        assert torch.equal(torch.cat([batch.image for batch in mine]), whole.image)


def test_a_last_batch_of_fewer_images_than_processes_gives_the_others_its_first():
    data = numbered((7, 6))  # 13 images: three batches of 4, and one image for 2 processes
    whole = epoch(data, recipe=PLAIN.with_(batch_size=4)).rows
    parts = [epoch(data, recipe=PLAIN.with_(batch_size=4), share=Share(rank, 2)) for rank in range(2)]
    rows = [[part.draw(k).rows for part in parts] for k in range(4)]
    assert [[len(row) for row in step] for step in rows] == [[2, 2], [2, 2], [2, 2], [1, 1]]
    assert Share(0, 2).of(1) == (0, 0) and Share(1, 2).of(1) == (0, 1)
    assert torch.equal(rows[3][0], whole[12:]) and torch.equal(rows[3][1], whole[12:])


@FEW
@given(st.integers(0, 100), st.integers(1, 9))
def test_parts_lie_side_by_side_and_differ_by_one_at_most(count, world):
    parts = [Share(rank, world).of(count) for rank in range(world)]
    assert [first for first, _ in parts] == [0, *(last for _, last in parts[:-1])] and parts[-1][1] == count
    sizes = {last - first for first, last in parts}
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("images", "steps"), [(100, 7), (96, 6), (97, 7), (5, 1), (16, 1)])
def test_steps_an_epoch_count_a_short_last_batch(images, steps):
    assert numbered((images,)).steps(PLAIN) == steps


# As at test


def test_once_gives_each_image_once_in_order_and_normalised():
    data = textured((30, 7))
    given = list(data.once(16))
    assert [len(batch.label) for batch in given] == [16, 16, 5]
    image = torch.cat([batch.image for batch in given])
    raw = data.image.numpy().astype(np.float64) / 255
    expected = ((raw - NORM.mean) / NORM.std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(image.numpy(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(torch.cat([batch.label for batch in given]), data.label)
    assert image.dtype == torch.float32


def test_normalise_maps_the_mean_to_zero_and_a_deviation_to_one():
    data = Images(torch.zeros(1, 1, 1, 3, dtype=torch.uint8), torch.zeros(1).long(), 1, Norm((0.2,) * 3, (0.4,) * 3))
    # 0.2 * 255 = 51, (0.2 + 0.4) * 255 = 153
    pixels = torch.tensor([51, 153], dtype=torch.uint8).repeat(3, 1)[:, :, None]
    torch.testing.assert_close(data.normalise(pixels)[..., 0], torch.tensor([[0.0, 1.0]] * 3), rtol=0, atol=1e-6)


def test_images_are_left_as_they_were():
    data = textured(SKEWED)
    before = data.image.clone()
    list(data.once())
    epoch(data, recipe=AUGMENTED).batch(0)
    assert torch.equal(data.image, before)


# Splits


def row_numbers(data):
    return data.image[:, 0, 0, 0].tolist()


@FEW
@given(st.lists(st.integers(1, 24), min_size=1, max_size=10), st.floats(0.01, 0.99), st.randoms())
def test_split_is_a_partition_with_every_class_on_both_sides_where_it_has_two(counts, share, random):
    data = numbered(counts)
    order = list(range(len(data)))
    random.shuffle(order)
    data = Images(data.image[order], data.label[order], data.classes, NORM)
    fit, held = data.split(share)
    assert sorted(row_numbers(fit) + row_numbers(held)) == sorted(row_numbers(data))
    assert (fit.counts + held.counts).tolist() == counts
    assert fit.counts.min() >= 1
    for n, out in zip(counts, held.counts.tolist(), strict=True):
        assert out == min(-(-n * share // 1), n - 1)
    again = data.split(share)
    assert [row_numbers(part) for part in again] == [row_numbers(fit), row_numbers(held)]


def test_split_holds_out_the_last_tenth_of_each_class():
    fit, held = numbered((20, 11, 2, 1)).split()
    # a tenth rounded up: 2, 2, 1, and nothing of a single image
    assert row_numbers(held) == [18, 19, 29, 30, 32]
    assert fit.counts.tolist() == [18, 9, 1, 1]
    assert held.counts.tolist() == [2, 2, 1, 0]
    assert (held.classes, held.norm) == (4, NORM)


# Parts of a draw


def test_the_parts_of_a_draw_make_the_parts_of_its_batch():
    data = textured(SKEWED)
    draw = epoch(data, Stream(views=2), recipe=AUGMENTED).draw(1)
    assert draw.size == 16
    whole = data.augmented(draw)
    parts = [data.augmented(draw.part(first, last)) for first, last in ((0, 5), (5, 16))]
    assert torch.equal(torch.cat([part.image for part in parts], 1), whole.image)
    assert torch.equal(torch.cat([part.label for part in parts]), whole.label)


@pytest.mark.parametrize(("augment", "rows"), [((), 2), (("crop", "flip"), 2), (("rotate15",), 1026)])
def test_angles_are_tabled_only_where_a_recipe_rotates(augment, rows):
    data = textured((3, 2))
    epoch(data, recipe=Recipe(epochs=1, augment=("flip",))).batch(0)
    assert len(data.table) == 2
    epoch(data, recipe=Recipe(epochs=1, augment=augment)).batch(0)
    assert len(data.table) == rows
