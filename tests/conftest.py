"""What all tests share: one thread, and where the real data lie."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start, too

import plans
import pytest
import simulated_records
import small_lists
import torch
import victims
import warm

from ltbench import decompose, live, registry
from ltbench.analysis import AnalysedBlock, analyze
from ltbench.data import glyphs


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """One thread: the order of floating-point sums, and so the numbers, do not hang on the machine's cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def cifar100() -> Path:
    """The folder that holds cifar-100-python/."""
    folder = os.environ.get("LTBENCH_DATA")
    if not folder:
        pytest.skip("needs CIFAR-100: $LTBENCH_DATA is not set")
    if not (Path(folder) / "cifar-100-python").is_dir():
        pytest.skip(f"needs CIFAR-100: {folder} ($LTBENCH_DATA) holds no cifar-100-python/")
    return Path(folder)


@pytest.fixture(scope="session")
def lists() -> Path:
    """The folder of the field's lists, gzipped, and of the published counts per class."""
    folder = Path(os.environ.get("LTBENCH_DATA", ""), "lists")
    if not (os.environ.get("LTBENCH_DATA") and (folder / "Places_LT_train.txt.gz").is_file()):
        pytest.skip("needs the field's lists: $LTBENCH_DATA is not set, or holds no lists/Places_LT_train.txt.gz")
    return folder


@pytest.fixture(scope="session")
def small_lists_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with images and lists that stand for ImageNet-LT's: to be copied, not changed."""
    return small_lists.write(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def glyph_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which the glyphs are drawn already: by one of the processes of pytest-xdist, for all."""
    base = tmp_path_factory.getbasetemp()
    drawn = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "glyphs"
    with open(f"{drawn}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        glyphs.load(drawn)
    return Path(shutil.copytree(drawn, tmp_path_factory.mktemp("data"), dirs_exist_ok=True))


@pytest.fixture(scope="module")
def few_test_images() -> Iterator[None]:
    """Two test images a class, where evaluation is not what is looked at: it would take most of the time."""
    opened = live._opened
    victims.few_test_images()
    yield
    live._opened = opened


@pytest.fixture(scope="session")
def server(glyph_cache: Path) -> Iterator[warm.Server]:
    """Forks processes that have torch loaded: started by the first test that needs one."""
    with warm.Server(glyph_cache) as server:
        yield server


@pytest.fixture(scope="session")
def command(server: warm.Server) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`ltbench ...` in a process of its own, on a terminal of 80 columns."""
    return partial(server.run, COLUMNS="80")


@pytest.fixture
def forget_broken_methods() -> Iterator[None]:
    """What broken.py has registered is forgotten after the test."""
    yield
    for name in [name for name in registry._METHODS if name.startswith("broken_")]:
        del registry._METHODS[name]


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Methods that a test registers are forgotten after it."""
    monkeypatch.setattr(registry, "_METHODS", dict(registry.available()))
    monkeypatch.setattr(registry, "_LOADED", set(registry._LOADED))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    registry._model.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith(("ltbench_plugin_", "own_helper_")):
            del sys.modules[name]


@pytest.fixture
def panel(own_registry: None, tmp_path: Path) -> Path:
    """A plugin whose method starts from runs of other seeds, and will not run on resnet20."""
    path = tmp_path / "panel.py"
    path.write_text(plans.ENSEMBLE)
    registry.load_plugin(str(path))
    return path


@pytest.fixture
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals of 200 draws."""
    monkeypatch.setattr(decompose, "RESAMPLES", 200)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of six simulated methods over four draws; logits in runs beside them."""
    return simulated_records.write(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def block(toy: Path) -> AnalysedBlock:
    """What `ltbench analyze` finds in toy, with intervals of 200 draws."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decompose, "RESAMPLES", 200)
        (found,) = analyze(toy, toy.parent / "runs").blocks
    return found
