"""What a run runs on."""

import base64
import hashlib
import importlib.metadata
import json
import os
import warnings

import pytest
import torch

from ltbench import machine


def test_on_a_gpu_fp32_is_fp32_whatever_the_environment_says():
    """NVIDIA's images set TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1."""
    convolution, product = torch.backends.cudnn, torch.backends.cuda.matmul
    deterministic = convolution.deterministic
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch may say that these settings have newer names
        before = convolution.allow_tf32, product.allow_tf32
        try:
            convolution.allow_tf32 = product.allow_tf32 = True
            machine.make_accelerator("cuda", "fp32")  # where there is no GPU, on what there is
            assert not convolution.allow_tf32 and not product.allow_tf32
            assert convolution.deterministic
        finally:
            convolution.allow_tf32, product.allow_tf32 = before
            convolution.deterministic = deterministic
            machine.make_accelerator("cpu", "fp32")


def test_processors_of_one_name_are_told_apart():
    """Two rented machines were both an "AMD EPYC", and trained to other bits: one had AVX-512, the other had not."""
    epyc = {"model name": "AMD EPYC", "cpu family": "25", "model": "17"}
    names = {
        machine._named(epyc | {"flags": "fpu avx2 avx512f avx512_bf16"}, "AVX512"),
        machine._named(epyc | {"flags": "fpu avx2 avx512f"}, "AVX512"),
        machine._named(epyc, "AVX2"),
        machine._named(epyc | {"model": "1"}, "AVX2"),
    }
    assert len(names) == 4
    assert "AMD EPYC family 25 model 17 with AVX512 avx512_bf16" in names
    assert "," not in "".join(names), "a table's footer parts devices by commas"


def test_this_processor_has_a_name():
    assert torch.backends.cpu.get_cpu_capability() in machine.cpu_name()
    assert machine.origin("cpu")["device"] == f"cpu: {machine.cpu_name()}"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """ltbench as pip leaves it after `pip install git+URL`: the folder in which machine.py runs."""
    files = {"ltbench/__init__.py": "", "ltbench/machine.py": "here", "ltbench/suites/quick.yaml": "data: {}"}
    noted = {"url": "https://host/ltbench", "vcs_info": {"vcs": "git", "commit_id": "abc123"}}
    lines = [f"{name},{sha256(text)},{len(text)}" for name, text in files.items()]
    lines += ["../../bin/ltbench,sha256=abc,1", "ltbench/__pycache__/__init__.pyc,,"]  # moved by pip; made by pip
    files["ltbench-0.1.0.dist-info/METADATA"] = "Name: ltbench\nVersion: 0.1.0\n"
    files["ltbench-0.1.0.dist-info/direct_url.json"] = json.dumps(noted)
    files["ltbench-0.1.0.dist-info/RECORD"] = "\n".join(lines)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = next(iter(importlib.metadata.distributions(name="ltbench", path=[str(tmp_path)])))
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: found)
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "ltbench" / "machine.py"))
    return tmp_path


def sha256(text: str) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def test_an_installation_from_a_repository_knows_its_commit(installed):
    (installed / "ltbench" / "__pycache__").mkdir()
    (installed / "ltbench" / "__pycache__" / "machine.pyc").write_text("compiled since")
    assert machine.commit.__wrapped__() == ("abc123", True)


@pytest.mark.parametrize(
    "change",
    [
        lambda top: (top / "ltbench" / "__init__.py").write_text("edited = True"),
        lambda top: (top / "ltbench" / "__init__.py").unlink(),
        lambda top: (top / "ltbench" / "added.py").write_text(""),
        lambda top: (top / "ltbench-0.1.0.dist-info" / "RECORD").unlink(),
    ],
    ids=["edited", "missing", "added", "no RECORD"],
)
def test_an_installation_that_was_changed_is_not_clean(installed, change):
    change(installed)
    assert machine.commit.__wrapped__() == ("abc123", False)


def test_an_installation_from_an_index_knows_none(installed):
    (installed / "ltbench-0.1.0.dist-info" / "direct_url.json").unlink()
    assert machine.commit.__wrapped__() == ("", False)


def test_an_installation_beside_the_code_that_runs_says_nothing_of_it(installed, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "copy" / "ltbench" / "machine.py"))
    assert machine.commit.__wrapped__() == ("", False)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="this system forgets no peak")
def test_the_peak_of_a_run_is_not_that_of_the_one_before():
    block = bytearray(300 * 2**20)
    high = machine.peak_memory_mb()
    del block
    machine.forget_peak()
    assert machine.peak_memory_mb() < high - 200
