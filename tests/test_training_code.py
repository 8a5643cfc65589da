"""What of a method's file counts as a change of its training."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ltbench import registry, sources
from ltbench.training_code import training_code

CODE = '''\
"""A page."""

from inspect import signature
from math import exp

from torch import nn


class Mine(nn.Module):
    """A method."""

    version = 1

    @classmethod
    def needs(cls, options):
        """What it starts from."""
        return signature(cls) and cls.checked({})

    @classmethod
    def checked(cls, asked):
        """Asked by needs() alone, and by itself."""
        return asked or cls.checked(asked)

    @classmethod
    def weighed(cls, x):
        """Asked by loss()."""
        return 2 * x

    def loss(self, x):
        """Its loss."""
        return exp(self.weighed(x)) + 1
'''
SAID = [  # these change nothing
    ("A page.", "Another page."), ("Its loss.", "Eq. 3."), ('        """Its loss."""\n', ""),
    ("return exp(self", "return exp(  # why\n            self"), ("signature(cls) and ", ""),
    ("return asked or", "return {} or"),
    ("from inspect import signature\n", ""), ("from math import exp", "from math import exp, log"),
    ("        return signature(cls) and cls.checked({})\n", ""), ("class Mine", "\n\nclass Mine"),
]  # fmt: skip
DONE = [  # and these might
    ("+ 1", "+ 2"), ("+ 1", "- 1"), ("+ 1", "+ 1.0"), ("version = 1", "version = 2"), ("nn.Module", "nn.Sequential"),
    ("from math import exp", "from cmath import exp"), ("import exp", "import log as exp"),
    ("weighed(x)", "weighed(-x)"), ("2 * x", "3 * x"), ("import exp\n", "import exp\nimport patch\n"),
    ("import exp\n", "import exp\nfrom patch import *\n"),
    ("(self, x)", "(self, *, x, y=1)"), ("def loss(self, x)", "def loss(self, x=0)"), ("return exp", "x"),
    ("        return exp(self.weighed(x)) + 1", "        pass"), ("class Mine", "@print\nclass Mine"),
]  # fmt: skip


def code(folder, text: str) -> bytes:
    (folder / "mine.py").write_text(text)
    return training_code([folder / "mine.py"])


@pytest.mark.parametrize(("old", "new"), SAID)
def test_what_is_said_or_planned_is_none(tmp_path, old, new):
    assert CODE.replace(old, new) != CODE and code(tmp_path, CODE.replace(old, new)) == code(tmp_path, CODE)


@pytest.mark.parametrize(("old", "new"), DONE)
def test_all_else_is_one(tmp_path, old, new):
    assert CODE.replace(old, new) != CODE and code(tmp_path, CODE.replace(old, new)) != code(tmp_path, CODE)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{**a, 'k': b}", "{'k': a, **b}"),
        ("lambda *, a, b=1: a", "lambda *, a=1, b: a"),
        ("[a, None]", "[None, a]"),
    ],
)
def test_what_is_absent_keeps_its_place(tmp_path, one, other):
    assert code(tmp_path, f"x = {one}") != code(tmp_path, f"x = {other}")


def test_what_one_file_imports_for_another_counts(tmp_path):
    (tmp_path / "own.py").write_text("from helper import f\n\nx = f(1)\n")
    found = []
    for origin in "ab":
        (tmp_path / "helper.py").write_text(f"from impl_{origin} import f\n")
        found.append(training_code([tmp_path / "own.py", tmp_path / "helper.py"]))
    assert found[0] != found[1]


def test_a_file_that_is_no_python_counts_as_it_is(tmp_path):
    for text in ("def", "\0", "def f(:\n", "x = " + "1+" * 5000 + "1", "x = " + "[" * 90 + "]" * 90):
        assert code(tmp_path, text) == text.encode() or text.endswith("]")


def test_the_code_of_every_method_is_read_as_python():
    for method in registry.available().values():
        paths = sources.source_files(method)
        assert training_code(paths) != b"\0".join(path.read_bytes() for path in paths)


def test_it_brings_no_torch():
    code = "import sys, ltbench.training_code; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
