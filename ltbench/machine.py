"""What a run runs on: the device and its processes, and the facts about them that a record's volatile part keeps."""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import json
import os
import platform
import re
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list

from . import world

T = TypeVar("T")


def make_accelerator(device: str, precision: str) -> Accelerator:
    """Accelerate for this device and precision; runs of one process may differ in both.

    The recipe says how a run is trained, and no variable of the environment: one could have Accelerate divide the loss
    or compile the method, under the same key.
    """
    for name in [name for name in os.environ if name.startswith("ACCELERATE_")]:
        del os.environ[name]
    AcceleratorState._reset_state(reset_partial_state=True)
    if device == "cuda":
        torch.backends.cudnn.deterministic = True  # a resumed run equals an uninterrupted one to the bit
        # fp32 is fp32, also where the environment says otherwise, as in NVIDIA's images
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return Accelerator(cpu=device == "cpu", mixed_precision="bf16" if precision == "bf16" else "no")


def agreed(value: T) -> T:
    """What the first of the processes that train together has; the others wait for it."""
    box = [value]
    broadcast_object_list(box)
    return box[0]


def origin(device: str) -> dict[str, Any]:
    """What the bits of a training depend on besides its key; device is cpu, cuda or mps."""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else f"{device}: {cpu_name()}",
        "threads": torch.get_num_threads(),
        "world_size": world.size(),
        "torch": versions()["torch"],
        **dict(zip(("commit", "clean"), commit(), strict=True)),
    }


def facts(device: str) -> dict[str, Any]:
    """What a record's volatile part says of the machine: cpu, cuda or mps is what the run was on."""
    cuda = device == "cuda"
    return {
        "peak_memory_mb": torch.cuda.max_memory_allocated() / 2**20 if cuda else peak_memory_mb(),
        "host": platform.node(),
        "versions": versions(),
        **{name: value for name, value in origin(device).items() if name != "torch"},
    }


def forget_peak() -> None:
    """What this process has held before is no part of the next run's peak; Linux alone can forget it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_mb() -> float:
    """The most memory that this process has held since forget_peak(), in MiB; where there is none, since it began."""
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        if found := re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE):
            return int(found[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


@cache
def cpu_name() -> str:
    """The processor: its name, family and model, and the arithmetic that torch finds on it.

    Rented machines of one name ("AMD EPYC") differ in the others, and so in the bits of a training.
    """
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        first, _, _ = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")
        found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    return _named(found, torch.backends.cpu.get_cpu_capability())


def _named(found: dict[str, str], vectors: str) -> str:
    """found: /proc/cpuinfo of one core, where there is one; vectors: what torch's own kernels use."""
    parts = [found.get("model name") or platform.processor() or platform.machine()]
    parts += [f"{part} {found[name]}" for part, name in (("family", "cpu family"), ("model", "model")) if name in found]
    flags = found.get("flags", "").split()
    return " ".join([*parts, "with", vectors, *(name for name in ("avx512_bf16", "amx_tile") if name in flags)])


def versions() -> dict[str, str]:
    """What could change a run's bits."""
    from importlib.metadata import version

    packages = ("torch", "timm", "accelerate", "ltbench")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


@cache
def commit() -> tuple[str, bool]:
    """(commit that this code is of, whether it is that unchanged, results/ aside); ("", False) where nothing says.

    A checkout's own, or what pip has noted of an installation straight from a repository.
    """
    return _of_checkout() or _of_installation() or ("", False)


def _of_checkout() -> tuple[str, bool] | None:
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, encoding="utf-8", check=True
        ).stdout.strip()

    try:
        top = git("rev-parse", "--show-toplevel")
        if Path(top) != here.parent:
            return None
        return git("rev-parse", "HEAD"), not git("status", "--porcelain", "--", f"{top}", f":(exclude){top}/results")
    except (OSError, subprocess.CalledProcessError):
        return None


def _of_installation() -> tuple[str, bool] | None:
    """From direct_url.json and RECORD, which hold the commit and every file's SHA-256 (PEP 610, PEP 376)."""
    from importlib.metadata import distribution

    package, here = distribution("ltbench"), Path(__file__).resolve().parent
    if Path(str(package.locate_file("ltbench"))).resolve() != here:  # an installation beside the code that runs
        return None
    noted = json.loads(package.read_text("direct_url.json") or "{}").get("vcs_info", {}).get("commit_id")
    if not noted:
        return None
    lines = csv.reader((package.read_text("RECORD") or "").splitlines())
    recorded = {name: digest for name, digest, *_ in lines if name.startswith("ltbench/") and not _compiled(name)}
    files = [path for path in here.rglob("*") if path.is_file() and not _compiled(path.name)]
    return noted, recorded == {path.relative_to(here.parent).as_posix(): _digest(path) for path in files}


def _compiled(name: str) -> bool:
    return name.endswith(".pyc")


def _digest(path: Path) -> str:
    """As RECORD has it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
