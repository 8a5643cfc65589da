"""The embedded data set `glyphs_lt`: characters drawn from the fonts that matplotlib ships, so nothing is downloaded.

Every image is a function of (split, label, index) alone; the pool is drawn at first use and cached on disk.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageDraw, ImageFont, features

from ..atomic import whole
from .source import Source

NAME = "glyphs_lt"
VERSION = "2"  # raise it with every change that changes a pixel

# Look-alikes are spread on purpose over head, middle and tail (17, 26 and 19 classes at n_max 150, imbalance 50):
# O 0 o, l 1 I, s 5 S, 2 Z z, B 3 8, c G C, V Y v, p P, U u, b 6, 9 g q, M N m, h n, t f, X x, E L F, k K, D Q, A 4, ...
HEAD_CHARS = "Ols2BcVpUkb9hMtXE"
MIDDLE_CHARS = "w015Z3GYWKgnNeLArHDijdayRP"
TAIL_CHARS = "oISz8Cvu6qmfxFT74QJ"
CHARS = HEAD_CHARS + MIDDLE_CHARS + TAIL_CHARS


def _class_name(char: str) -> str:
    kind = "digit" if char.isdigit() else "upper" if char.isupper() else "lower"
    return f"{kind} {char}"


CLASSES: tuple[str, ...] = tuple(_class_name(char) for char in CHARS)
HEAD = 150  # training images per class in the pool
TEST = 20  # test images per class
GROUPS = (50, 10)  # many > 50, medium 10..50, few < 10
SIDE = 32  # pixels

# Text faces that hold every character. Left out on purpose: symbol faces (cmsy10, cmex10, STIXSiz*, STIXNonUni*), faces
# without letters (DejaVu*Display) and cmmi10, whose old-style digit 0 is an o.
FACES = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
    *("cmr10", "cmb10", "cmss10", "cmtt10"),
)

_SPLITS = ("train", "test")
_SEED = 20_240_613
_CANVAS = 2 * SIDE  # drawn at twice the size and averaged down
_EM = 46  # font size on the canvas, in pixels
_BASELINE = 45  # row of the baseline on the canvas


class _Dice:
    """Random whole numbers taken from the raw Philox stream, which numpy promises not to change between versions."""

    def __init__(self, *key: int) -> None:
        self._bits = np.random.Philox(np.random.SeedSequence(key))

    def between(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self._bits.random_raw()) % (high - low + 1)

    def colour(self, low: int, high: int) -> np.ndarray:
        """A colour [3] with every channel from low to high."""
        return np.array([self.between(low, high) for _ in range(3)], dtype=np.int64)

    def noise(self, sigma: int) -> np.ndarray:
        """Noise [SIDE, SIDE, 3] of about the given standard deviation in grey levels: the sum of two random bytes."""
        count = 2 * SIDE * SIDE * 3
        raw = np.asarray(self._bits.random_raw(count // 8), dtype="<u8").view(np.uint8)
        total: np.ndarray = raw.reshape(2, SIDE, SIDE, 3).sum(axis=0, dtype=np.int64)
        return (total - 255) * sigma // 104


@cache
def font(face: str) -> ImageFont.FreeTypeFont:
    """The face at the size the characters are drawn in. Raises OSError where matplotlib does not ship it."""
    import matplotlib  # a third of a second: only where something is drawn

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"
    # The basic layout does not depend on whether libraqm is installed.
    return ImageFont.truetype(str(path), _EM, layout_engine=ImageFont.Layout.BASIC)


@cache
def _stamp(face: str, char: str) -> Image.Image:
    """The upright character, white on black, on a canvas of _CANVAS x _CANVAS. Never change it: it is shared."""
    image = Image.new("L", (_CANVAS, _CANVAS))
    ImageDraw.Draw(image).text((_CANVAS // 2, _BASELINE), char, fill=255, font=font(face), anchor="ms")
    return image


def _placed(dice: _Dice, face: str, char: str, shift: tuple[int, int]) -> Image.Image:
    """The character moved by a shift in canvas pixels, stretched, slanted and turned about the middle."""
    turn = math.radians(dice.between(-12, 12))
    wide, tall = dice.between(88, 112), dice.between(92, 108)  # percent
    slant = dice.between(-12, 12) / 100
    cos, sin, half = math.cos(turn), math.sin(turn), _CANVAS // 2
    # Pillow asks for the way back, from a place in the result to a place in the stamp.
    d, e = -sin * 100 / tall, cos * 100 / tall
    a, b = cos * 100 / wide + slant * d, sin * 100 / wide + slant * e
    x, y = half + shift[0], half + shift[1]
    back = (a, b, half - a * x - b * y, d, e, half - d * x - e * y)
    return _stamp(face, char).transform(
        (_CANVAS, _CANVAS), Image.Transform.AFFINE, back, resample=Image.Resampling.BILINEAR
    )


def _scribble(dice: _Dice) -> Image.Image:
    """Clutter on a canvas: fragments of other characters at the border, lines and dots."""
    image = Image.new("L", (_CANVAS, _CANVAS))
    for side in (-1, 1):
        if dice.between(0, 99) < 40:
            face, char = FACES[dice.between(0, len(FACES) - 1)], CHARS[dice.between(0, len(CHARS) - 1)]
            away, along = side * dice.between(36, 46), dice.between(-12, 12)
            shift = (away, along) if dice.between(0, 3) else (along, away)
            fragment = _placed(dice, face, char, shift)
            image.paste(255, mask=fragment)
    pen = ImageDraw.Draw(image)
    for _ in range(dice.between(0, 1)):
        ends = [dice.between(0, _CANVAS - 1) for _ in range(4)]
        pen.line(ends, fill=dice.between(120, 255), width=dice.between(1, 3))
    for _ in range(dice.between(0, 3)):
        x, y, r = dice.between(0, _CANVAS - 1), dice.between(0, _CANVAS - 1), dice.between(1, 3)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=dice.between(120, 255))
    return image


def _small(mask: Image.Image) -> np.ndarray:
    """A canvas averaged down to an opacity [SIDE, SIDE, 1] from 0 to 255."""
    opacity = np.asarray(mask.reduce(2), dtype=np.int64)
    return opacity.reshape(SIDE, SIDE, 1)


def _paper(dice: _Dice, colour: np.ndarray) -> np.ndarray:
    """A background [SIDE, SIDE, 3] in the colour, with a slope of brightness across it."""
    row, column = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    slope: np.ndarray = (row * dice.between(-40, 40) + column * dice.between(-40, 40)) // SIDE
    paper: np.ndarray = colour + slope.reshape(SIDE, SIDE, 1)
    return paper


def draw(split: str, label: int, index: int) -> np.ndarray:
    """One image [32, 32, 3] uint8 of the pool. Raises ValueError for a split other than train and test."""
    dice = _Dice(_SEED, _SPLITS.index(split), label, index)
    face = FACES[dice.between(0, len(FACES) - 1)]
    dark, light = dice.colour(0, 110), dice.colour(135, 255)
    paper, ink = (dark, light) if dice.between(0, 1) else (light, dark)
    glyph = _placed(dice, face, CHARS[label], (dice.between(-8, 8), dice.between(-6, 6)))
    clutter = _scribble(dice)
    tint = (ink * dice.between(40, 100) + dice.colour(0, 255) * 60) // 160
    image = _paper(dice, paper)
    for colour, mask in ((tint, clutter), (ink, glyph)):
        opacity = _small(mask)
        image = (image * (255 - opacity) + colour * opacity) // 255
    noisy: np.ndarray = image + dice.noise(dice.between(4, 16))
    return noisy.clip(0, 255).astype(np.uint8)


def _drawn(split: str, per_class: int) -> tuple[np.ndarray, np.ndarray]:
    """All images [N, 32, 32, 3] and labels [N] of a split, class after class."""
    image = np.stack([draw(split, label, index) for label in range(len(CHARS)) for index in range(per_class)])
    return image, np.repeat(np.arange(len(CHARS), dtype=np.int64), per_class)


def draw_pool() -> Source:
    """The whole pool, drawn afresh (some seconds)."""
    return Source(*_drawn("train", HEAD), *_drawn("test", TEST), classes=CLASSES, groups=GROUPS)


def _stem() -> str:
    """The start of the cache's name: pixels may differ between versions of the libraries that draw them."""
    freetype = features.version("freetype2")
    parts = (VERSION, np.__version__, PIL.__version__, version("matplotlib"), str(freetype))
    return f"{VERSION}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:12]}"


def _read(folder: Path) -> Source | None:
    """The cached pool, or None where there is none or it is damaged: the name carries the sha256 of the content."""
    paths: list[Path] = []
    with suppress(OSError):
        paths = sorted(folder.glob(f"{_stem()}-*.npz"))
    for path in paths:
        with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile):
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == path.stem.rsplit("-", 1)[1]:
                with np.load(io.BytesIO(content), allow_pickle=False) as held:
                    return Source(
                        held["train_image"],
                        held["train_label"],
                        held["test_image"],
                        held["test_label"],
                        classes=CLASSES,
                        groups=GROUPS,
                    )
    return None


def _write(folder: Path, source: Source) -> None:
    """Caches the pool in one step. A folder that cannot be written to is no error: the pool is in memory."""
    content = io.BytesIO()
    np.savez(
        content,
        train_image=source.train_image,
        train_label=source.train_label,
        test_image=source.test_image,
        test_label=source.test_label,
    )
    name = f"{_stem()}-{hashlib.sha256(content.getbuffer()).hexdigest()}.npz"
    with suppress(OSError), whole(folder / name) as file:
        file.write(content.getbuffer())


def load(folder: Path) -> Source:
    """The pool from its cache in folder/glyphs_lt, drawn and cached where that is missing or damaged. Raises nothing
    for a folder that cannot be read or written."""
    source = _read(folder / NAME)
    if source is None:
        source = draw_pool()
        _write(folder / NAME, source)
    return source
