"""Predictions, counts per class, calibration bins, and multiply-adds."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from test_optimizer import SGD
from torch import nn

from ltbench import Method, Prediction, Problem, contract, labels, machine
from ltbench.data.memory import Images, Norm
from ltbench.errors import LtbenchError
from ltbench.evaluate import Evaluation, dense_macs, evaluate
from ltbench.scores import BINS

FEW = settings(deadline=None, max_examples=40)
CLASSES, SIZE = 5, 4
NORM = Norm((0.5,) * 3, (0.25,) * 3)
GONE = {"per_image": {}}


def evaluation(logits, label, per_image=None, members=None) -> Evaluation:
    return Evaluation(logits, label, per_image or {}, members, 1.0, 1.0)


def of_confidence(*shares: float) -> torch.Tensor:
    """Logits of two classes, in fp64, that give the first class these shares."""
    p = torch.tensor(shares, dtype=torch.float64)
    return torch.stack([p, 1 - p], 1).log()


@st.composite
def outcomes(draw):
    """Logits [M, 5], labels [M]."""
    size, seed = draw(st.integers(1, 60)), draw(st.integers(0, 2**32 - 1))
    random = torch.Generator().manual_seed(seed)
    logits = draw(st.sampled_from([0.0, 1.0, 30.0])) * torch.randn(size, CLASSES, generator=random)
    return logits, torch.randint(0, CLASSES, (size,), generator=random)


# Counts


@FEW
@given(outcomes())
def test_counts_are_those_of_a_loop(outcome):
    logits, label = outcome
    found = evaluation(logits, label).counts(CLASSES)
    right, total = [0] * CLASSES, [0] * CLASSES
    for row, truth in zip(logits.numpy(), label.tolist(), strict=True):
        total[truth] += 1
        right[truth] += int(np.argmax(row) == truth)
    assert (found["right"], found["total"]) == (right, total)


@FEW
@given(outcomes())
def test_members_are_counted_each_by_itself(outcome):
    logits, label = outcome
    shifted = torch.stack([logits.argmax(1), (logits.argmax(1) + 1) % CLASSES], dim=1)
    found = evaluation(logits, label, members=shifted).counts(CLASSES)
    expected = [[int(((row == label) & (label == c)).sum()) for c in range(CLASSES)] for row in shifted.T]
    assert found["members"] == expected
    assert found["members"][0] == found["right"]


def test_without_experts_there_are_no_members():
    assert evaluation(torch.eye(2), torch.tensor([0, 1])).counts(2)["members"] == []


def test_per_image_figures_are_means_over_all_and_per_class():
    used = torch.tensor([1.0, 2.0, 3.0, 3.0])
    found = evaluation(torch.zeros(4, 3), torch.tensor([0, 0, 2, 2]), {"used": used}).counts(3)
    # (1 + 2 + 3 + 3) / 4; (1 + 2) / 2, no image, (3 + 3) / 2
    assert found["per_image"] == {"used": {"mean": 2.25, "by_class": [1.5, 0.0, 3.0]}}


# Calibration


def bins_of(logits, label=None):
    label = torch.zeros(len(logits), dtype=torch.int64) if label is None else label
    return evaluation(logits, label).counts(logits.shape[1])["calibration"].model_dump(mode="json")


def test_a_bin_holds_its_upper_edge():
    # five equal logits: 1/5 is the upper edge of bin 2, counted from 0
    assert bins_of(torch.zeros(1, 5, dtype=torch.float64))["count"][2] == 1


def test_confidences_beside_an_edge_fall_on_their_side_of_it():
    # 9/15 is the upper edge of bin 8, counted from 0; a little more belongs to bin 9, and 1 to the last
    eps = 1e-9
    count = bins_of(of_confidence(0.6 - eps, 0.6 + eps, 2 / 3 - eps, 2 / 3 + eps, 1.0))["count"]
    assert [i for i, n in enumerate(count) if n] == [8, 9, 10, 14]
    assert (count[8], count[9], count[10], count[14]) == (1, 2, 1, 1)


def test_equal_logits_of_many_classes_fall_into_the_first_bin():
    # confidence 1 / 64, far below 1 / 15
    bins = bins_of(torch.zeros(3, 64))
    assert bins["count"] == [3] + [0] * (BINS - 1)
    assert bins["confidence"][0] == 3 / 64


def test_bins_by_hand():
    # confidences 0.62, 0.64, 0.9: bins 9, 9 and 13 (0.9 * 15 = 13.5); the second image is of the other class
    bins = bins_of(of_confidence(0.62, 0.64, 0.9), torch.tensor([0, 1, 0]))
    assert (bins["count"][9], bins["right"][9], bins["confidence"][9]) == (2, 1, pytest.approx(1.26))
    assert (bins["count"][13], bins["right"][13], bins["confidence"][13]) == (1, 1, pytest.approx(0.9))


@FEW
@given(outcomes())
def test_bins_are_those_of_exact_fractions(outcome):
    logits, label = outcome
    found = bins_of(logits, label)
    confidence, predicted = logits.softmax(1).max(1)
    count, right, summed = [0] * BINS, [0] * BINS, [0.0] * BINS
    for p, c, truth in zip(confidence.tolist(), predicted.tolist(), label.tolist(), strict=True):
        i = next(i for i in range(BINS) if Fraction(p) <= Fraction(i + 1, BINS) or i == BINS - 1)
        count[i] += 1
        right[i] += c == truth
        summed[i] += p
    assert (found["count"], found["right"]) == (count, right)
    assert found["confidence"] == pytest.approx(summed)


# The whole of it, on a toy


class Toy(Method):
    """A linear map of the pixels, whose second half is skipped where the first image value is negative."""

    def __init__(self, problem):
        super().__init__(problem)
        self.head = nn.Linear(3 * SIZE * SIZE, problem.classes)
        self.more = nn.Linear(3 * SIZE * SIZE, problem.classes)
        self.norm = nn.BatchNorm2d(3)

    def predict(self, image):
        flat = self.norm(image).flatten(1)
        going = flat[:, 0] >= 0
        logits = self.head(flat)
        extra = torch.zeros_like(logits)
        extra[going] = self.more(flat[going])
        return Prediction(logits + extra, {"going": going.float()}, torch.stack([logits, extra]))

    def dense(self, image):
        flat = self.norm(image).flatten(1)
        return Prediction(self.head(flat) + self.more(flat))


@pytest.fixture
def toy() -> Method:
    torch.manual_seed(0)
    return Toy(Problem(torch.ones(CLASSES), SIZE, lambda: None))


@pytest.fixture
def images() -> Images:
    """300 images: three batches, the last of them short; in class order."""
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (300, SIZE, SIZE, 3), generator=random, dtype=torch.uint8)
    pixels[0] = 0  # the image that is taken for counting without skipping: one for which Toy skips a part
    return Images(pixels, torch.arange(CLASSES).repeat_interleave(60), CLASSES, NORM)


def test_every_test_image_is_predicted_once_in_order(toy, images):
    found = evaluate(toy, images, Accelerator(cpu=True))
    with torch.no_grad():
        whole = toy.eval().predict(images.batch(torch.arange(300)).image)
    torch.testing.assert_close(found.logits, whole.logits)
    assert torch.equal(found.label, images.label)
    assert torch.equal(found.per_image["going"], whole.per_image["going"])
    assert torch.equal(found.members, whole.members.argmax(2).T)
    assert torch.equal(found.predicted, whole.logits.argmax(1))


def test_counts_of_the_toy_are_those_of_numpy(toy, images):
    found = evaluate(toy, images, Accelerator(cpu=True))
    counts, hit = found.counts(CLASSES), found.logits.numpy().argmax(1) == images.label.numpy()
    assert counts["right"] == hit.reshape(CLASSES, 60).sum(1).tolist()
    assert counts["total"] == [60] * CLASSES
    going = found.per_image["going"].numpy()
    assert counts["per_image"]["going"]["by_class"] == pytest.approx(going.reshape(CLASSES, 60).mean(1).tolist())


def test_multiply_adds_are_counted_dense_and_as_used(toy, images):
    found = evaluate(toy, images, Accelerator(cpu=True))
    # a linear layer takes 48 * 5 an image; the second one runs on a part of them
    assert found.macs == dense_macs(toy, images, Accelerator(cpu=True)) == 2 * 48 * CLASSES
    share = found.per_image["going"].mean().item()
    assert 0.2 < share < 0.8
    assert found.macs_used == pytest.approx((1 + share) * 48 * CLASSES)


def test_evaluation_changes_no_state_and_leaves_no_gradient(toy, images):
    toy.train()
    before = {name: value.clone() for name, value in toy.state_dict().items()}
    found = evaluate(toy, images, Accelerator(cpu=True))
    assert all(torch.equal(value, before[name]) for name, value in toy.state_dict().items())
    assert not found.logits.requires_grad
    assert not toy.training


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda p: p._replace(logits=p.logits.repeat(1, 2)), r"logits \(128, 10\), not \(128, 5\)"),
        (lambda p: p._replace(members=p.members[:, :, :3]), r"members \(2, 128, 3\), not \(experts, 128, 5\)"),
        (lambda p: p._replace(per_image={"asked": p.logits}), "per_image 'asked' that is not one number per image"),
        (lambda p: p.logits, "a Tensor, not a Prediction"),
    ],
)
def test_a_prediction_of_another_shape_is_no_result(toy, images, monkeypatch, changed, said):
    right = toy.predict
    monkeypatch.setattr(toy, "predict", lambda image: changed(right(image)))
    with pytest.raises(LtbenchError, match=rf"Toy.predict\(\) gives {said}"):
        evaluate(toy, images, Accelerator(cpu=True))


def test_an_answer_that_hangs_on_the_other_images_of_its_batch_is_no_result(toy, images, monkeypatch):
    """Estimating the classes' shares from each test batch, which holds few of them, took CE from 30 to 66 per cent."""
    right = toy.predict
    assert (images.label.diff() >= 0).all(), "class after class"

    def predict(image):
        found = right(image)
        return found._replace(logits=found.logits - found.logits.mean(0))

    monkeypatch.setattr(toy, "predict", predict)
    with pytest.raises(LtbenchError, match=r"Toy.predict\(\) answers an image otherwise beside images of other cl"):
        evaluate(toy, images, Accelerator(cpu=True))


@pytest.mark.parametrize(("precision", "noise"), [("fp32", 1e-4), ("bf16", 0.02)])
def test_rounding_and_a_router_that_wavers_are_let_be(toy, images, monkeypatch, precision, noise):
    right, calls = toy.predict, []

    def predict(image):
        found = right(image)
        calls.append(len(image))
        found.logits[:5] += 9.0 * (len(image) == 16)
        return found._replace(logits=found.logits * (1 + noise * (len(calls) % 2)))

    monkeypatch.setattr(toy, "predict", predict)
    accelerator = machine.make_accelerator("cpu", precision)
    evaluate(toy, images, accelerator)
    assert 16 in calls
    machine.make_accelerator("cpu", "fp32")


def test_figures_that_only_some_batches_have_are_no_result(toy, images, monkeypatch):
    right = toy.predict
    monkeypatch.setattr(toy, "predict", lambda image: right(image)._replace(**({} if len(image) > 99 else GONE)))
    assert len(images) % 128 < 99, "the last batch is another"
    with pytest.raises(LtbenchError, match=r"Toy.predict\(\) gives other figures of one batch than of another"):
        evaluate(toy, images, Accelerator(cpu=True))


def test_an_expert_that_is_not_finite_predicts_no_class(toy, images, monkeypatch):
    right = toy.predict

    def predict(image):
        found = right(image)
        found.members[1] = float("nan")
        return found

    monkeypatch.setattr(toy, "predict", predict)
    found = evaluate(toy, images, Accelerator(cpu=True))
    assert found.members[:, 1].eq(-1).all() and not sum(found.counts(CLASSES)["members"][1])


def test_a_run_is_computed_in_the_precision_of_its_recipe():
    on = contract.Trials(labels.parse("ce"))
    for precision, kind in (("bf16", torch.bfloat16), ("fp32", torch.float32)):  # the latter is left to other tests
        accelerator = machine.make_accelerator("cpu", precision)
        on.accelerator, seen = accelerator, {"fit": set(), "evaluate": set()}
        method = on.fresh()
        for what in seen:
            hook = method.backbone.register_forward_hook(
                lambda *given, what=what, seen=seen: seen[what].add(given[2].dtype)
            )
            on.fit(method, SGD.with_(epochs=1)) if what == "fit" else evaluate(method, on.test, accelerator)
            hook.remove()
        assert seen == {"fit": {kind}, "evaluate": {kind}}
