"""Suites and records of rubbish, thousands in one process: read, or refused in one message, at once, in little memory.

A failed case prints its text; LTBENCH_FUZZ_SEED draws others, LTBENCH_FUZZ times as many.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import calls
import make_records
import numpy as np
import psutil
import pytest
import tiny

from ltbench import plan, record, registry, suite, tables, writers
from ltbench.data import dataset
from ltbench.errors import LtbenchError
from ltbench.keys import digest

TIMES = float(os.environ.get("LTBENCH_FUZZ", "1"))  # of the nightly numbers
SEED = os.environ.get("LTBENCH_FUZZ_SEED", "long tails")
MEGABYTES = 200.0


@pytest.fixture(scope="module")
def data(glyph_cache, tmp_path_factory):
    """The characters; CIFAR's folders are there, so that nothing is downloaded, and empty."""
    folder = tmp_path_factory.mktemp("data")
    shutil.copytree(glyph_cache, folder, dirs_exist_ok=True)
    for name in ("cifar-10-batches-py", "cifar-100-python"):
        (folder / name).mkdir()
    for name in ("cifar10_lt", "cifar100_lt"):  # torchvision is imported at the first
        with pytest.raises(LtbenchError, match="absent"):
            dataset.source_of(name, folder)
    return folder


class Tally:
    """What became of the cases, how long the slowest took, and how much memory has grown since the first few."""

    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()
        self.slowest, self.process, self.base = 0.0, psutil.Process(), 0

    @contextmanager
    def case(self, text: object) -> Iterator[None]:
        """One case: it may end well or in LtbenchError; what else it raises names the text."""
        begun = time.process_time()
        with calls.no_hang(text):
            try:
                yield
                self.ends["read"] += 1
            except LtbenchError as error:
                assert str(error) and "Traceback" not in str(error)
                self.ends["refused"] += 1
            except Exception as error:
                raise AssertionError(f"{type(error).__name__}: {error}, from {text!r}") from error
        self.slowest = max(self.slowest, time.process_time() - begun)
        if self.ends.total() == 200:
            self.base = self.process.memory_info().rss

    def close(self, what: str, both: bool = True) -> None:
        """Memory has not grown; there were cases of either end, or the fuzzer is no good."""
        grown = (self.process.memory_info().rss - self.base) / 2**20
        print(
            f"{what}: {dict(self.ends)}, slowest {1000 * self.slowest:.0f} ms of a processor, memory {grown:+.0f} MiB"
        )
        assert grown < MEGABYTES
        assert self.ends["refused"] and (self.ends["read"] or not both)


# Suites

SHIPPED = [path.read_bytes() for path in suite.shipped().values()]
READABLE = [text for text in SHIPPED if b"name: glyphs_lt" in text]  # their data are there
BITS = [
    b"", b"\0", b"\t", b"\n", b"\r", b" ", b'"', b"'", b"#", b"%", b"&a", b"*a", b",", b"-", b":", b": ", b"<<", b">",
    b"?", b"@", b"[", b"]", b"`", b"{", b"|", b"}", b"!", b"!!", b"~", b"0", b"\\", b"\xff", b"\xc3", b"\xef\xbb\xbf",
    b"1e999", b"-1", b"null", b"- ", b"---\n", b"...", b"\xe2\x80\xa8", b"9" * 400, b"[" * 60, b"{a: " * 60,
]  # fmt: skip


def bytes_of(dice: random.Random) -> bytes:
    """A shipped suite with a few bytes changed, cut, doubled or of another suite."""
    text = dice.choice(dice.choice((SHIPPED, READABLE)))
    for _ in range(dice.randint(1, 6)):
        at, gone = dice.randrange(len(text) + 1), dice.choice((0, 0, 1, 2, 8, 80))
        other = dice.choice(SHIPPED)
        start = dice.randrange(len(other))
        put = dice.choice((dice.choice(BITS), dice.randbytes(3), other[start : start + dice.randint(1, 60)]))
        text = text[:at] + put + text[at + gone :]
    return text[: dice.randrange(len(text) + 1)] if dice.random() < 0.1 else text


ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 10**30, -(10**400), 0.5, -0.0, 1e-320, 1e308, "", "ce", "yes", "0x1F", "é" * 300,
    "a\nb", "\u202e", [], [[]], {}, {"ce": None}, {"": 1}, [1, 1], list(range(100)), "=cmd", "<b>", "%s{}",
]  # fmt: skip


def often(dice: random.Random, good: Any, odds: float = 0.12) -> Any:
    """The good value, or now and then an odd one."""
    return dice.choice(ODD) if dice.random() < odds else good


def method_of(dice: random.Random, depth: int = 0) -> Any:
    """A method with some of its options, bases within bases."""
    name = dice.choice(list(registry.available()))
    known = registry.signature(registry.get(name))
    options = {}
    for key in dice.sample(list(known), dice.randint(0, len(known))):
        default = registry.canonical(known[key][1])
        if isinstance(default, dict) and depth < 12 and dice.random() < 0.7:
            value = method_of(dice, depth + 1)
        else:
            value = often(dice, default, 0.02) if dice.random() < 0.9 else dice.choice((2, 20, 0.3, "ce", True))
        options[str(often(dice, key, 0.005))] = value
    return {name: options} if options else name


def tree_of(dice: random.Random) -> bytes:
    """A suite that fits the grammar, but for some values, keys and entries that do not."""
    spec = {
        "name": dice.choice(["glyphs_lt"] * 8 + ["cifar10_lt", "cifar100_lt"]),
        "imbalance": dice.choice((1, 3, 10, 100.0, 1e6)), "head": dice.choice((1, 9, 60, 100, 10**6)),
        "profile": dice.choice(("exp", "step")),
    }  # fmt: skip
    recipe = {
        "epochs": dice.choice((1, 2, 200, 10**12)),
        "batch_size": 64,
        "lr": 0.1,
        "steps": [0.8],
        "augment": ["crop"],
    }
    body: dict[str, Any] = {
        "data": often(dice, {key: often(dice, value, 0.05) for key, value in spec.items()}, 0.02),
        "backbone": often(dice, dice.choice(("resnet8", "resnet32", ["resnet8", "resnet20"])), 0.05),
        "seeds": often(dice, [0, 1, 2], 0.05),
        "recipe": often(dice, {key: often(dice, value, 0.03) for key, value in recipe.items()}, 0.02),
        "methods": often(dice, [often(dice, method_of(dice), 0.02) for _ in range(dice.randint(1, 4))], 0.02),
    }
    if dice.random() < 0.2:
        body[dice.choice(("baseline", "seed", "Data", "é"))] = dice.choice(ODD)
    if dice.random() < 0.1:
        del body[dice.choice(list(body))]
    return json.dumps(body, ensure_ascii=dice.random() < 0.5, indent=dice.choice((None, 1))).encode("utf-8", "replace")


def answer(path: Path, data: Path) -> None:
    """As `ltbench plan` does."""
    plan.make(suite.read(str(path)), data).file()


@pytest.mark.parametrize("make", [bytes_of, tree_of])
@pytest.mark.parametrize("cases", [250, pytest.param(10_000, marks=[pytest.mark.nightly, pytest.mark.timeout(3600)])])
def test_suites_of_rubbish_are_read_or_refused_at_once(tmp_path, data, capsys, make, cases):
    dice, tally = random.Random(f"{SEED} {make.__name__} {cases}"), Tally()
    path = tmp_path / "rubbish.yaml"
    for number in range(max(201, int(cases * TIMES))):
        text = make(dice)
        path.write_bytes(text)
        with tally.case(text):
            answer(path, data)
        if number % 50 == 0:  # the command itself
            done = calls.ltbench(capsys, "plan", path, "--data", data, "--results", tmp_path / "r", "--format", "json")
            assert done.code in (0, 2) and "Traceback" not in done.err and (done.code == 0) == (done.err == "")
    with capsys.disabled():
        tally.close(f"\nsuites, {make.__name__}")


CROWD = """\
from ltbench import Method, Ref, register

@register("crowd")
class Crowd(Method):
    def __init__(self, problem, *, base=Ref("ce")): super().__init__(problem)
    @classmethod
    def needs(cls, options):
        return {f"m{i}": Ref(options["base"].method, options["base"].options, seed=i + 1) for i in range(20)}
"""


def test_crowds_within_crowds_are_refused_before_they_are_counted(tmp_path, data, own_registry):
    (tmp_path / "crowd.py").write_text(CROWD)
    registry.load_plugin(str(tmp_path / "crowd.py"))
    inner = "ce"
    for _ in range(6):
        inner = f"{{crowd: {{base: {inner}}}}}"
    more = r"tiny.yaml:5: methods\[0\]: more than 1000 runs are needed for one"
    with calls.no_hang(), pytest.raises(LtbenchError, match=more):
        answer(tiny.write(tmp_path, inner), data)


# Records


def damaged(text: bytes, dice: random.Random) -> bytes:
    """Bytes changed, cut or put in."""
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(text) + 1)
        text = text[:at] + dice.choice((dice.choice(BITS), dice.randbytes(2))) + text[at + dice.choice((0, 1, 9)) :]
    return text


def places(body: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value below."""
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def forged(text: bytes, dice: random.Random) -> bytes:
    """Values exchanged for odd ones, keys taken out or put in, and the hash made right again."""
    body = json.loads(text)
    for _ in range(dice.randint(1, 3)):
        *above, last = dice.choice([path for path in places(body) if path != ("sha256",)])
        inner, odd = body, json.loads(json.dumps(dice.choice(ODD)))
        for key in above:
            inner = inner[key]
        if dice.random() < 0.2:
            del inner[last]
        elif isinstance(inner, dict) and dice.random() < 0.1:
            inner["strange"] = odd
        else:
            inner[last] = odd if dice.random() < 0.8 else dice.choice(["eJwDAAAAAAE=", [0.1] * 3, -5, [10**6] * 3])
    body["sha256"] = digest({key: value for key, value in body.items() if key not in ("sha256", "volatile")})
    return json.dumps(body).encode()


@pytest.mark.parametrize("change", [damaged, forged])
@pytest.mark.parametrize("cases", [100, pytest.param(1000, marks=[pytest.mark.nightly, pytest.mark.timeout(3600)])])
def test_records_of_rubbish_are_read_or_refused_at_once_and_the_others_are_shown(
    tmp_path, capsys, change: Callable[[bytes, random.Random], bytes], cases
):
    dice, tally = random.Random(f"{SEED} {change.__name__} {cases}"), Tally()
    encoded = record.encode(np.arange(30) % 3)
    history = [{"epoch": 0, "lr": 0.1, "terms": {"ce": 1.0}}]
    made = [make_records.make("ce", seed, predictions=encoded, history=history) for seed in range(2)]
    other = [make_records.make("bbn", seed, predictions=encoded, history=history) for seed in range(2)]
    folder = make_records.write(tmp_path, [make_records.row(made), make_records.row(other)], [*made, *other])
    path = folder / f"{made[0].stem}.json"
    whole, fixed = path.read_bytes(), made[0].fixed()
    for number in range(max(201, int(cases * TIMES)) if cases > 100 else cases):
        text = change(whole, dice)
        path.write_bytes(text)
        with tally.case(text):
            got = record.read(path)
            assert change is forged or got.fixed() == fixed, f"accepted, though it says something else: {text!r}"
        with tally.case(text):  # the table of the others
            writers.render(tables.load(folder), "md")
        with tally.case(text):  # what decodes predictions
            tables.load(folder, tables.Options(metric="macro_f1", test_list="forward50"))
        if number % 20 == 0:
            done = calls.ltbench(capsys, "table", folder)
            assert done.code in (0, 1) and "bbn" in done.out and "Traceback" not in done.err, (done.err, text)
    with capsys.disabled():
        tally.close(f"\nrecords, {change.__name__}")
