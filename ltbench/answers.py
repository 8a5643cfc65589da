"""What the planning hooks of a method (skip, needs, recipe, offers) may answer: for `plan` and for `check`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .method import Ref
from .recipe import Recipe

WANTED = {
    "skip": (str, 'a reason not to run, or ""'),
    "needs": (Mapping, "a dict of role -> Ref"),
    "recipe": (Recipe, "a Recipe"),
    "offers": (tuple | list | frozenset | set, "a tuple of attribute names"),
}


def refusal(hook: str, answer: Any) -> str:
    """Why an answer is none, in a sentence that begins with the hook; "" where it is one."""
    kind, wanted = WANTED[hook]
    right = isinstance(answer, kind)
    if right and hook == "needs":
        right = all(isinstance(role, str) and isinstance(ref, Ref) for role, ref in answer.items())
    return "" if right else f"{hook}() must return {wanted}, got {answer!r}"
