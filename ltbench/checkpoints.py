"""Checkpoints: written beside, named by a manifest of hashes, renamed into place; the last two are kept."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import safetensors
from safetensors.torch import load_file, save_file
from torch import Tensor

from . import manifest
from .atomic import flush_folder, write_atomically
from .manifest import MANIFEST, UNREADABLE, DamagedError
from .trainer import Progress

KEPT = 2
TENSORS, STATE = "tensors.safetensors", "state.json"
WEIGHTS = "weights.safetensors"  # of a finished run
_UNREADABLE = (*UNREADABLE, safetensors.SafetensorError)


def save(folder: Path, key: str, progress: Progress, tensors: dict[str, Tensor]) -> Path:
    """Write folder/step-<n> for the run of that key, then drop all but the last two. Raises OSError."""
    final = folder / name(progress.step)
    work = folder / f".{final.name}.{os.getpid()}"
    _drop_stumps(folder)
    try:
        work.mkdir(parents=True)
        save_tensors(work / TENSORS, tensors)
        state = {k: v for k, v in asdict(progress).items() if k != "sums"}
        write_atomically(work / STATE, json.dumps(state))
        manifest.write(work, key, (TENSORS, STATE))
        if final.exists():
            shutil.rmtree(final)
        work.rename(final)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    flush_folder(folder)
    here = _found(folder)
    later = here[: here.index(final)]  # damaged ones, or the run would have gone on from them
    for other in (*later, *here[len(later) + KEPT :]):
        shutil.rmtree(other, ignore_errors=True)
    return final


def load(folder: Path, key: str) -> tuple[Progress, dict[str, Tensor], list[str]] | None:
    """The newest whole checkpoint of that run: progress, tensors, and a word on each damaged one; None without any."""
    complaints: list[str] = []
    for path in _found(folder):
        try:
            progress, tensors = _load_one(path, key)
            return progress, tensors, complaints
        except DamagedError as error:
            complaints.append(f"checkpoint {path.name} is damaged ({error})")
    return (Progress(), {}, complaints) if complaints else None


def _load_one(path: Path, key: str) -> tuple[Progress, dict[str, Tensor]]:
    manifest.verify(path, key, (TENSORS, STATE))
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        if path.name != name(state["step"]):
            raise DamagedError("it bears the name of another step")
        tensors = load_file(path / TENSORS)
        return Progress(sums=part(tensors, "sums"), **state), tensors
    except _UNREADABLE as error:
        raise DamagedError(f"{type(error).__name__}: {error}") from None


def part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors below a name, without it."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors, flushed to the disk. Raises OSError that says what was needed and what was free."""
    try:
        # copies: safetensors refuses tensors that share their memory
        save_file({name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}, path)
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    except (safetensors.SafetensorError, OSError) as error:  # the former is how safetensors tells of a full disk
        need = sum(value.nbytes for value in tensors.values())
        raise no_room(path, need, error) from error
    os.chmod(path, 0o644)  # safetensors makes it private; runs may be shared


def no_room(path: Path, need: int, error: Exception) -> OSError:
    """The error of a file of `need` bytes that could not be written."""
    said = re.search(r"os error (\d+)", str(error))
    number = getattr(error, "errno", None) or (int(said[1]) if said else errno.EIO)
    free = shutil.disk_usage(path.parent).free
    text = f"{os.strerror(number)} ({need / 2**20:.1f} MiB needed, {free / 2**20:.1f} MiB free)"
    return OSError(number, text, str(path))


def name(step: int) -> str:
    """The folder of a checkpoint."""
    return f"step-{step:08d}"


def _drop_stumps(folder: Path) -> None:
    """Remove what a kill left of a checkpoint that was being written."""
    for path in folder.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)


def steps(folder: Path) -> list[int]:
    """The steps of which a run's folder holds a checkpoint, whole or not, newest first."""
    return [int(path.name[5:]) for path in _found(folder) if path.name[5:].isdecimal()]


def _found(folder: Path) -> list[Path]:
    """The checkpoints in folder, newest first."""
    return sorted(folder.glob("step-*"), reverse=True)


# What a finished run leaves: its weights for its children, its logits for re-scoring


def save_final(folder: Path, key: str, files: dict[str, dict[str, Tensor]], numbers: str = "") -> None:
    """Write name.safetensors for each of files, then a manifest of their hashes. Raises OSError.

    numbers: Record.numbers of the run; it may be trained again, and what is left is then another training's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    names = [f"{name}.safetensors" for name in files]
    for name, tensors in zip(names, files.values(), strict=True):
        save_tensors(folder / name, tensors)
    manifest.write(folder, key, names, numbers)


def drop_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a run that has its record."""
    _drop_stumps(folder)
    for path in _found(folder):
        shutil.rmtree(path, ignore_errors=True)


def forget_final(folder: Path) -> None:
    """Make the weights and logits of a finished run count as absent."""
    (folder / MANIFEST).unlink(missing_ok=True)


def load_final(folder: Path, key: str, name: str, numbers: str = "") -> dict[str, Tensor] | None:
    """The tensors of name.safetensors of that finished run; None where they are absent, damaged or another run's.

    numbers: Record.numbers of the run; what a training of other numbers has left is as absent.
    """
    try:
        manifest.verify(folder, key, [f"{name}.safetensors"], {numbers} if numbers else set())
        return load_file(folder / f"{name}.safetensors")
    except (DamagedError, *_UNREADABLE):
        return None
