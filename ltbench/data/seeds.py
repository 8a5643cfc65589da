"""Stateless randomness: every draw is a function of where it stands, so a resumed run draws as the killed one."""

import hashlib

import torch


def seed_of(*place: object) -> int:
    """A 63-bit seed for a place such as (run seed, "order", stream, epoch)."""
    return int.from_bytes(hashlib.blake2b(repr(place).encode(), digest_size=8).digest(), "little") >> 1


def generator(*place: object) -> torch.Generator:
    """A CPU generator seeded for that place; draws are made on the CPU so that all devices see the same ones."""
    return torch.Generator().manual_seed(seed_of(*place))
