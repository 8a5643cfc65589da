"""The label of a row, ride(experts=3): written from a method's options, and read back for --only and baseline."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from . import strict_yaml
from .errors import LtbenchError

if TYPE_CHECKING:
    from .method import Ref


def label(method: str, options: Mapping[str, Any]) -> str:
    """name(options that differ from their defaults or are `shown`), in the order of the signature."""
    from .registry import canonical, get, resolve, signature

    cls = get(method)
    defaults = resolve(method, {})
    named = [
        f"{key}={_text(options[key])}"
        for key in signature(cls)
        if key in cls.shown or canonical(options[key]) != canonical(defaults[key])
    ]
    return f"{method}({', '.join(named)})" if named else method


def _text(value: Any) -> str:
    from .method import Ref

    return label(value.method, value.options) if isinstance(value, Ref) else spelled(value)


def spelled(value: Any) -> str:
    """A value as a suite file has it: true, none, [0.8, 0.9], {ride: {experts: 6}}."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(spelled, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {spelled(inner)}' for key, inner in value.items())}}}"
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def parse(text: str) -> Ref:
    """The method and options that a label names, resolved. Raises LtbenchError where it is no label."""
    from .registry import as_ref

    return as_ref(grammar(text.strip()))


def among(text: str, there: Container[str]) -> str:
    """The one of these labels that a text names, ride for ride(experts=3); the text itself where it names none."""
    with suppress(LtbenchError):  # no label, or of a method that is not registered here
        ref = parse(text)
        named = label(ref.method, ref.options)
        return named if named in there else text
    return text


def grammar(text: str) -> Any:
    """A label in the suite's grammar: name, or {name: {option: value}}; one that is written so is taken as it is."""
    if re.match(r"\{?\s*[A-Za-z_]\w*:\s", text):
        return strict_yaml.parse_value(text if text.startswith("{") else f"{{{text}}}")
    match = re.fullmatch(r"([A-Za-z_]\w*)(?:\((.*)\))?", text, re.DOTALL)
    if not match:
        raise LtbenchError(f"{text!r} is no label: write it as ride(experts=3) or crt(base=ldam_drw)")
    name, inner = match.groups()
    options = {}
    for part in _split(inner or ""):
        key, equals, value = part.partition("=")
        if not equals:
            raise LtbenchError(f"{text!r} is no label: {part.strip()!r} is not option=value")
        key, value = key.strip(), value.strip()
        if key in options:
            raise LtbenchError(f"{text!r} is no label: {key} stands in it twice")
        options[key] = grammar(value) if re.match(r"[A-Za-z_]\w*\(", value) else strict_yaml.parse_value(value)
    return {name: options} if options else name


def _split(text: str) -> list[str]:
    """The parts between commas that stand in no bracket."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part for part in parts if part.strip()]
