"""The one exception that stands for a user's mistake, and the "did you mean" hint its messages use."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


class LtbenchError(Exception):
    """A mistake of the user's (file, option, data): printed as one message without traceback, exit code 2."""


class UnreadableError(LtbenchError):
    """The system does not let a file be read, which may be as good as ever."""


class KeyFaultError(LtbenchError):
    """A value that a suite's data cannot have, as shows once they are there. key: of `data:`; said: what is wrong."""

    def __init__(self, key: str, said: str) -> None:
        super().__init__(f"data.{key}: {said}")
        self.key, self.said = key, said


def told(error: BaseException) -> str:
    """An error in one line: the file and what the system said of it, or its own text."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return first_line(str(error) or type(error).__name__)


def first_line(text: str) -> str:
    """A text's first line, and the second where the first only announces it: "Error(s) in loading ...:"."""
    first, *others = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    return f"{first} {others[0]}" if first.endswith(":") and others else first


def near(name: str, allowed: Iterable[str]) -> str:
    """Return "did you mean 'experts'?" for the allowed name closest to `name`, or "" when none is close.

    Upper and lower case count as the same letter, so 'LR' finds 'lr'; of labels, 'ride' and 'rid' find the first of
    that method, 'ride(experts=1)'. Raises nothing.
    """
    allowed = list(allowed)
    known = {label.lower().partition("(")[0]: label for label in reversed(allowed)}  # by method
    known |= {label.lower(): label for label in allowed}
    found = difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean {known[found[0]]!r}?" if found else ""


def explain(error: ValidationError, allowed: Iterable[str]) -> list[tuple[tuple[str | int, ...], str]]:
    """(key path, message) of each fault that pydantic found in a mapping whose keys may be `allowed`."""
    return [(tuple(fault["loc"]), _sentence(fault, tuple(allowed))) for fault in error.errors(include_url=False)]


def _sentence(fault: ErrorDetails, allowed: tuple[str, ...]) -> str:
    given = fault["input"]
    if fault["type"] == "extra_forbidden" or fault["type"] == "unexpected_keyword_argument":
        return unknown("key", str(fault["loc"][-1]), allowed)
    if fault["type"].startswith("missing"):
        return "required, but not given"
    if fault["type"] == "literal_error":
        hint = near(str(given), re.findall(r"'([^']+)'", fault["ctx"]["expected"]))
        return f"must be {fault['ctx']['expected']}, got {given!r}{f'; {hint}' if hint else ''}"
    if fault["type"] == "value_error":  # a whole that contradicts itself names the fields and values that do
        return fault["msg"].removeprefix("Value error, ")
    message = fault["msg"].replace("Input should", "must").replace("a valid integer", "a whole number")
    message = message.replace("a valid array", "a list")
    message = message.replace("must be a valid", "must be a")
    return f"{message}, got {given!r}"


def unknown(kind: str, name: str, allowed: Iterable[str]) -> str:
    """The sentence for a name that is none of the allowed ones, with the nearest of them."""
    allowed = tuple(allowed)
    hint = near(name, allowed)
    return f"unknown {kind} {name!r}{f'; {hint}' if hint else ''} (allowed: {', '.join(allowed) or 'none'})"
