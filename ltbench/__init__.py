"""ltbench: one trainer, one split, one table for long-tailed recognition.

The names that the author of a method or of a notebook needs are imported from here, each when first used: importing
ltbench imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import longtail as longtail
    from . import losses as losses
    from .classifier import Classifier as Classifier
    from .heads import CosineHead as CosineHead
    from .heads import HeadKind as HeadKind
    from .heads import LinearHead as LinearHead
    from .heads import make_heads as make_heads
    from .method import Batch as Batch
    from .method import Clock as Clock
    from .method import Method as Method
    from .method import Prediction as Prediction
    from .method import Problem as Problem
    from .method import ProblemSpec as ProblemSpec
    from .method import Ref as Ref
    from .method import Stream as Stream
    from .method import TrainingData as TrainingData
    from .method import build as build
    from .method import by_class as by_class
    from .method import by_image as by_image
    from .method import by_rarity as by_rarity
    from .method import freeze as freeze
    from .method import gather as gather
    from .notebook import Results as Results
    from .notebook import load as load
    from .recipe import Recipe as Recipe
    from .registry import register as register

__version__ = "0.1.0"

_HOME = {
    **dict.fromkeys(("Batch", "Clock", "Method", "Prediction", "Problem", "ProblemSpec"), "method"),
    **dict.fromkeys(("Ref", "Stream", "TrainingData"), "method"),
    **dict.fromkeys(("build", "by_class", "by_image", "by_rarity", "freeze", "gather"), "method"),
    **dict.fromkeys(("CosineHead", "HeadKind", "LinearHead", "make_heads"), "heads"),
    "Classifier": "classifier",
    "Recipe": "recipe",
    "Results": "notebook",
    "load": "notebook",
    "register": "registry",
}
_MODULES = ("longtail", "losses")
__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module 'ltbench' has no attribute {name!r}")
