"""The shipped suites."""

import re
from pathlib import Path

import made_images
import pytest

from ltbench import Clock, plan, planfile, suite

CIFAR100 = ("cifar100_lt", "cifar100_lt_if10", "cifar100_lt_if50", "cifar100_lt_classic", "cifar100_lt_short")

PAPERS = (  # see test_paper_suites.py
    "imagenet_lt_resnet50", "imagenet_lt_resnext50", "inat18_resnet50", "places_lt_resnet152", "imagenet_lt_swin",
)  # fmt: skip

DRAWN = ("bias_variance", "bias_variance_quick")


def test_all_are_known():
    assert set(suite.shipped()) == {*CIFAR100, *DRAWN, *PAPERS, "ride_universal", "cifar10_lt", "quick", "my_folder"}


@pytest.mark.parametrize("name", CIFAR100)
def test_those_of_cifar_100_can_be_planned(name, cifar100):
    made = plan.make(suite.read(name), cifar100)
    assert made.rows[0].label == "ce"
    assert len({row.block for row in made.rows}) == 1, "one recipe for all"
    ce = next(run for run in made.runs.values() if run.label == "ce")
    children = [run for run in made.runs.values() if ce.key in {parent.key for parent in run.parents.values()}]
    assert len(children) >= 4, "cRT, LWS, tau-norm and NCM start from the leaderboard's CE"


@pytest.mark.parametrize("name", sorted(set(suite.shipped()) - {"bias_variance"}))
def test_no_recipe_asks_for_a_warm_up_that_it_does_not_get(name):
    assert suite.read(name).recipe.remark() == ""


def test_bias_variance_has_none_and_says_so():
    """Its records were made so; see docs/bias-variance.md."""
    assert suite.read("bias_variance").recipe.remark()


def test_quick_holds_all_ten_methods(glyph_cache):
    made = plan.make(suite.read("quick"), glyph_cache)
    methods = {row.method for row in made.rows}
    assert methods == {"ce", "ldam_drw", "crt", "lws", "tau_norm", "ncm", "bbn", "ride", "ride_ea", "ride_distill"}


def test_the_template_for_ones_own_images_can_be_planned_as_it_is(tmp_path):
    made_images.own(tmp_path / "my_images", (6, 4, 2), tested=1, size=8)
    made = plan.make(suite.read("my_folder"), tmp_path)
    assert [row.label for row in made.rows] == ["ce", "ldam_drw", "crt", "tau_norm(tau=1)", "ride(experts=3)"]
    assert made.rows[0].data == "folder(my_images)"


def test_ride_universal_pairs_each_base_with_two_experts_on_three_depths(cifar100):
    made = plan.make(suite.read("ride_universal"), cifar100)
    assert len({row.block for row in made.rows}) == 3
    labels = [row.label for row in made.rows if row.backbone == "resnet20"]
    assert len(labels) == 12
    for plain, routed in zip(labels[::2], labels[1::2], strict=True):
        assert "experts=2" in routed and "experts" not in plain
    trainings = [run for run in made.runs.values() if run.recipe.epochs]
    assert (len(trainings), sum(run.recipe.epochs == 200 for run in trainings)) == (90, 72)


@pytest.mark.parametrize("name", DRAWN)
def test_those_of_bias_and_variance_set_the_number_of_experts_and_diversity_beside_the_baselines(name, request):
    made = plan.make(
        suite.read(name), request.getfixturevalue("cifar100" if name == "bias_variance" else "glyph_cache")
    )
    assert [row.label for row in made.rows] == [
        "ce", "ldam_drw", "crt", "tau_norm(tau=1)", "ride(experts=1)", "ride(experts=2)", "ride(experts=3)",
        "ride(experts=3, diversity=0)",
    ]  # fmt: skip
    draws = made.suite.data[0].draws
    assert draws == (8 if name == "bias_variance" else 3)
    assert all(list(row.keys) == [str(i) for i in range(draws)] for row in made.rows)
    assert len(made.runs) == 8 * draws, "cRT and tau-norm start from the CE of their draw"
    many, few = next(iter(made.runs.values())).groups
    counts = next(iter(made.runs.values())).counts
    groups = [sum(n > many for n in counts), sum(few <= n <= many for n in counts), sum(n < few for n in counts)]
    assert groups == ([35, 35, 30] if name == "bias_variance" else [16, 23, 23])


@pytest.mark.parametrize("name", suite.shipped())
def test_each_head_comment_says_the_command_the_cost_and_what_to_expect(name):
    head = re.match(r"(#.*\n)+", suite.shipped()[name].read_text()).group()
    assert f"ltbench run {name}" in head
    assert "xpect" in head and ("Cost" in head or "minutes" in head)


def test_the_recipes_of_the_two_papers(cifar100):
    ride, ldam = (suite.read(name).recipe for name in ("cifar100_lt", "cifar100_lt_classic"))
    assert (ride.weight_decay, ride.nesterov, ride.augment) == (5e-4, True, ("crop", "flip", "rotate15"))
    assert (ldam.weight_decay, ldam.nesterov, ldam.augment) == (2e-4, False, ("crop", "flip"))
    for recipe in (ride, ldam):
        assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.gamma) == (200, 128, 0.1, 0.01)


def test_the_recipes_of_the_papers_on_large_images():
    """Those of RIDE.md: the rate after each decay, at the epochs where it falls; batch, weight decay."""
    falls = {
        "imagenet_lt_resnet50": (256, 2e-4, {0: 0.02, 5: 0.1, 59: 0.1, 60: 0.01, 80: 0.001}),
        "imagenet_lt_resnext50": (256, 2e-4, {0: 0.02, 5: 0.1, 59: 0.1, 60: 0.01, 80: 0.001}),
        "inat18_resnet50": (512, 2e-4, {0: 0.04, 5: 0.2, 59: 0.2, 60: 0.02, 80: 0.002}),
        "places_lt_resnet152": (128, 4e-4, {0: 0.01, 9: 0.01, 10: 0.001, 19: 0.001, 20: 0.0001}),
    }
    for name, (batch, decay, rates) in falls.items():
        recipe = suite.read(name).recipe
        assert (recipe.batch_size, recipe.weight_decay, recipe.image_size) == (batch, decay, 224)
        for epoch, rate in rates.items():
            assert recipe.lr_at(Clock(epoch, recipe.epochs, 0, 0)) == pytest.approx(rate), (name, epoch)
    swin = suite.read("imagenet_lt_swin").recipe
    assert (swin.optimizer, swin.batch_size, swin.weight_decay, swin.clip) == ("adamw", 1024, 0.05, 5.0)
    assert (swin.mixup, swin.cutmix, swin.label_smoothing, swin.decay_norms) == (0.8, 1.0, 0.1, False)
    assert swin.lr_at(Clock(0, 300, 0, 0)) == pytest.approx(1e-3 / 20, rel=0.01)
    assert swin.lr_at(Clock(299, 300, 0, 0)) == pytest.approx(1e-5, rel=0.01)


RESULTS = Path(__file__).parent.parent / "results"
DONE = sorted(path.parent.name for path in RESULTS.glob("*/plan.json"))


@pytest.mark.parametrize("name", DONE)
def test_a_shipped_suite_still_asks_for_the_runs_whose_records_are_committed(name, cifar100):
    rows = planfile.read(RESULTS / name).rows
    for sets in {row.sets for row in rows}:
        made = plan.make(suite.read(name, sets), cifar100)
        asked = {(row.block, row.label): row.keys for row in made.rows}
        for row in (row for row in rows if row.sets == sets):
            assert row.keys.items() <= asked.get((row.block, row.label), {}).items(), row.label


RIDE200 = {"momentum": 0.9, "schedule": "steps", "steps": (0.8, 0.9), "gamma": 0.01, "warmup": 0.025}


@pytest.mark.parametrize(
    "name", ["cifar100_lt", "cifar100_lt_classic", "cifar100_lt_if10", "cifar100_lt_if50", "cifar10_lt"]
)
def test_the_schedule_of_the_papers_on_cifar(name):
    recipe = suite.read(name).recipe
    assert {key: getattr(recipe, key) for key in RIDE200} == RIDE200
    assert (recipe.epochs, recipe.lr, recipe.batch_size) == (200, 0.1, 128)


# The settings that rows of the papers' suites have of their own, as docs/ and RIDE.md give them
OWN = {
    "imagenet_lt_resnet50": {"crt": 10, "lws": 5}, "imagenet_lt_resnext50": {"crt": 10, "lws": 5},
    "places_lt_resnet152": {"crt": 10, "lws": 5},
}  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_second_stages_on_large_images_last_as_long_as_published(name):
    own = {next(iter(e.given)): e.recipe["epochs"] for e in suite.read(name).entries if "epochs" in e.recipe}
    assert OWN[name].items() <= own.items()
