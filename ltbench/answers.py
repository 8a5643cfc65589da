"""What the hooks of a method that are asked before a run may answer: for `plan` and for `check`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .method import Part, Ref, Stream
from .recipe import Recipe

WANTED = {
    "skip": (str, 'a reason not to run, or ""'),
    "needs": (Mapping, "a dict of role -> Ref"),
    "recipe": (Recipe, "a Recipe"),
    "streams": (tuple | list, "a tuple of Streams, one at least"),
    "offers": (tuple | list | frozenset | set, "a tuple of attribute names"),
}


def part_of(child: Ref, asked: Ref) -> Part:
    """The images that a run which child starts from is trained on: its own part goes down to all its parents.

    Raises ValueError where both leave images out: what the child holds out would be among its parent's images.
    """
    if child.part == asked.part == "fit":
        raise ValueError(
            f"{child.method}, which is to be trained without the images that are held out, asks for {asked.method} "
            "trained so, too: what it holds out itself would be among that one's images"
        )
    return asked.part if child.part == "all" else child.part


def refusal(hook: str, answer: Any) -> str:
    """Why an answer is none, in a sentence that begins with the hook; "" where it is one."""
    kind, wanted = WANTED[hook]
    right = isinstance(answer, kind)
    if right and hook == "needs":
        right = all(isinstance(role, str) and isinstance(ref, Ref) for role, ref in answer.items())
    if right and hook == "streams":
        right = bool(answer) and all(isinstance(stream, Stream) for stream in answer)
    return "" if right else f"{hook}() must return {wanted}, got {answer!r}"
