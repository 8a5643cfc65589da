"""The recipe: the rate at every epoch, shares of a run, and what its hash covers."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ltbench import Clock, Recipe
from ltbench.keys import validated
from ltbench.recipe import ADAPTER, OWN

FEW = settings(deadline=None, max_examples=50)


def rates(recipe: Recipe) -> list[float]:
    return [recipe.lr_at(Clock(epoch, recipe.epochs, 0, 0)) for epoch in range(recipe.epochs)]


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [
        # 5 epochs of warm-up: 0.1 * (1, 2, 3, 4, 5) / 5
        (0, 0.02), (1, 0.04), (3, 0.08), (4, 0.1), (5, 0.1),
        # 0.1 * 0.01 from 160 on, 0.1 * 0.0001 from 180 on
        (159, 0.1), (160, 1e-3), (179, 1e-3), (180, 1e-5), (199, 1e-5),
    ],
)  # fmt: skip
def test_the_published_200_epochs(epoch, rate):
    assert rates(Recipe(200))[epoch] == pytest.approx(rate)


@pytest.mark.parametrize(
    ("epoch", "rate"),
    # half of 0.1 (1 + cos 0, 45, 90, 135 degrees), and the last of 200
    [(0, 0.1), (50, 0.05 * (1 + 0.5**0.5)), (100, 0.05), (150, 0.05 * (1 - 0.5**0.5)), (199, 6.1683e-6)],
)
def test_a_cosine_falls_from_the_rate_to_almost_nothing(epoch, rate):
    assert rates(Recipe(200, schedule="cosine", warmup=0.0))[epoch] == pytest.approx(rate, rel=1e-4)


def test_a_cosine_is_multiplied_by_the_warm_up():
    # warm-up over 2 of 4 epochs: 1/2, 1; the cosine: 1, (1 + 0.5^0.5) / 2, 1/2, (1 - 0.5^0.5) / 2
    expected = [0.5, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2]
    assert rates(Recipe(4, lr=1.0, schedule="cosine", warmup=0.5)) == pytest.approx(expected)


def test_several_steps_and_warm_up_together():
    # steps at 1/3 and 2/3 of 6 epochs, warm-up over a half of it: 1/3, 2/3, 1 * 0.1, 0.1, 0.01, 0.01
    recipe = Recipe(6, lr=1.0, steps=(1 / 3, 2 / 3), gamma=0.1, warmup=0.5)
    assert rates(recipe) == pytest.approx([1 / 3, 2 / 3, 0.1, 0.1, 0.01, 0.01])


@FEW
@given(st.integers(1, 60), st.floats(0.001, 1))
def test_it_is_said_just_where_a_warm_up_has_no_effect(epochs, warmup):
    recipe = Recipe(epochs, warmup=warmup)
    assert bool(recipe.remark()) == (rates(recipe) == rates(recipe.with_(warmup=0.0)))
    assert not recipe.with_(warmup=0.0).remark(), "nothing was asked for"


def test_without_steps_or_warm_up_the_rate_is_constant():
    assert rates(Recipe(7, steps=(), warmup=0.0)) == [0.1] * 7


@FEW
@given(st.integers(1, 300), st.floats(0, 1), st.sampled_from(["steps", "cosine"]))
def test_the_rate_stays_above_zero_and_within_the_one_asked_for(epochs, warmup, schedule):
    found = rates(Recipe(epochs, warmup=warmup, schedule=schedule))
    assert all(0 < rate <= 0.1 for rate in found)


@pytest.mark.parametrize("epochs", [10, 20, 50, 100, 400])
def test_every_phase_of_200_epochs_is_walked(epochs):
    def phases(n):
        # the rate's level, and which of DRW's two phases
        recipe = Recipe(n, warmup=0.0)
        clocks = [Clock(epoch, n, 0, 0) for epoch in range(n)]
        return {(recipe.lr_at(t), t.after(0.8)) for t in clocks}

    assert phases(epochs) == phases(200)
    assert len(phases(200)) == 3


@pytest.mark.parametrize(
    ("epochs", "share", "expected"),
    # 30 of 200, and never below 5: 100 * 30 / 200 = 15, 10 * 30 / 200 = 1.5
    [(200, 30, 30), (100, 30, 15), (10, 30, 5), (1, 30, 5), (200, 5, 5), (400, 5, 10), (1000, 30, 150)],
)
def test_a_second_stage_lasts_its_share_and_at_least_five_epochs(epochs, share, expected):
    assert Recipe(epochs).share(share, of=200) == expected


def test_after_is_exact_at_the_phase():
    clocks = [Clock(epoch, 200, 0, 0) for epoch in range(200)]
    assert [t.epoch for t in clocks if t.after(0.8)] == list(range(160, 200))
    assert [t.epoch for t in clocks if t.after(0)] == list(range(200))
    assert not any(t.after(1) for t in clocks)


@FEW
@given(st.integers(1, 1000), st.integers(0, 100))
def test_after_never_misses_a_whole_per_cent(epochs, percent):
    first = math.ceil(epochs * percent / 100) if epochs * percent % 100 else epochs * percent // 100
    assert Clock(first, epochs, 0, 0).after(percent / 100)
    assert first == 0 or not Clock(first - 1, epochs, 0, 0).after(percent / 100)


# Hash and validation


CHANGES = {
    "image_size": 64,
    "epochs": 100, "batch_size": 64, "optimizer": "adamw", "lr": 0.2, "momentum": 0.8, "nesterov": False,
    "weight_decay": 2e-4, "schedule": "cosine", "steps": (0.8,), "gamma": 0.1, "warmup": 0.1, "augment": ("crop",),
    "precision": "bf16", "betas": (0.9, 0.95), "eps": 1e-6, "decay_norms": True, "min_lr": 1e-5, "accumulate": 4,
    "clip": 5.0, "ema": 0.999, "mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1,
}  # fmt: skip


def start_of(field: str) -> Recipe:
    """A recipe in which that field may be changed."""
    return Recipe(200, name="ride200", optimizer="adamw" if field in OWN["optimizer", "adamw"] else "sgd")


def test_another_optimizer_or_schedule_begins_with_its_own_fields_at_their_defaults():
    early = Recipe(200, momentum=0.8, nesterov=False, weight_decay=2e-4, steps=(0.6, 0.8), gamma=0.1)
    wave = early.with_(schedule="cosine", lr=0.2)
    assert (wave.steps, wave.gamma, wave.momentum, wave.weight_decay, wave.lr) == ((0.8, 0.9), 0.01, 0.8, 2e-4, 0.2)
    adamw = early.with_(optimizer="adamw", lr=1e-3)
    assert (adamw.steps, adamw.gamma, adamw.momentum, adamw.weight_decay) == ((0.6, 0.8), 0.1, 0.9, 5e-4)
    assert early.with_(schedule="steps", optimizer="sgd") == early
    assert adamw.with_(betas=(0.9, 0.95)).with_(optimizer="sgd", lr=0.1) == Recipe(200, steps=(0.6, 0.8), gamma=0.1)


def test_the_hash_ignores_the_name_and_nothing_else():
    base = Recipe(200, name="ride200")
    assert base.with_(name="other").hash() == base.hash()
    assert set(CHANGES) | {"name"} == {field.name for field in dataclasses.fields(Recipe)}
    hashes = {start_of(key).with_(**{key: value}).hash() for key, value in CHANGES.items()}
    assert len(hashes | {base.hash()}) == len(CHANGES) + 1


def test_a_field_that_came_later_is_left_out_of_records_and_hashes_while_at_its_default():
    first = (
        "epochs", "name", "batch_size", "optimizer", "lr", "momentum", "nesterov", "weight_decay", "schedule", "steps",
        "gamma", "warmup", "augment", "precision",
    )  # fmt: skip
    assert tuple(Recipe(200).recorded()) == first
    # of a recipe of these alone, as ltbench hashed it before there were others
    assert Recipe(200).hash() == "e6137508b245815d59061bf4829dbd7de3941f2a82e3ee17c68e3ce06748e6d1"
    for field, value in CHANGES.items():
        written = start_of(field).with_(**{field: value}).recorded()
        assert written[field] == (list(value) if isinstance(value, tuple) else value)
        assert set(written) - set(first) <= {field}


def test_a_record_gives_the_recipe_back():
    recipe = Recipe(300, optimizer="adamw", betas=(0.9, 0.95), clip=5.0, mixup=0.8)
    assert validated(ADAPTER, recipe.recorded()) == recipe


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"momentum": 0.0}, ["nesterov needs a momentum above 0"]),
        ({"optimizer": "adamw", "nesterov": False}, ["optimizer adamw takes no nesterov: for optimizer sgd only"]),
        ({"optimizer": "adamw", "momentum": 0.8, "nesterov": False}, ["adamw takes no momentum, nesterov"]),
        ({"schedule": "cosine", "steps": [0.5]}, ["schedule cosine takes no steps: for schedule steps only"]),
        ({"schedule": "cosine", "gamma": 0.1, "steps": [0.5]}, ["schedule cosine takes no steps, gamma"]),
        ({"betas": [0.9, 0.95]}, ["optimizer sgd takes no betas: for optimizer adamw only"]),
        ({"decay_norms": True, "eps": 1e-6}, ["optimizer sgd takes no eps, decay_norms"]),
        ({"batch_size": 100, "accumulate": 8}, ["batch_size 100 cannot be cut into accumulate 8 equal parts"]),
        ({"lr": 0.1, "min_lr": 0.2}, ["min_lr 0.2 is above lr 0.1"]),
        ({"augment": ["crop", "flip", "crop"]}, ["augment has crop more than once"]),
        ({"min_lr": 0.2, "accumulate": 3, "eps": 1.0}, ["min_lr", "accumulate 3", "takes no eps"]),
    ],
)  # fmt: skip
def test_fields_that_do_not_go_together_are_refused_in_one_message(given, said):
    with pytest.raises(ValidationError) as caught:
        validated(ADAPTER, {"epochs": 9} | given)
    (fault,) = caught.value.errors()
    assert all(part in fault["msg"] for part in said)


def test_another_optimizer_begins_with_its_own_fields_at_their_defaults():
    swin = Recipe(300, optimizer="adamw", lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05, clip=5.0)
    routers = swin.with_(optimizer="sgd", lr=0.01)
    assert routers == Recipe(300, lr=0.01, clip=5.0)
    assert swin.with_(optimizer="adamw").betas == (0.9, 0.95)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    # warm-up over 2 of 4 epochs: 1/2, 1; the cosine: 1, (1 + 0.5^0.5) / 2, 1/2, (1 - 0.5^0.5) / 2, of 0.9 above 0.1
    [
        ("cosine", [0.5, 0.1 + 0.9 * (1 + 0.5**0.5) / 2, 0.55, 0.1 + 0.9 * (1 - 0.5**0.5) / 2]),
        ("steps", [0.5, 1, 1, 0.1]),
    ],
)
def test_the_rate_does_not_fall_below_the_least(schedule, expected):
    recipe = Recipe(4, lr=1.0, steps=(0.75,), gamma=0.01, warmup=0.5, min_lr=0.1).with_(schedule=schedule)
    assert rates(recipe) == pytest.approx(expected)


def test_with_leaves_the_recipe_it_was_made_of():
    base = Recipe(200)
    assert base.with_(epochs=30).epochs == 30
    assert base == Recipe(200)


def test_a_whole_number_is_read_as_the_float_it_stands_for():
    assert validated(ADAPTER, {"epochs": 9, "lr": 1}).hash() == validated(ADAPTER, {"epochs": 9, "lr": 1.0}).hash()


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1}, {"epochs": 1.5}, {"epochs": "9"}, {"epochs": True}, {"batch_size": 0}, {"optimizer": "adam"},
        {"lr": 0}, {"momentum": 1}, {"nesterov": 1}, {"weight_decay": -1}, {"schedule": "linear"}, {"steps": [1.1]},
        {"betas": [0.9]}, {"betas": [0.9, 1]}, {"eps": 0}, {"min_lr": -1}, {"accumulate": 0}, {"clip": 0}, {"ema": 1},
        {"ema": 0}, {"mixup": -1}, {"cutmix": -1}, {"label_smoothing": 1}, {"decay_norms": 1},
        {"gamma": 0}, {"gamma": 1.1}, {"warmup": -0.1}, {"augment": ["mixup"]}, {"precision": "fp16"}, {"color": 1},
    ],
    ids=str,
)  # fmt: skip
def test_values_out_of_bounds_are_refused(wrong):
    with pytest.raises(ValidationError):
        validated(ADAPTER, {"epochs": 9} | wrong)


def test_epochs_are_required():
    with pytest.raises(ValidationError):
        validated(ADAPTER, {})


def test_a_warm_up_begins_below_the_least_rate_of_steps_too():
    # a hundredth from the start on, so 0.1 is what counts; half of it in the first of 4 epochs
    recipe = Recipe(4, lr=1.0, steps=(0.0,), gamma=0.01, warmup=0.5, min_lr=0.1)
    assert rates(recipe) == pytest.approx([0.05, 0.1, 0.1, 0.1])


def test_a_second_stage_is_rounded_to_the_nearest_epoch():
    # 45 * 30 / 200 = 6.75; 41 * 30 / 200 = 6.15
    assert [Recipe(epochs).share(30, of=200) for epochs in (45, 41)] == [7, 6]
