"""How many CPU cores this process may use: what `--jobs`, readers of files and checks of images go by."""

from __future__ import annotations

import math
import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container's control group (version 2): "microseconds period" or "max ..."


def cores() -> int:
    """The cores it is bound to, or fewer where its container has a quota: a rented slice shows them all."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(bound, _quota() or bound)


def _quota() -> int | None:
    """The container's quota in cores, a begun one counted as one; None where there is none."""
    try:
        share, period = QUOTA.read_text(encoding="ascii").split()
        return None if share == "max" else max(1, math.ceil(int(share) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return None
