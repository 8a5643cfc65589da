"""Mixed images: against timm's definitions worked out by hand, and through the step, eager and recorded."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from test_graph import Rerun
from test_optimizer import CPU

from ltbench import Batch, Recipe, contract, labels, mixing

BOTH = Recipe(5, batch_size=16, lr=0.05, warmup=0.0, augment=("crop", "flip"), mixup=0.8, cutmix=1.0)


def batch(images=6, size=8, classes=3, views=0):
    shape = (views, images, 3, size, size) if views else (images, 3, size, size)
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    label = torch.arange(images) % classes
    return Batch(image, label, label)


def mix(share=1.0, paste=0.0, down=0.5, right=0.5):
    return torch.tensor([share, paste, down, right])


def test_mixup_blends_each_image_and_label_with_those_from_the_other_end():
    plain = batch()
    found = mixing.mixed(plain, mix(0.7), BOTH, 3)
    torch.testing.assert_close(found.image, 0.7 * plain.image + 0.3 * plain.image.flip(0))
    shares = torch.eye(3)[plain.label]
    torch.testing.assert_close(found.target, 0.7 * shares + 0.3 * shares.flip(0))
    assert torch.equal(found.label, plain.label)


def test_cutmix_pastes_a_box_and_counts_its_pixels():
    # share 3/4: a box of half of each side; around (4, 4) of 8 pixels it reaches from 2 to 5
    plain = batch()
    found = mixing.mixed(plain, mix(0.75, 1.0), BOTH, 3)
    expected = plain.image.clone()
    expected[..., 2:6, 2:6] = plain.image.flip(0)[..., 2:6, 2:6]
    assert torch.equal(found.image, expected)
    shares = torch.eye(3)[plain.label]
    assert torch.equal(found.target, 0.75 * shares + 0.25 * shares.flip(0))


def test_a_box_over_the_edge_takes_less_of_the_label():
    # a box of 4 x 4 around (0, 7): rows 0 and 1, columns 5 to 7; 6 of 64 pixels
    plain = batch()
    found = mixing.mixed(plain, mix(0.75, 1.0, 0.0, 0.9), BOTH, 3)
    expected = plain.image.clone()
    expected[..., :2, 5:] = plain.image.flip(0)[..., :2, 5:]
    assert torch.equal(found.image, expected)
    assert found.target[0].tolist() == pytest.approx([58 / 64, 0, 6 / 64])  # label 0 with label 2


def test_all_views_of_an_image_are_mixed_alike():
    plain = batch(views=2)
    found = mixing.mixed(plain, mix(0.7), BOTH, 3)
    for view in range(2):
        alone = mixing.mixed(plain._replace(image=plain.image[view]), mix(0.7), BOTH, 3)
        assert torch.equal(found.image[view], alone.image)


def test_smoothing_spreads_a_part_over_all_classes_before_mixing():
    smooth = BOTH.with_(label_smoothing=0.1)
    found = mixing.mixed(batch(), mix(0.7), smooth, 3)
    # label 0: 0.7 of its own, 0.3 of label 2's; 0.1 of each spread over three
    assert found.target[0].tolist() == pytest.approx([0.7 * 0.9 + 0.1 / 3, 0.1 / 3, 0.3 * 0.9 + 0.1 / 3])
    alone = mixing.mixed(batch(), mix(0.7), Recipe(5, label_smoothing=0.1), 3)
    assert torch.equal(alone.image, batch().image), "smoothing touches no pixel"
    assert alone.target[0].tolist() == pytest.approx([0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3])


def test_shares_come_from_the_beta_of_the_recipe_and_half_of_the_steps_paste():
    drawn = np.array([mixing.draw(BOTH, 0, 0, step, 0, 0) for step in range(4000)])
    pasted, blended = drawn[drawn[:, 1] == 1, 0], drawn[drawn[:, 1] == 0, 0]
    assert len(pasted) == pytest.approx(2000, abs=4 * math.sqrt(1000))
    for share, alpha in ((pasted, 1.0), (blended, 0.8)):
        variance = 1 / (4 * (2 * alpha + 1))
        assert share.mean() == pytest.approx(0.5, abs=4 * math.sqrt(variance / len(share)))
        assert share.var() == pytest.approx(variance, rel=0.1)
    assert drawn[:, 2:].min() >= 0 and drawn[:, 2:].max() < 1


@pytest.mark.parametrize(("recipe", "pastes"), [({"cutmix": 0.0}, {0.0}), ({"mixup": 0.0}, {1.0})])
def test_one_kind_alone_takes_all_steps(recipe, pastes):
    assert {mixing.draw(BOTH.with_(**recipe), 0, 0, step, 0, 0)[1] for step in range(50)} == pastes


def test_a_draw_is_a_function_of_its_place():
    places = [(seed, stream, step, micro, rank) for seed in (0, 1) for stream in (0, 1) for step in (0, 1)
              for micro in (0, 1) for rank in (0, 1)]  # fmt: skip
    assert len({tuple(mixing.draw(BOTH, *place)) for place in places}) == len(places)
    whole = mixing.epoch(BOTH, 7, 1, 10, 6, 0, torch.device("cpu"))
    assert whole.shape == (6, 1, mixing.PARTS)
    assert torch.equal(whole[4:], mixing.epoch(BOTH, 7, 1, 14, 2, 0, torch.device("cpu"))), "any part by itself"


# Through the trainer


@pytest.fixture(scope="module")
def trials():
    made: dict[str, contract.Trials] = {}
    return lambda label: made.setdefault(label, contract.Trials(labels.parse(label)))


def trained(on, recipe=BOTH, **more):
    method = on.fresh()
    on.fit(method, recipe, **more)
    return contract.state(method)


@pytest.mark.parametrize("label", ["ldam_drw", "bbn"])
def test_a_replayed_step_mixes_anew_each_time(trials, label):
    # the tape repeats the recorded work on the memory that was held: what is not copied there would stay as recorded
    on, tape = trials(label), Rerun()
    assert contract.same(trained(on, tape=tape), trained(on))
    assert tape.replays


def test_mixing_changes_what_is_learnt_and_its_losses_take_shares(trials):
    on = trials("ldam_drw")
    seen = []
    method = on.fresh()
    method.register_forward_pre_hook(lambda module, given: seen.append(given[1]))
    on.fit(method, BOTH)
    assert all(each.target.shape == (len(each.label), contract.CLASSES) for each in seen)
    torch.testing.assert_close(seen[0].target.sum(1), torch.ones(16))
    assert any(((each.target > 0).sum(1) == 2).any() for each in seen)
    assert not contract.same(contract.state(method), trained(on, BOTH.with_(mixup=0.0, cutmix=0.0)))


def test_each_micro_batch_and_process_is_mixed_in_its_own_way():
    def shares(rank, **changes):
        return mixing.epoch(BOTH.with_(**changes), 7, 1, 10, 3, rank, CPU)

    cut = shares(0, accumulate=2)
    assert cut.shape == (3, 2, mixing.PARTS)
    assert torch.equal(cut[:, :1], shares(0)) and not torch.equal(cut[:, 1:], shares(0))
    assert not torch.equal(shares(1), shares(0))


def test_each_stream_is_mixed_in_its_own_way_as_the_runs_seed_says(trials, monkeypatch):
    asked, epoch = [], mixing.epoch
    monkeypatch.setattr(mixing, "epoch", lambda recipe, *place: asked.append(place[:5]) or epoch(recipe, *place))
    on = trials("bbn")
    on.fit(on.fresh(), BOTH.with_(epochs=2), seed=3)
    # seed, stream, first step, steps, rank
    assert asked == [(3, 0, 0, 4, 0), (3, 1, 0, 4, 0), (3, 0, 4, 4, 0), (3, 1, 4, 4, 0)]
