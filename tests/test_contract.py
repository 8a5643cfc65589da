"""The contract of DESIGN section 8 over every registered method, and over the variants that stress the interface."""

from functools import cache

import pytest
import torch
from accelerate.state import AcceleratorState, PartialState

from ltbench import Method, contract, labels, machine, registry

VARIANTS = [
    "crt(base=ride(loss=ce, head=linear))",
    "lws(base=ride(loss=ce, head=linear))",
    "tau_norm(base=ride(loss=ce, head=linear))",
    "ncm(base=ride)",
    "ride(experts=2, loss=focal, head=linear)",
    "ride(experts=3, joint=true)",
    "ride_ea(base=ride_distill)",
]
FURTHER = ["ce(head=cosine)", "crt(base=ldam_drw)", "lws(base=crt)", "ride(experts=1)", "ride(experts=3, diversity=0)"]


@pytest.fixture(scope="module")
def trials():
    """One set of trials per label: parents are trained once, not once for each test or label."""
    parents: dict[str, Method] = {}
    return cache(lambda label: contract.Trials(labels.parse(label), parents))


@pytest.mark.parametrize("test", contract.TESTS)
@pytest.mark.parametrize(
    "label", [*registry.available(), *VARIANTS, *(pytest.param(label, marks=pytest.mark.slow) for label in FURTHER)]
)
def test_contract(trials, label, test):
    assert not contract.TESTS[test](trials(label)), "built-in methods are kept without a remark"


def test_trials_are_made_on_the_cpu_whatever_ran_before(monkeypatch):
    """Accelerate keeps one state a process, and refuses cpu=True where a run on a GPU has left its own."""
    machine.make_accelerator("cpu", "fp32")
    for state in (PartialState, AcceleratorState):
        monkeypatch.setitem(state._shared_state, "device", torch.device("cuda"))
    assert contract.Trials(labels.parse("ce")).accelerator.device.type == "cpu"


def test_every_built_in_names_its_paper():
    without = [
        name for name, cls in registry.available().items() if not cls.paper and name != "ce"
    ]  # older than papers
    assert not without
