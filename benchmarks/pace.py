"""Training loops in processes of their own, told to take some steps and then wait: what the benchmarks here pair.

Two loops that are to be compared take turns, window after window, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from ltbench.jobs import MALLOC

BATCH = 128
IMBALANCE, CLASSES, LARGEST = 100, 100, 500  # CIFAR-100-LT: 10,847 images


@dataclass(frozen=True)
class Loop:
    """One way to train a method."""

    name: str
    method: str  # a label, such as ride(experts=3)
    conventional: bool = False
    precision: str = "fp32"
    device: str = "cpu"
    threads: int = 1
    graph: bool = True  # where there is a GPU
    times: int = 1  # the training set is that many times as large
    workers: int = 0  # the conventional loop's loader processes


def images(times: int = 1) -> Any:
    """Noise in the shape of CIFAR-100-LT's training set; what the pixels show costs nothing."""
    import torch

    from ltbench.data.memory import Images, Norm
    from ltbench.longtail import profile_counts

    counts = torch.tensor(profile_counts(LARGEST, CLASSES, IMBALANCE, "exp")) * times
    label = torch.repeat_interleave(torch.arange(CLASSES), counts)
    random = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (len(label), 32, 32, 3), dtype=torch.uint8, generator=random)
    return Images(image, label, CLASSES, Norm((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)))


def build(label: str, counts: Any) -> Any:
    """The method of that label on a ResNet-32, untrained; so are the parents that it starts from."""
    from ltbench import backbones, labels, registry
    from ltbench.method import Problem

    def made(ref: Any) -> Any:
        cls, options = registry.get(ref.method), registry.resolve(ref.method, ref.options)
        method = cls(Problem(counts, 32, lambda: backbones.build("resnet32")), **options)
        method.parents = {
            role: made(parent).requires_grad_(False).eval() for role, parent in cls.needs(options).items()
        }
        return method

    return made(labels.parse(label))


def rate(processes: Sequence[Process], steps: int) -> float:
    """Images a second over all processes together, each taking that many steps at once."""
    for process in processes:
        process.pipe.send(steps)
    return sum(process.pipe.recv() for process in processes)


@dataclass
class Process:
    """A loop that waits to be told how many steps to take."""

    loop: Loop
    pipe: Connection = field(init=False)

    def __enter__(self) -> Process:
        # passive: a thread that waits for another leaves its core to whoever needs it
        settings = {**MALLOC, "OMP_WAIT_POLICY": "PASSIVE"}
        os.environ.update({key: os.environ.get(key, value) for key, value in settings.items()})
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(self.loop, theirs), daemon=not self.loop.workers)
        self._process.start()
        theirs.close()  # or its end would not be heard, and waited for without end
        return self

    def wait(self) -> None:
        """Until it stands ready."""
        self.pipe.recv()

    def __exit__(self, *error: object) -> None:
        self.pipe.close()
        self._process.join(timeout=10)
        self._process.kill()


def _work(loop: Loop, pipe: Connection) -> None:
    import torch

    torch.set_num_threads(loop.threads)
    torch.manual_seed(0)
    window = _Window(pipe, torch.cuda.synchronize if loop.device == "cuda" else lambda: None)
    try:
        (_conventional if loop.conventional else _ours)(loop, window)
    except (EOFError, OSError):  # nobody asks for more
        return


class _Window:
    """Called after every step: counts, tells the rate at a window's end, waits for the next."""

    def __init__(self, pipe: Connection, synchronize: Callable[[], None]) -> None:
        self.pipe, self.synchronize, self.left, self.images = pipe, synchronize, 3, 0  # three steps to warm up
        self.begun: float | None = None

    def step(self, images: int) -> None:
        """A step on so many images is done."""
        self.left, self.images = self.left - 1, self.images + images
        if self.left:
            return
        self.synchronize()
        self.pipe.send(self.images / (time.perf_counter() - self.begun) if self.begun else None)
        self.left, self.images = self.pipe.recv(), 0
        self.begun = time.perf_counter()


def _ours(loop: Loop, window: _Window) -> None:
    """ltbench's own trainer, for as long as it is asked."""
    fit = training(loop)
    each = len(fit.method.streams()) * BATCH  # an epoch's short last batch is one in 85
    fit.after_step = lambda fit: window.step(each)
    fit.run()


def training(loop: Loop) -> Any:
    """ltbench's Fit of that loop, without an end."""
    import torch

    from ltbench import graph, machine
    from ltbench.data.seeds import seed_of
    from ltbench.recipe import Recipe
    from ltbench.trainer import Fit

    accelerator = machine.make_accelerator(loop.device, loop.precision)
    data = images(loop.times).to(accelerator.device)
    torch.manual_seed(seed_of(0, "init"))
    method = build(loop.method, data.counts.cpu()).to(accelerator.device).to(memory_format=torch.channels_last)
    for parent in method.parents.values():
        parent.to(accelerator.device).to(memory_format=torch.channels_last)
    tape = graph.make_tape(accelerator) if loop.graph else None
    return Fit(method, Recipe(epochs=10**6, batch_size=BATCH), data, accelerator, 0, tape=tape, note=print)


def _conventional(loop: Loop, window: _Window) -> None:
    """The loop of the public repositories: PIL transforms in a DataLoader, fp32, NCHW, the loss read each step."""
    import torch
    from PIL import Image
    from torchvision import transforms

    from ltbench import Batch, Clock

    source = images(loop.times)
    pixels, labels = source.image.numpy(), source.label.tolist()
    prepare = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.RandomRotation(15),
            transforms.ToTensor(), transforms.Normalize(source.norm.mean, source.norm.std),
        ]
    )  # fmt: skip

    class Pixels(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(labels)

        def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
            return prepare(Image.fromarray(pixels[i])), labels[i]

    loader = torch.utils.data.DataLoader(
        Pixels(), BATCH, shuffle=True, num_workers=loop.workers, pin_memory=loop.device == "cuda",
        multiprocessing_context="fork" if loop.workers else None,
    )  # fmt: skip
    method = build(loop.method, source.counts).to(loop.device).train()
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    t = Clock(0, 200, 0, 200 * len(loader))
    for image, label in _forever(loader):
        image, label = image.to(loop.device), label.to(loop.device)
        loss = sum(method.loss(t, Batch(image, label, label)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        window.step(len(label))


def _forever(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def training_flops(label: str) -> float:
    """Floating-point operations of convolutions and matrix products for one image, forward and backward."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from ltbench import Batch, Clock

    counts = torch.arange(CLASSES, 0, -1).float()
    method = build(label, counts).train()
    target = torch.zeros(2, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        sum(method.loss(Clock(0, 200, 0, 200), Batch(torch.randn(2, 3, 32, 32), target, target)).values()).backward()
    return counter.get_total_flops() / 2


def convolution_rate(precision: str, threads: int = 1, seconds: float = 2.0) -> float:
    """FLOP/s of a CPU in forward and backward of 3x3 convolutions alone, in ResNet-32's three shapes, channels last."""
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    layers = []
    for channels, size in ((16, 32), (32, 16), (64, 8)):
        layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        x = torch.randn(BATCH, channels, size, size)
        layers.append(
            (
                layer.to(dtype).to(memory_format=torch.channels_last),
                x.to(dtype).to(memory_format=torch.channels_last).requires_grad_(),
                2 * 3 * BATCH * size * size * channels * channels * 9,
            )
        )

    def once() -> float:
        for layer, x, _ in layers:
            out = layer(x)
            out.backward(out)
        return sum(flops for _, _, flops in layers)

    once()
    begun, done = time.perf_counter(), 0.0
    while time.perf_counter() - begun < seconds:
        done += once()
    return done / (time.perf_counter() - begun)


def has_bf16(device: str) -> bool:
    """Whether the device computes in bf16; a CPU without it emulates it, some ten times slower than fp32."""
    import torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
