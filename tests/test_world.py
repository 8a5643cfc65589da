"""What a launcher has told a process."""

from __future__ import annotations

import os

import pytest

from ltbench import machine, world
from ltbench.errors import LtbenchError


def test_one_process_is_the_first_of_one_unless_it_is_told_otherwise(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert (world.size(), world.rank(), world.is_first()) == (1, 0, True)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    assert (world.size(), world.rank(), world.is_first()) == (4, 3, False)


def test_a_launcher_of_one_process_is_forgotten(monkeypatch):
    """Accelerate would wrap the method as for several, and take GPU LOCAL_RANK in each of the runs at once."""
    told = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in (told | {"PMI_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}).items():
        monkeypatch.setenv(name, value)
    world.train_alone()
    assert not {"LOCAL_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", *told} & set(os.environ)
    accelerator = machine.make_accelerator("cpu", "fp32")
    assert accelerator.num_processes == 1 and accelerator.distributed_type.value == "NO"


def test_no_variable_changes_how_a_run_is_trained(monkeypatch):
    """ACCELERATE_GRADIENT_ACCUMULATION_STEPS=4 divided the loss by four, under the same key."""
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "AOT_EAGER")
    accelerator = machine.make_accelerator("cpu", "fp32")
    assert accelerator.gradient_accumulation_steps == 1 and accelerator.state.dynamo_plugin.backend.value == "NO"


@pytest.mark.parametrize(
    ("name", "text"), [("WORLD_SIZE", ""), ("WORLD_SIZE", "0"), ("WORLD_SIZE", "x"), ("RANK", "-1")]
)
def test_what_is_no_number_of_processes_is_told(monkeypatch, name, text):
    monkeypatch.setenv(name, text)
    with pytest.raises(LtbenchError, match=rf"^\${name} must be a whole number from [01], got '{text}'"):
        (world.size if name == "WORLD_SIZE" else world.rank)()
