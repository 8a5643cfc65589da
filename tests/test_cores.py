"""How many cores count as ours."""

from __future__ import annotations

import os

import pytest

from ltbench import cores


@pytest.mark.parametrize(
    ("quota", "ours"),
    [
        (None, 8),  # no container, or a system without control groups
        ("max 100000\n", 8),
        ("400000 100000\n", 4),
        ("150000 100000\n", 2),  # a core and a half keeps two busy part of the time
        ("5000 100000\n", 1),
        ("6400000 100000\n", 8),  # more than it is bound to
        ("nonsense\n", 8),
        ("100000 0x\n", 8),
    ],
)
def test_a_containers_quota_is_heeded(tmp_path, monkeypatch, quota, ours):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "QUOTA", tmp_path / "cpu.max")
    if quota is not None:
        cores.QUOTA.write_text(quota)
    assert cores.cores() == ours


def test_there_is_at_least_one():
    assert 1 <= cores.cores() <= (os.cpu_count() or 1)
