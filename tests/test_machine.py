"""What a run runs on."""

import warnings

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
