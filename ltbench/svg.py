"""A matplotlib SVG made fit to stand inside an HTML page under a strict content-security policy.

Style attributes are not allowed there, so they become presentation attributes, which the page's style sheet can
override: that is how a figure follows light and dark. Ids that nothing refers to would clash between figures.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
DROPPED = {f"{SVG}metadata", f"{SVG}style"}
STALE = re.compile(r"rotate\(-?0 [-\d.]+ [-\d.]+\)")  # turned by nothing
NUMBER = re.compile(r"-?\d+\.\d{3,}")


def embedded(text: str, label: str) -> str:
    """The <svg> element, without sizes, metadata, style attributes and idle ids; label is read out in its place."""
    root = ET.fromstring(text)
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in DROPPED]:
            parent.remove(child)
    used = set(re.findall(r"#([\w-]+)", ET.tostring(root, encoding="unicode")))
    for element in root.iter():
        element.attrib.update(_declarations(element.attrib.pop("style", "")))
        _tidy(element, used)
    for marker in root.findall(f".//{SVG}defs/{SVG}path"):
        for name in ("fill", "stroke"):  # <use> has both, and a style sheet reaches <use> only
            marker.attrib.pop(name, None)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib.update({"role": "img", "aria-label": label})
    _flatten(root)
    return ET.tostring(_unqualified(root), encoding="unicode")


def _declarations(style: str) -> dict[str, str]:
    pairs = (part.partition(":") for part in style.split(";") if part.strip())
    return {key.strip(): value.strip() for key, _, value in pairs if key.strip() != "font-family"}


def _tidy(element: ET.Element, used: set[str]) -> None:
    """Short numbers, plain href, no idle id, no white space between elements."""
    attributes = element.attrib
    if f"{XLINK}href" in attributes:
        attributes["href"] = attributes.pop(f"{XLINK}href")
    if attributes.get("id") not in used:
        attributes.pop("id", None)
    if STALE.fullmatch(attributes.get("transform", "")):
        del attributes["transform"]
    for key, value in attributes.items():
        if key in ("d", "x", "y", "transform", "viewBox", "points", "width", "height"):
            attributes[key] = " ".join(NUMBER.sub(_short, value).split())
    element.tail = None
    if element.text and not element.text.strip():
        element.text = None


def _short(number: re.Match[str]) -> str:
    return f"{float(number.group()):.2f}".rstrip("0").rstrip(".")


def _flatten(element: ET.Element) -> None:
    """Groups that say nothing are replaced by what they hold."""
    children: list[ET.Element] = []
    for child in element:
        _flatten(child)
        children += list(child) if child.tag == f"{SVG}g" and not child.attrib else [child]
    for child in list(element):
        element.remove(child)
    element.extend(children)


def _unqualified(root: ET.Element) -> ET.Element:
    """HTML knows SVG's elements by their bare names."""
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
    return root
