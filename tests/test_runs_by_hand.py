"""What a run is made of that other tests take for granted: seeds, parts, parents, records, cuts of the data."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import tiny
import torch
from make_records import make
from test_own_folder import home, made, opened  # noqa: F401
from test_record import sealed

from ltbench import backbones, checkpoints, contract, live, record, registry, runs
from ltbench.data import dataset
from ltbench.data.catalogue import FACTS
from ltbench.data.dataset import open_dataset
from ltbench.data.spec import DataSpec
from ltbench.data.subset import nearest_groups
from ltbench.errors import LtbenchError

pytestmark = pytest.mark.usefixtures("few_test_images")
SMALL = ("data.head=3", "recipe.epochs=1")

# test_runs.py


def begun(monkeypatch) -> list:
    """What every training begins with: (seed, weights, training images)."""
    found, fit = [], runs.Fit

    def noted(method, recipe, train, accelerator, seed, *more, **named):
        found.append((seed, contract.state(method), train))
        return fit(method, recipe, train, accelerator, seed, *more, **named)

    monkeypatch.setattr(runs, "Fit", noted)
    return found


def test_a_runs_seed_draws_its_first_weights_and_all_that_comes_after(tmp_path, glyph_cache, monkeypatch):
    planned, found = tiny.make(tmp_path, glyph_cache, "ce", *SMALL, "seeds=[0, 5]"), begun(monkeypatch)
    tiny.carry_out(planned, tiny.settings(tmp_path, glyph_cache))
    (one, first, _), (other, second, _) = found
    assert (one, other) == (0, 5)
    assert not torch.equal(first["heads.0.weight"], second["heads.0.weight"])
    assert not torch.equal(first["backbone.stages.0.0.weight"], second["backbone.stages.0.0.weight"])


def test_a_run_that_diverged_keeps_the_epochs_before(tmp_path, glyph_cache, monkeypatch):
    planned = tiny.make(tmp_path, glyph_cache, "ce", *SMALL)

    def diverged(*given):
        raise runs.DivergedError("at last")

    monkeypatch.setattr(runs, "evaluate", diverged)
    (found,) = tiny.carry_out(planned, tiny.settings(tmp_path, glyph_cache)).values()
    assert (found.status, found.reason, len(found.history)) == ("diverged", "at last", 1)


def test_a_run_on_a_part_of_the_images_never_sees_those_held_out(tmp_path, glyph_cache, monkeypatch):
    (spec,) = tiny.make(tmp_path, glyph_cache, "ce", *SMALL).runs.values()
    identity = replace(spec.identity, part="fit")
    part = replace(spec, ref=replace(spec.ref, part="fit"), identity=identity, key=identity.key)
    where, found = tiny.settings(tmp_path, glyph_cache), begun(monkeypatch)
    assert runs.execute(part, {}, where, lambda event: None).status == "complete"
    ((_, state, train),) = found
    fit, _ = live.on_device(spec, glyph_cache, "cpu").train.split()
    assert torch.equal(train.image, fit.image) and torch.equal(train.label, fit.label)
    assert torch.equal(state["counts"], fit.counts), "what the method knows of the classes, too"


def test_a_parent_is_finished_in_eval_mode_and_without_gradients(tmp_path, glyph_cache, monkeypatch):
    cls, seen = registry.get("tau_norm"), []
    begin = cls.begin

    def noted(self, parents, data):
        seen.extend(parents.values())
        begin(self, parents, data)

    monkeypatch.setattr(cls, "begin", noted)
    planned, where = tiny.make(tmp_path, glyph_cache, "ce, tau_norm", *SMALL), tiny.settings(tmp_path, glyph_cache)
    tiny.carry_out(planned, where)
    (parent,) = seen
    assert not any(part.training for part in parent.modules())
    assert not any(p.requires_grad for p in parent.parameters())


def test_a_record_tells_of_the_heads_and_counts_frozen_parameters_too(tmp_path, glyph_cache):
    planned, where = tiny.make(tmp_path, glyph_cache, "ce, crt", *SMALL), tiny.settings(tmp_path, glyph_cache)
    records = tiny.carry_out(planned, where)
    ce = next(spec for spec in planned.runs.values() if spec.label == "ce")
    weights = checkpoints.load_final(where.folder(ce), ce.key, "weights")
    (head,) = records["ce"].heads
    assert head.norms == pytest.approx(weights["heads.0.weight"].square().sum(1).sqrt().tolist())
    assert head.biases == pytest.approx(weights["heads.0.bias"].tolist())
    # cRT's features and one linear head, as CE's, whatever of it trains
    assert records["crt"].parameters == records["ce"].parameters > 62 * 64


@pytest.mark.parametrize("changed", [{"history": ()}, {"calibration": None}, {"members": ((0,) * 62,)}], ids=str)
def test_a_run_that_is_trained_again_must_agree_in_all_its_numbers(tmp_path, glyph_cache, changed):
    (spec,) = tiny.make(tmp_path, glyph_cache, "ce", *SMALL).runs.values()
    where = tiny.settings(tmp_path, glyph_cache)
    got = runs.execute(spec, {}, where, lambda event: None)
    record.write(got.model_copy(update=changed), where.record_path(spec).parent)
    again = runs.execute(spec, {}, where, lambda event: None)
    assert again.status == "failed" and "contradicts" in again.reason


# test_record.py, into DAMAGES


@pytest.mark.parametrize(
    "changes",
    [
        {"right": [11, 5, 1]},  # of 10
        {"members": [[1, 2]]},  # of three classes
        {"per_image": {"experts_used": {"mean": 1.0, "by_class": [1.0]}}},
        {"calibration": {"count": [30], "right": [15], "confidence": [18.0, 0.0]}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_figures_that_cannot_be_are_refused(tmp_path, changes):
    path = record.write(make(), tmp_path)
    path.write_text(sealed(json.loads(path.read_text()) | changes))
    with pytest.raises(LtbenchError, match="not a record"):
        record.read(path)


# test_subset.py, test_listed.py, test_glyphs.py: no key tells of these


def test_images_are_normalised_as_in_the_official_codes():
    cifar = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    norms = {name: tuple(norm) for name, (_, norm) in dataset._SETS.items()}
    assert norms == {"cifar10_lt": cifar, "cifar100_lt": cifar, "glyphs_lt": ((0.5,) * 3, (0.25,) * 3)}
    assert {name: (facts.mean, facts.std) for name, facts in FACTS.items()} == {
        "imagenet_lt": imagenet, "places_lt": imagenet, "inat18": ((0.466, 0.471, 0.380), (0.195, 0.194, 0.192)),
    }  # fmt: skip


# test_own_folder.py, test_glyphs.py


def test_of_fewer_classes_the_test_images_are_those_classes_alone(home):  # noqa: F811
    assert opened(home, classes=2).test.label.tolist() == [0, 0, 1, 1]


def test_of_fewer_classes_of_a_pool_too(glyph_cache):
    data = open_dataset(DataSpec("glyphs_lt", 3.0, head=9, classes=20), glyph_cache)
    whole = open_dataset(DataSpec("glyphs_lt", 3.0, head=9), glyph_cache)
    assert data.test.label.unique().tolist() == list(range(20)) and data.test.classes == 20
    assert torch.equal(data.test.image, whole.test.image[: len(data.test)])
    assert data.fingerprints["test"] != whole.fingerprints["test"]


# test_resampling.py


def test_of_several_thresholds_that_part_the_groups_the_lowest_is_taken():
    # 4 > t >= 2 > ... : t may be 2 or 3; 1 < t <= 2
    assert nearest_groups([4, 2, 1], [200, 60, 5], (100, 20)) == (2, 2)


# test_backbones.py


def test_a_width_that_leaves_part_of_a_channel_is_rounded_down():
    # 0.9 * 32 = 28.8, 0.9 * 64 = 57.6
    _, (branch,), dim = backbones.build("resnet8").split(1, width=0.9)
    assert (branch[0].conv1.out_channels, dim) == (28, 57)
