"""Whether a CUDA graph could record a method's loss, asked on fake CUDA tensors: no memory, no GPU."""

from __future__ import annotations

import copy
import dataclasses
import logging
import random
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .errors import LtbenchError
from .method import Batch, Clock, Method

UNTRIED = "it takes a gradient within loss, which cannot be tried without a GPU"
_TABLES = {*vars(nn.Module()), "parents"}  # torch's own: parameters, buffers, modules, hooks, training; and ours


def why_not(method: Method, t: Clock, batches: Sequence[Batch]) -> str:
    """The reason why the loss and after_step on these batches cannot be recorded; "" where they can.

    A recording waits for nothing (`.item()`, shapes that depend on values), brings nothing over from the host, draws
    no random number there, and keeps all state in the buffers that were there before. Raises LtbenchError where the
    loss does not give named scalars.
    """
    # without fallbacks: where there is a GPU, an operation without a shape rule would really be run on it
    mode = FakeTensorMode(allow_fallback_kernels=False)
    plain = plain_tensors(method)
    try:
        with mode:
            twin = copy.deepcopy(method, _fakes(method))
            fakes = [Batch(*(_on_cuda(part) for part in batch)) for batch in batches]
    except Exception as error:  # an attribute may be what nobody can copy
        return f"it has an attribute that cannot be copied: {type(error).__name__}: {error}".partition("\n")[0]
    host, held, buffers = _host_random(), attributes(twin), [id(buffer) for buffer in twin.buffers()]
    try:
        with mode, _NothingFromHost(), _quiet():
            type(twin).forward(twin, t, *fakes)  # the twin's own may be wrapped by accelerate, for bf16
            with torch.no_grad():
                twin.after_step(t)
    except LtbenchError:  # no less wrong when it is taken eagerly
        raise
    except Exception as error:  # a loss may fail in any way; the eager step then says how
        said = f"{type(error).__name__}: {error}".partition("\n")[0]
        if not torch.cuda.is_available() and _within_backward(error):  # autograd asks for the device of the fakes
            return UNTRIED
        if "_local_scalar_dense" in said:
            return "it reads a value off the device, as .item(), float() and `if` on a tensor do"
        if plain and re.search("host|device|[Ff]ake", said):
            said += f"; {plain[0]} is a plain tensor: register_buffer() puts it on the GPU and into checkpoints"
        return said
    if host != _host_random():
        return "it draws random numbers on the host: draw with torch and device=image.device"
    if buffers != [id(buffer) for buffer in twin.buffers()]:
        return "it replaces a buffer: write into it with copy_()"
    if held != attributes(twin):
        return "it changes an attribute: keep state in buffers"
    return ""


def _within_backward(error: BaseException) -> bool:
    """Whether it was raised while gradients were worked out."""
    return any(frame.f_code.co_name == "_engine_run_backward" for frame, _ in traceback.walk_tb(error.__traceback__))


@contextmanager
def _quiet() -> Iterator[None]:
    """Torch logs the traceback of what fails on fake tensors, which is told in one line."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    was, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = was


def _on_cuda(x: Tensor) -> Tensor:
    """A fake of x that claims to lie on a GPU; made within a FakeTensorMode."""
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="cuda")


def _fakes(method: Method) -> dict[int, Any]:
    """What copy.deepcopy takes in place of each parameter and buffer of the method and its parents."""
    fakes: dict[int, Any] = {}
    for each in _family(method):
        for p in each.parameters():
            fakes[id(p)] = nn.Parameter(_on_cuda(p), requires_grad=p.requires_grad)
        for buffer in each.buffers():
            fakes[id(buffer)] = _on_cuda(buffer)
        for _, tensor in _plain(each):
            fakes.setdefault(id(tensor), tensor)  # as it is: on a GPU, too, it stays on the host
    return fakes


def plain_tensors(method: Method) -> list[str]:
    """The attributes that are, or hold, tensors which are neither parameters nor buffers."""
    known = {id(tensor) for tensor in (*method.parameters(), *method.buffers())}
    return [name for name, tensor in _plain(method) if id(tensor) not in known]


def _plain(method: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """(attribute, tensor) of all that modules hold beside their parameters and buffers."""
    for path, module in method.named_modules():
        for name, value in vars(module).items():
            if name not in _TABLES:
                inner = vars(value).values() if dataclasses.is_dataclass(value) else (value,)
                found = (leaf for leaf in tree_leaves(list(inner)) if isinstance(leaf, Tensor))
                yield from ((f"{path}.{name}".lstrip("."), tensor) for tensor in found)


def _family(method: nn.Module) -> Iterator[nn.Module]:
    """The method, its parents, and theirs."""
    yield method
    for module in method.modules():
        for parent in getattr(module, "parents", {}).values():
            yield from _family(parent)


def _host_random() -> str:
    return repr((random.getstate(), np.random.get_state(), torch.get_rng_state().tolist()))


def attributes(method: Method) -> str:
    """What the method's modules hold outside parameters and buffers, private attributes too, as text."""
    return repr(
        [
            (name, sorted((k, repr(v)) for k, v in vars(module).items() if k not in _TABLES))
            for name, module in method.named_modules()
        ]
    )


class _NothingFromHost(TorchDispatchMode):
    """Raises where a tensor is brought over from the host: a graph would bring it once, and the copy waits."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name
        where = {x.device.type for x in tree_leaves((args, out)) if isinstance(x, Tensor)}
        crosses = where == {"cpu", "cuda"} and name in ("aten::_to_copy", "aten::copy_")
        if crosses or name == "aten::lift_fresh":
            raise RuntimeError(f"it brings a tensor over from the host ({name}): make it a buffer")
        if torch.Tag.nondeterministic_seeded in func.tags and "cpu" in where:
            raise RuntimeError(f"it draws random numbers on the host ({name}): pass device=image.device")
        return out
