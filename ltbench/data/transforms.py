"""What becomes of one picture from a file, by the recipe's words: torchvision's v2 transforms, as the field uses them.

With `random_resized_crop` (ImageNet's way) the test image's shorter side is resized to 256 / 224 of image_size, and the
centre is cut out. Without it, training and test images are resized so that the shorter side is image_size, and the
centre square is taken; `crop` then shifts it within a border of 4 black pixels, as it does with images in memory.
Then flip, colour jitter (0.4 / 0.4 / 0.4, no hue), RandAugment, rotation, whatever the order in which they are named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from ..errors import LtbenchError
from .augment import MAX_ANGLE, PAD
from .spec import DataSpec

if TYPE_CHECKING:
    from ..recipe import Recipe

Transform = Callable[[Image.Image], Image.Image]
ANYWHERE = ("crop", "flip", "rotate15")  # what images in memory know, too
IN_FILES = (*ANYWHERE, "random_resized_crop", "color_jitter", "randaugment")
JITTER = 0.4  # of brightness, contrast and saturation


class Look(NamedTuple):
    """How the pictures of a set of files come out of them."""

    size: int  # pixels a side
    augment: tuple[str, ...]  # in training

    @property
    def fits_memory(self) -> bool:
        """Whether images decoded once, at this size, can be augmented as asked."""
        return set(self.augment) <= set(ANYWHERE)


def look_of(spec: DataSpec, size: int, recipe: Recipe) -> Look | None:
    """How a recipe looks at a set of files whose own size is that many pixels; None for images in memory.

    Raises LtbenchError where the recipe asks for what cannot be done with these images.
    """
    words = recipe.augment
    if not spec.in_files:
        strange = [word for word in words if word not in ANYWHERE]
        if strange:
            raise LtbenchError(
                f"augment: {', '.join(strange)}: the images of {spec.name} lie in memory, which knows "
                f"{', '.join(ANYWHERE)}; sets of files know {', '.join(IN_FILES)}"
            )
        if recipe.image_size not in (None, size):
            raise LtbenchError(f"image_size {recipe.image_size}: the images of {spec.name} have {size}")
        return None
    if "random_resized_crop" in words and "crop" in words:
        raise LtbenchError("augment: either crop or random_resized_crop: both choose what part is seen")
    return Look(recipe.image_size or size, words)


def at_test(look: Look) -> Transform:
    """Resize and centre crop, to [size, size] pixels."""
    return _compose(_whole(look))


def in_training(look: Look) -> Transform:
    """To [size, size] pixels, by draws from torch's global generator and from nothing else."""
    from torchvision.transforms import v2

    random_part = "random_resized_crop" in look.augment
    steps: list[Any] = [v2.RandomResizedCrop(look.size)] if random_part else _whole(look)
    words = {
        "crop": lambda: v2.RandomCrop(look.size, padding=PAD),
        "flip": v2.RandomHorizontalFlip,
        "color_jitter": lambda: v2.ColorJitter(JITTER, JITTER, JITTER, 0),
        "randaugment": v2.RandAugment,
        "rotate15": lambda: v2.RandomRotation(MAX_ANGLE),
    }
    return _compose(steps + [make() for word, make in words.items() if word in look.augment])


def _whole(look: Look) -> list[Any]:
    from torchvision.transforms import v2

    margin = 256 / 224 if "random_resized_crop" in look.augment else 1
    return [v2.Resize(round(look.size * margin)), v2.CenterCrop(look.size)]


def _compose(steps: list[Any]) -> Transform:
    from torchvision.transforms import v2

    transform: Transform = v2.Compose(steps)
    return transform
