"""The processes that train each run together: how many they are, and which of them this one is. Torch-free."""

from __future__ import annotations

import os

from .errors import LtbenchError

# what torchrun, srun and mpirun tell the processes that they start
_TOLD = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
    *(f"PMI_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")),
    *(f"OMPI_COMM_WORLD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")),
    *(f"MV2_COMM_WORLD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")),
    "MPI_LOCALRANKID", "MPI_LOCALNRANKS",
)  # fmt: skip


def size() -> int:
    """How many processes train each run together. Raises LtbenchError where $WORLD_SIZE is no number."""
    return _number("WORLD_SIZE", 1, least=1)


def rank() -> int:
    """The number of this one, from 0. Raises LtbenchError where $RANK is no number."""
    return _number("RANK", 0, least=0)


def _number(name: str, default: int, least: int) -> int:
    text = os.environ.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and int(text) >= least):
        said = f"must be a whole number from {least}, got {text!r}"
        raise LtbenchError(f"${name} {said}; a launcher such as torchrun sets it, or nobody")
    return int(text)


def is_first() -> bool:
    """Whether this one claims runs, writes and speaks for all."""
    return rank() == 0


def train_alone() -> None:
    """Forget what a launcher has told this process, for it and those that it starts.

    A launcher of one process, or one that WORLD_SIZE does not tell of, would have Accelerate look for the others, and
    put every run of several at once on the same GPU.
    """
    for name in _TOLD:
        os.environ.pop(name, None)
