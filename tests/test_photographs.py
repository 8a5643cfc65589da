"""Real photographs, once: CIFAR-100 written out as a folder of PNG at 64x64, long-tailed, trained on as one's own."""

import time
from pathlib import Path

import pytest
import tiny
from PIL import Image

from ltbench import runs
from ltbench.longtail import profile_counts

CLASSES, TESTED = 20, 20
COUNTS = profile_counts(120, CLASSES, 10)  # 120 to 12
CHANCE = 100 / CLASSES
SUITE = """\
data: {name: folder, root: photographs}
backbone: BACKBONE
recipe: {name: photographs, epochs: 15, batch_size: 16, RATE, schedule: cosine, warmup: 0.1, augment: [AUGMENT],
         image_size: 64}
methods: [ce, ride: {experts: 2, WIDTH}]
"""
SGD, ADAMW = "lr: 0.02", "optimizer: adamw, lr: 1.0e-3, weight_decay: 0.05"
CASES = {  # backbone -> rate, width of RIDE's experts, augmentation: decoded once into memory; read by workers
    "resnet10": (SGD, "width: 0.75", "crop, flip"),
    "timm/convnext_atto": (ADAMW, "width: 1", "random_resized_crop, flip"),
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def home(tmp_path_factory, cifar100) -> Path:
    """The first images of the first 20 classes, resized to 64x64 pixels."""
    from torchvision.datasets import CIFAR100

    home = tmp_path_factory.mktemp("photographs")
    for part, counts in (("train", COUNTS), ("test", [TESTED] * CLASSES)):
        pool, left = CIFAR100(str(cifar100), train=part == "train", download=False), list(counts)
        for number, (pixels, label) in enumerate(zip(pool.data, pool.targets, strict=True)):
            if label < CLASSES and left[label]:
                left[label] -= 1
                folder = home / "photographs" / part / pool.classes[label]
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
        assert not any(left)
    return home


@pytest.mark.parametrize("backbone", CASES)
def test_photographs_are_learnt_far_above_chance(tmp_path, home, backbone):
    rate, width, augment = CASES[backbone]
    path = tmp_path / "tiny.yaml"
    text = SUITE.replace("BACKBONE", backbone).replace("RATE", rate).replace("WIDTH", width)
    path.write_text(text.replace("AUGMENT", augment))
    made = tiny.plan.make(tiny.suite.read(str(path)), home)
    settings = tiny.settings(tmp_path, home, workers=2)
    found = {}
    for spec in made.runs.values():
        assert list(spec.counts) == sorted(COUNTS, reverse=True) and max(spec.counts) == 120
        begun = time.monotonic()
        record = runs.execute(spec, {}, settings, lambda event: print(event.text))
        assert record.status == "complete", record.reason
        assert sum(record.total) == CLASSES * TESTED
        found[spec.label] = 100 * sum(record.right) / sum(record.total)
        took = f"{time.monotonic() - begun:.0f} s"
        print(f"{spec.label} on {backbone}: top-1 {found[spec.label]:.1f} % in {took} (chance {CHANCE:.0f} %)")
    assert min(found.values()) > 4 * CHANCE, found
