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
