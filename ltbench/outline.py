"""What a network would be, asked on torch's meta device: shapes and costs, without memory, data or weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import init
from torch.overrides import TorchFunctionMode

from . import answers, backbones
from .backbones import BackboneSpec
from .errors import LtbenchError
from .method import Method, Problem

if TYPE_CHECKING:
    from .backbones import Backbone


class _NoDraws(TorchFunctionMode):
    """Nothing is drawn on the meta device: it means nothing there, and torch would load its compiler (seconds)."""

    DRAWS = frozenset((torch.Tensor.normal_, torch.Tensor.uniform_, init.normal_, init.uniform_, init.trunc_normal_))
    DRAWS |= {init.kaiming_normal_, init.kaiming_uniform_}

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in self.DRAWS:
            tensor = args[0] if args else (kwargs or {})["tensor"]
            if tensor.is_meta:  # others, as a method's own head, are drawn: torch rejects draws until they fit
                return tensor
        return func(*args, **(kwargs or {}))


@contextmanager
def _untouched() -> Iterator[None]:
    """No gradient is kept, and nobody's random numbers are moved on."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        yield


@contextmanager
def _without_memory() -> Iterator[None]:
    """Tensors have shapes alone."""
    with _untouched(), torch.device("meta"), _NoDraws():
        yield


def check(net: BackboneSpec, image_size: int) -> None:
    """Raises ValueError, with the reason, where a backbone cannot be built for images of that size, or run on them."""
    if net.name in backbones.CIFAR:  # fit any
        return
    try:
        with _without_memory():
            _try(net, image_size)
        return
    except ValueError:
        raise
    except Exception:  # a few models of timm compute with numbers while they are built: these are built indeed
        pass
    try:
        with _untouched():
            _try(replace(net, weights="", origin=""), image_size)
    except ValueError:
        raise
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        raise ValueError(f"it cannot be run on images of that size: {type(error).__name__}: {said}") from None


def _try(net: BackboneSpec, image_size: int) -> None:
    backbone = backbones.build(net, image_size).eval()
    feature = backbone(torch.empty(2, 3, image_size, image_size))
    if not isinstance(feature, torch.Tensor) or feature.shape != (2, backbone.dim):
        shape = list(feature.shape) if isinstance(feature, torch.Tensor) else type(feature).__name__
        raise ValueError(f"it gives no feature vector of {backbone.dim} for each image, but {shape} for two")


def method(
    cls: type[Method], options: Mapping[str, Any], net: BackboneSpec, counts: Sequence[int], image_size: int
) -> Method:
    """The method on a backbone without memory. Raises ValueError where it refuses the backbone."""

    def backbone() -> Backbone:
        with _without_memory():
            return backbones.build(net, image_size)

    with _untouched(), _NoDraws():
        return cls(_problem(counts, image_size, backbone), **options)


def _problem(counts: Sequence[int], image_size: int, backbone: Callable[[], Backbone]) -> Problem:
    """As a run has it."""
    return Problem(torch.tensor(counts, dtype=torch.float32), image_size, backbone)


def check_method(
    cls: type[Method],
    options: Mapping[str, Any],
    net: BackboneSpec,
    counts: Sequence[int],
    image_size: int,
    trains: bool,
) -> None:
    """Raises what the method's constructor raises: ValueError where it refuses the backbone, or whatever else.

    LtbenchError where it trains and draws from what are no streams.
    """
    built = _built(cls, options, net, counts, image_size)
    if not trains:
        return
    try:
        streams = built.streams()
    except Exception:  # it may ask parents, or what begin() makes
        return
    if refusal := answers.refusal("streams", streams):
        raise LtbenchError(refusal)


def shapes(
    cls: type[Method], options: Mapping[str, Any], net: BackboneSpec, counts: Sequence[int], image_size: int
) -> dict[str, torch.Size]:
    """Of each weight and buffer of a method. Raises what its constructor raises."""
    built = _built(cls, options, net, counts, image_size)
    return {name: value.shape for name, value in built.state_dict().items()}


def _built(
    cls: type[Method], options: Mapping[str, Any], net: BackboneSpec, counts: Sequence[int], image_size: int
) -> Method:
    try:
        return method(cls, options, net, counts, image_size)
    except (ValueError, LtbenchError):
        raise
    except Exception:  # somebody's own may compute with weights, which have no memory here: it is built indeed
        plain = replace(net, weights="", origin="")
        with _untouched():
            return cls(_problem(counts, image_size, lambda: backbones.build(plain, image_size)), **options)


def macs(built: Method, image_size: int) -> float:
    """Multiply-adds of convolutions and matrix products for one image, no part skipped."""
    from torch.utils.flop_counter import FlopCounterMode

    built.to("meta").eval()
    with _without_memory(), FlopCounterMode(display=False) as counter:
        built.dense(torch.empty(1, 3, image_size, image_size))
    return counter.get_total_flops() / 2
