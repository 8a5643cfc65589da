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
        return signature(cls) and {}

    def loss(self, x):
        """Its loss."""
        return exp(x) + 1
'''
SAID = [  # these change nothing
    ("A page.", "Another page."), ("Its loss.", "Eq. 3."), ('        """Its loss."""\n', ""),
    ("return exp(x) + 1", "return (exp(x)\n                + 1)  # why"), ("signature(cls) and {}", "{}"),
    ("from inspect import signature\n", ""), ("from math import exp", "from math import exp, log"),
    ("        return signature(cls) and {}\n", ""), ("class Mine", "\n\nclass Mine"),
]  # fmt: skip
DONE = [  # and these might
    ("+ 1", "+ 2"), ("+ 1", "- 1"), ("+ 1", "+ 1.0"), ("version = 1", "version = 2"), ("nn.Module", "nn.Sequential"),
    ("from math import exp", "from cmath import exp"), ("import exp", "import log as exp"), ("exp(x)", "exp(-x)"),
    ("    @classmethod\n", ""), ("def loss(self, x)", "def loss(self, x=0)"), ("return exp", "x"),
    ("        return exp(x) + 1", "        pass"), ("class Mine", "@print\nclass Mine"),
]  # fmt: skip


def code(folder, text: str) -> bytes:
    (folder / "mine.py").write_text(text)
    return training_code(folder / "mine.py")


@pytest.mark.parametrize(("old", "new"), SAID)
def test_what_is_said_or_planned_is_none(tmp_path, old, new):
    assert CODE.replace(old, new) != CODE and code(tmp_path, CODE.replace(old, new)) == code(tmp_path, CODE)


@pytest.mark.parametrize(("old", "new"), DONE)
def test_all_else_is_one(tmp_path, old, new):
    assert CODE.replace(old, new) != CODE and code(tmp_path, CODE.replace(old, new)) != code(tmp_path, CODE)


def test_a_file_that_is_no_python_counts_as_it_is(tmp_path):
    for text in ("def", "\0", "def f(:\n"):
        assert code(tmp_path, text) == text.encode()


def test_the_code_of_every_method_is_read_as_python():
    for method in registry.available().values():
        for path in sources.source_files(method):
            assert training_code(path) != path.read_bytes()


def test_it_brings_no_torch():
    code = "import sys, ltbench.training_code; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
