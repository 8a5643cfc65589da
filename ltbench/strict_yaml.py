"""Strict reader of suite files: a small, predictable part of YAML, with the line of every key and item.

PyYAML's pure Python parser supplies the events and nothing else: what a scalar means is decided here, by
YAML 1.2-like rules. The C parser is left alone on purpose, since its messages and limits differ: a suite must read
the same on every machine. Values are built while events arrive, so that a hostile file stops at its first fault.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ltbench.errors import LtbenchError

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_VALUES = 20_000  # 1 MB of "[a,a,..." is half a million values and many seconds of parsing

KeyPath = tuple[str | int, ...]

# Everything but printable text, tab and line ends. NEL, U+2028, U+2029 (line ends to YAML 1.1, to no editor) and a BOM
# past the start are invisible, so they are refused too; lone surrogates cannot be written out again.
_BAD_CHARACTER = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
# Spellings whose value differs between YAML 1.1, YAML 1.2 and plain text: refused rather than guessed.
_REFUSED = (
    (re.compile(r"[-+]?0[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?"), "has a leading zero: write it without, or quote it"),
    (re.compile(r"[-+]?0([xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)"), "is not decimal: write it in decimal, or quote it"),
    (re.compile(r"[-+]?[0-9]+(_[0-9]+)+(\.[0-9]*)?"), "has '_' between digits: write it without, or quote it"),
    (re.compile(r"[-+]?\.?(inf|infinity|nan)", re.IGNORECASE), "is not a finite number (quote it if it is text)"),
)
_PLAIN_WORDS = (
    ("mapping values are not allowed", "': ' where no key can begin: check the indentation, or quote the text"),
    ("could not find expected ':'", "a key without ':' after it, or wrong indentation"),
    ("expected <block end>", "wrong indentation, or something that does not belong to the list or mapping above"),
    ("expected '<document start>'", "text after the end of the document's value"),
    ("found unexpected end of stream", "a quote is opened and never closed"),
    ("found character '\\t'", "a tab: indent with spaces"),
    ("cannot start any token", "text cannot begin with this character: quote it"),
    ("expected ',' or ']'", "a ',' or the closing ']' is missing"),
    ("expected ',' or '}'", "a ',' or the closing '}' is missing"),
    ("expected the node content", "a value is missing"),
    ("sequence entries are not allowed", "'- ' where no item can begin: put the list on its own lines, or write [...]"),
    ("expected alphabetic or numeric character", "text cannot begin with '*', '&' or '!': quote it"),
    ("found undefined tag handle", "tags are not used in suites"),
)


@dataclass(frozen=True)
class Document:
    """A file that was read: its value, and the line on which each key and each item stands."""

    path: str  # as the user named it
    value: Any  # dict, tuple (every sequence), str, int, float, bool or None
    lines: Mapping[KeyPath, int]  # 1-based; () is the document itself
    given: Mapping[KeyPath, str] = field(default_factory=dict)  # what a part comes from that is not the file's

    def where(self, path: KeyPath) -> str:
        """Return "FILE:LINE: dotted.path", with the line of the longest known part of `path`. Raises nothing.

        Of what is not the file's: "SOURCE: dotted.path"; of what is in part: "FILE:LINE with SOURCE: dotted.path".
        """
        source = next((self.given[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.given), None)
        if source:
            return f"{source}: {dotted(path)}"
        known = next((path[:n] for n in range(len(path), 0, -1) if path[:n] in self.lines), ())
        place = f"{self.path}:{self.lines.get(known, 1)}"
        below = [source for key, source in self.given.items() if path and key[: len(path)] == path]
        if below:
            return f"{f'{place} with ' if known == path else ''}{', '.join(dict.fromkeys(below))}: {dotted(path)}"
        return f"{place}: {dotted(path)}" if path else place


def dotted(path: KeyPath) -> str:
    """Return a key path as people write it: ("methods", 3, "ride") is "methods[3].ride". Raises nothing."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:  # an empty or many-line key is quoted, to stay visible and on one line
            text += ("." if text else "") + (part if part and part.isprintable() else repr(part))
    return text


def read(path: str | Path) -> Document:
    """Read a suite file. Raises LtbenchError when it cannot be opened, is over 1 MB or not UTF-8, and as `parse`."""
    name = str(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise LtbenchError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise LtbenchError(f"{name}: is a directory, not a file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _fault(name, 1, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise _fault(name, 1, "the file is larger than 1 MB")
    try:
        return parse(data.decode("utf-8"), name)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _fault(name, line, f"not UTF-8 text (byte 0x{data[error.start]:02x})") from None


def parse(text: str, path: str) -> Document:
    """Parse a suite's text; `path` is only for messages. Raises LtbenchError ("path:line: ...") on any fault."""
    return _parse(text, path, flow_only=False)


def parse_value(text: str) -> Any:
    """Parse one scalar or one [...] / {...}, as given to --set. Raises LtbenchError as `parse`, and on block style.

    Its messages name no place: whoever gave the text knows it.
    """
    try:
        return _parse(text, "value", flow_only=True).value
    except LtbenchError as error:
        raise LtbenchError(re.sub(r"^value:\d+(:\d+)?: ", "", str(error))) from None


def _parse(text: str, path: str, flow_only: bool) -> Document:
    text = text.removeprefix("\ufeff")
    if bad := _BAD_CHARACTER.search(text):
        line = len((text[: bad.start()] + "x").splitlines())
        raise _fault(path, line, f"the character {_code(bad)} is not allowed")
    builder = _Builder(text, path)
    try:
        return Document(path, builder.document(flow_only), builder.lines)
    except yaml.MarkedYAMLError as error:
        raise _syntax_fault(path, error) from None
    except (ValueError, OverflowError):  # PyYAML lets chr() of an escape such as "\UFFFFFFFF" fail by itself
        raise _fault(path, builder.loader.get_mark().line + 1, "an escape or number is out of range") from None


class _Builder:
    """Builds the value and the line table from the parser's events. The depth limit bounds its recursion."""

    def __init__(self, text: str, path: str) -> None:
        self.path = path
        self.lines: dict[KeyPath, int] = {}
        self.loader = yaml.SafeLoader(text)

    def next(self) -> Any:
        return self.loader.get_event()

    def fault(self, event: Any, message: str) -> LtbenchError:
        return _fault(self.path, _line(event), message)

    def document(self, flow_only: bool) -> Any:
        self.next()  # the start of the stream
        start = self.next()
        if isinstance(start, yaml.StreamEndEvent):
            raise _fault(self.path, 1, "empty: there is no value here")
        if start.explicit and start.end_mark.index - start.start_mark.index > len("---"):  # PyYAML drops unknown ones
            raise self.fault(start, "directives (%YAML, %TAG) are not used in suites")
        event = self.next()
        if isinstance(event, yaml.ScalarEvent) and not event.value and not event.style:  # a lone "---"
            raise self.fault(start, "empty: there is no value here")
        if flow_only and isinstance(event, yaml.CollectionStartEvent) and not event.flow_style:
            raise self.fault(event, "a list or mapping given as one value is written in [...] or {...}")
        value = self.node(event, ())
        self.next()  # the end of the document
        if not isinstance(extra := self.next(), yaml.StreamEndEvent):
            raise self.fault(extra, "a second document begins here: a suite is one document")
        return value

    def node(self, event: Any, where: KeyPath) -> Any:
        self.lines.setdefault(where, _line(event))  # a mapping's value keeps its key's line
        if len(self.lines) > MAX_VALUES:
            raise self.fault(event, f"more than {MAX_VALUES} values")
        self.check_bare(event)
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event)
        if len(where) >= MAX_DEPTH:
            raise self.fault(event, f"nested more than {MAX_DEPTH} deep")
        return self.sequence(where) if isinstance(event, yaml.SequenceStartEvent) else self.mapping(where)

    def check_bare(self, event: Any) -> None:
        # No anchors means no alias bombs and no values that hold themselves.
        if event.anchor is not None:
            raise self.fault(event, "anchors and aliases (&name, *name) are not used in suites")
        if event.tag is not None:
            raise self.fault(event, f"tags are not used in suites (found {_show(event.tag)})")

    def sequence(self, where: KeyPath) -> tuple[Any, ...]:
        items: list[Any] = []
        while not isinstance(event := self.next(), yaml.SequenceEndEvent):
            items.append(self.node(event, (*where, len(items))))
        return tuple(items)

    def mapping(self, where: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            key = self.key(event)
            place = (*where, key)
            if key in result:
                first = self.lines[place]
                raise self.fault(event, f"the key {_show(key)} is given twice (first on line {first})")
            self.lines[place] = _line(event)
            result[key] = self.node(self.next(), place)
        return result

    def key(self, event: Any) -> str:
        self.check_bare(event)
        if not isinstance(event, yaml.ScalarEvent):
            raise self.fault(event, "a key must be text, not a list or mapping")
        if event.value == "<<" and not event.style:
            raise self.fault(event, "merge keys (<<) are not used in suites")
        key = self.scalar(event)
        if not isinstance(key, str):
            raise self.fault(event, f"a key must be text, but {_show(event.value)} is not (quote it if it is meant)")
        return key

    def scalar(self, event: Any) -> str | int | float | bool | None:
        text = event.value
        if bad := _BAD_CHARACTER.search(text):  # through an escape such as "\0"
            raise self.fault(event, f"the character {_code(bad)} is not allowed")
        if event.style:  # quoted or block text
            return str(text)
        if text in _WORDS:
            return _WORDS[text]
        for pattern, problem in _REFUSED:
            if pattern.fullmatch(text):
                raise self.fault(event, f"{_show(text)} {problem}")
        if _INTEGER.fullmatch(text):
            # The length goes first: int() itself refuses thousands of digits, with a ValueError.
            if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
                raise self.fault(event, f"the integer {_show(text)} is too large (2^63 is the limit)")
            return int(text)
        if not _NUMBER.fullmatch(text):
            return str(text)
        if not math.isfinite(number := float(text)):
            raise self.fault(event, f"{_show(text)} is not a finite number")
        return number


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _fault(path: str, line: int | str, message: str) -> LtbenchError:
    return LtbenchError(f"{path}:{line}: {message}")


def _show(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _code(bad: re.Match[str]) -> str:
    return f"U+{ord(bad.group()):04X}"


def _syntax_fault(path: str, error: yaml.MarkedYAMLError) -> LtbenchError:
    mark = error.problem_mark or error.context_mark
    problem = " ".join(f"{error.problem}".split())
    message = next((words for part, words in _PLAIN_WORDS if part in problem), problem)
    if mark is None:
        return _fault(path, 1, message)
    if error.context_mark and error.context_mark.line != mark.line:
        message += f" (in what begins on line {error.context_mark.line + 1})"
    return _fault(path, f"{mark.line + 1}:{mark.column + 1}", message)
