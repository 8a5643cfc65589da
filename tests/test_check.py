"""How `ltbench check` tells what fails: by line and situation, in a sentence, once."""

import re

import pytest
import torch
from broken import broken

from ltbench import Ref, registry
from ltbench.contract import TESTS, check

pytestmark = pytest.mark.usefixtures("forget_broken_methods")


def test_options_that_do_not_go_together_are_a_failed_result():
    from ltbench import contract, labels

    (result,) = contract.check(labels.parse("ride_ea(base=ride(experts=1))"))
    assert not result.passed and "nothing to route" in result.detail


OWN = '''\
"""A method of one's own."""

from ltbench import Classifier, losses, make_heads, register


@register("mine")
class Mine(Classifier):
    """Mine."""

    def __init__(self, problem):
        super().__init__(problem)
        self.backbone = problem.backbone()
        self.heads = make_heads("linear", self.backbone.dim, problem.classes)

    def loss(self, t, batch):
        if t.after(0.5) and batch.target.ndim == 2:
            return {"ce": losses.cross_entropy(self.logits(batch.image), batch.target[:, 0, 0])}
        if t.after(0.5) and t.epochs == 5:
            return {"ce": losses.cross_entropy(self.logits(batch.label), batch.target)}
        return {"ce": losses.cross_entropy(self.logits(batch.image), batch.target)}
'''


def test_what_a_method_raises_is_told_with_its_line_and_situation(tmp_path, own_registry):
    (tmp_path / "own.py").write_text(OWN)
    registry.load_plugin(str(tmp_path / "own.py"))
    failed = {result.name: result.detail for result in check(Ref("mine")) if not result.passed}
    assert set(failed) == {"finite_loss", "round_trip", "seeded", "resumed"}
    assert failed["finite_loss"].startswith(": IndexError: too many indices for tensor of dimension 2 (own.py:17) ")
    assert failed["finite_loss"].endswith(" in the last epoch, with mixed labels")
    assert failed["seeded"] == ": as round_trip"
    assert failed["round_trip"].endswith(" (own.py:19)"), "its own line, though it is raised in ltbench's and torch's"


def test_a_message_of_several_lines_is_told_by_its_first():
    def loss(self, t, batch):
        raise RuntimeError("boom\nand more")

    broken("boom", loss=loss)
    told = {result.name: result.detail for result in check(Ref("broken_boom"))}
    assert told["finite_loss"].startswith(": RuntimeError: boom (test_check.py:")
    assert not any("\n" in detail for detail in told.values())


def test_a_wrong_shape_is_told_without_torchs_own_traceback(capfd):
    def loss(self, t, batch):
        return {"ce": (self.logits(batch.image) * torch.ones(7, device=batch.image.device)).sum()}

    with pytest.raises(RuntimeError, match="must match"):
        TESTS["finite_loss"](broken("shape", loss=loss))
    assert TESTS["recorded"](broken("shape", loss=loss)).startswith("no; ")
    assert "Traceback" not in capfd.readouterr().err


def test_a_method_that_starts_from_itself_is_told_so():
    ce = registry.get("ce")
    needs = classmethod(lambda cls, options: {"stage1": Ref("broken_circle")})
    registry.register("broken_circle")(type("BrokenCircle", (ce,), {"__doc__": "Broken.", "needs": needs}))
    (result,) = check(Ref("broken_circle"))
    assert (result.name, result.passed, result.detail) == ("parents", False, ": broken_circle starts from itself")


def test_what_a_parent_raises_is_told_with_its_line(monkeypatch):
    def loss(self, t, batch):
        raise KeyError("gone")

    monkeypatch.setattr(registry.get("ce"), "loss", loss)
    broken("other", loss=loss)  # this file is a method's
    (result,) = check(Ref("crt"))
    assert re.fullmatch(r": KeyError: 'gone' \(test_check\.py:\d+\)", result.detail)


def test_a_broken_promise_is_told_with_its_situation():
    def loss(self, t, batch):
        return {"ce": self.logits(batch.image).sum() * (float("nan") if batch.target.ndim == 2 else 1.0)}

    broken("mixed", loss=loss)
    details = {result.name: result.detail for result in check(Ref("broken_mixed"))}
    assert details["finite_loss"] == ": ce not finite in the first epoch, with mixed labels"


def test_what_fails_several_tests_is_told_once(monkeypatch):
    def init(self, problem, *, head="linear"):
        raise ValueError("no such layer")

    broken("twice")
    monkeypatch.setattr(registry.get("broken_twice"), "__init__", init)
    details = [result.detail for result in check(Ref("broken_twice")) if not result.passed]
    whole = [detail for detail in details if "no such layer" in detail]
    assert len(whole) == len(set(whole)) == 2, "once in a situation, which is named, and once in none"
    assert len(details) > 6 and {detail for detail in details if detail not in whole} == {": as plans"}


def test_an_error_of_several_lines_is_told_with_its_cause():
    """What torch says of weights that do not fit ends its first line with a colon."""

    def begin(self, parents, data):
        self.load_state_dict({"strange": torch.zeros(1)})

    (result,) = [r for r in check(broken("loading", begin=begin).ref) if r.name == "finite_loss"]
    assert not result.passed and 'state_dict for Brokenloading: Missing key(s) in state_dict: "' in result.detail
