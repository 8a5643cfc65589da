"""Checkpoints: written beside, named by a manifest of hashes, renamed into place; the last two are kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import safetensors
from safetensors.torch import load_file, save_file
from torch import Tensor

from .record import write_atomically
from .rescore import MANIFEST, stored
from .trainer import Progress

KEPT = 2
TENSORS, STATE = "tensors.safetensors", "state.json"


class DamagedError(Exception):
    """A checkpoint whose files are not those that its manifest names."""


def save(folder: Path, key: str, progress: Progress, tensors: dict[str, Tensor]) -> Path:
    """Write folder/step-<n> for the run of that key, then drop all but the last two. Raises OSError."""
    final = folder / f"step-{progress.step:08d}"
    work = folder / f".{final.name}.{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        save_tensors(work / TENSORS, tensors)
        state = {k: v for k, v in asdict(progress).items() if k != "sums"}
        write_atomically(work / STATE, json.dumps(state))
        hashes = {name: _sha256(work / name) for name in (TENSORS, STATE)}
        write_atomically(work / MANIFEST, json.dumps({"key": key, "sha256": hashes}))
        if final.exists():
            shutil.rmtree(final)
        work.rename(final)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    _flush_folder(folder)
    for old in _found(folder)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
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
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if manifest["key"] != key:
            raise DamagedError("its manifest is another run's")
        for name in (TENSORS, STATE):
            if _sha256(path / name) != manifest["sha256"][name]:
                raise DamagedError(f"{name} contradicts its sha256")
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        tensors = load_file(path / TENSORS)
        sums = {name.removeprefix("sums."): value for name, value in tensors.items() if name.startswith("sums.")}
        return Progress(sums=sums, **state), tensors
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise DamagedError(f"{type(error).__name__}: {error}") from None


def part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors below a name, without it."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors, flushed to the disk. Raises OSError with the path where there is no room."""
    try:
        # cloned: safetensors refuses tensors that share their memory
        save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, path)
    except safetensors.SafetensorError as error:  # how safetensors tells of a full disk
        raise OSError(f"{path}: {error}") from error
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _found(folder: Path) -> list[Path]:
    """The checkpoints in folder, newest first."""
    return sorted(folder.glob("step-*"), reverse=True)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can flush a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# What a finished run leaves: its weights for its children, its logits for re-scoring


def save_final(folder: Path, key: str, files: dict[str, dict[str, Tensor]]) -> None:
    """Write name.safetensors for each of files, then a manifest of their hashes. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    names = [f"{name}.safetensors" for name in files]
    for name, tensors in zip(names, files.values(), strict=True):
        save_tensors(folder / name, tensors)
    hashes = {name: _sha256(folder / name) for name in names}
    write_atomically(folder / MANIFEST, json.dumps({"key": key, "sha256": hashes}))


def drop_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a run that has its record."""
    for path in (*_found(folder), *folder.glob(".step-*")):  # the latter: killed while they were written
        shutil.rmtree(path, ignore_errors=True)


def forget_final(folder: Path) -> None:
    """Make the weights and logits of a finished run count as absent."""
    (folder / MANIFEST).unlink(missing_ok=True)


def load_final(folder: Path, key: str, name: str) -> dict[str, Tensor] | None:
    """The tensors of name.safetensors of that finished run; None where they are absent, damaged or another run's."""
    path = stored(folder, key, f"{name}.safetensors")
    try:
        return load_file(path) if path else None
    except (OSError, safetensors.SafetensorError):
        return None
