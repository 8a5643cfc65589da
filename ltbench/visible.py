"""Names as one can see them: what a reader's screen would obey or hide is written out."""

from __future__ import annotations


def visible(text: str) -> str:
    r"""The text with control, direction and other invisible characters escaped: a right-to-left mark becomes \u200f."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, most: int) -> str:
    """At most so many characters, the middle left out."""
    text = visible(text)
    if len(text) <= most:
        return text
    head = (most - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"
