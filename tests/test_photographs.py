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
backbone: resnet8
recipe: {name: photographs, epochs: 12, batch_size: 16, lr: 0.02, schedule: cosine, warmup: 0.1, augment: [AUGMENT],
         image_size: SIZE}
methods: [ce]
"""

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


@pytest.mark.parametrize(("augment", "size"), [("crop, flip", 64), ("random_resized_crop, flip", 32)])
def test_photographs_are_learnt_far_above_chance(tmp_path, home, augment, size):
    path = tmp_path / "tiny.yaml"
    path.write_text(SUITE.replace("AUGMENT", augment).replace("SIZE", str(size)))
    made = tiny.plan.make(tiny.suite.read(str(path)), home)
    (spec,) = made.runs.values()
    assert list(spec.counts) == sorted(COUNTS, reverse=True) and max(spec.counts) == 120
    begun = time.monotonic()
    settings = tiny.settings(tmp_path, home, workers=2)
    record = runs.execute(spec, {}, settings, lambda event: print(event.text))
    assert record.status == "complete", record.reason
    top1 = 100 * sum(record.right) / sum(record.total)
    print(f"{augment} at {size}: top-1 {top1:.1f} % in {time.monotonic() - begun:.0f} s (chance {CHANCE:.0f} %)")
    assert sum(record.total) == CLASSES * TESTED and top1 > 4 * CHANCE
