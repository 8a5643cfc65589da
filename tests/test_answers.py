"""What a method of one's own answers to a plan, and how its options are annotated: each mistake is one message."""

import json
import re

import calls
import pytest

HEAD = "data: {name: glyphs_lt, imbalance: 10}\nbackbone: resnet8\nrecipe: {epochs: 1}\nmethods: [ce, own]\n"
CLASS = '''\
from __future__ import annotations

from datetime import date
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
from annotated_types import Ge

from ltbench import Method, Ref, register

if TYPE_CHECKING:
    from ltbench import Problem


class Colour(str, Enum):
    RED = "red"


@register("own")
class Own(Method):
    """Its own."""

    def __init__(self, problem{kind}, *{options}):
        super().__init__(problem)

    @classmethod
    def {hook}
'''
NEEDS = "needs(cls, options): return {}"


def plan(capsys, tmp_path, data, hook=NEEDS, options=", strength: float = 1.0", kind="", methods="[ce, own]", more=()):
    (tmp_path / "own.py").write_text(CLASS.format(hook=hook, options=options, kind=kind))
    (tmp_path / "s.yaml").write_text(HEAD.replace("[ce, own]", methods))
    words = "--data", data, "--plugin", tmp_path / "own.py", "--results", tmp_path / "r", "--runs", tmp_path / "runs"
    return calls.ltbench(capsys, "plan", tmp_path / "s.yaml", *words, *more)


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("skip(cls, problem, options): pass", 'own.skip() must return a reason not to run, or "", got None'),
        ("needs(cls, options): pass", "own.needs() must return a dict of role -> Ref, got None"),
        ('needs(cls, options): return {"stage1": "ce"}', "must return a dict of role -> Ref, got {'stage1': 'ce'}"),
        ("recipe(cls, base, options): pass", "own.recipe() must return a Recipe, got None"),
        ("skip(cls, problem, options): return options['s']", "own.skip: KeyError: 's' (own.py:29)"),
        (f"{NEEDS}\n\n    def streams(self): pass", "streams() must return a tuple of Streams, one at least, got None"),
        (
            f"{NEEDS}\n\n    def streams(self): return ()",
            "streams() must return a tuple of Streams, one at least, got ()",
        ),
        (f"{NEEDS}\n\n    def streams(self): return ('by_image',)", "own on resnet8: streams() must return a tuple of"),
        ("offers(cls, options): pass", "own.offers() must return a tuple of attribute names, got None"),
        (
            'needs(cls, options): return {"a": Ref("ce", part="fitt")}',
            "own: the part of a Ref is 'all' or 'fit', got 'fitt'",
        ),
        ('needs(cls, options): return {"a": Ref("cee")}', "own.needs() names cee: unknown method 'cee'; did you mean"),
    ],
)
def test_an_answer_that_is_none_is_one_message_with_the_line_of_the_suite(
    capsys, tmp_path, glyph_cache, own_registry, hook, said
):
    done = plan(
        capsys, tmp_path, glyph_cache, hook, methods="[ce, crt: {base: own}]" if "offers" in hook else "[ce, own]"
    )
    assert done.code == 2 and said in done.err and "s.yaml:4" in done.err and done.err.count("\n") == 1


INIT = """{needs}

    def __init__(self, problem, *, on: bool = False):
        super().__init__(problem)
        self.backbone = problem.backbone()
        {line}
"""


def test_a_constructor_that_fails_fails_the_plan_and_names_its_line(capsys, tmp_path, glyph_cache, own_registry):
    line = "self.heads = torch.zeros(problem.classses)"
    done = plan(capsys, tmp_path, glyph_cache, INIT.format(needs=NEEDS, line=line))
    said = "own on resnet8 cannot be built: AttributeError: 'Problem' object has no attribute 'classses' (own.py:34)"
    assert done.code == 2 and said in done.err and "s.yaml:4" in done.err and done.err.count("\n") == 1


def test_a_constructor_that_computes_with_weights_is_built_indeed(capsys, tmp_path, glyph_cache, own_registry):
    line = "self.scale = next(self.backbone.parameters()).abs().max().item()"
    assert plan(capsys, tmp_path, glyph_cache, INIT.format(needs=NEEDS, line=line)).code == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"kind": ": Problem"}, "an annotation of __init__ names Problem, which is not there when the file runs"),
        ({"options": ", weight: torch.Tensor | None = None"}, "an option is of no kind that a suite can hold"),
        ({"options": ", weight: int = 0.5"}, "own.Own: the default of weight: must be a whole number, got 0.5"),
        (
            {"options": ", w: Annotated[list[int], Ge(0)] = [1]"},
            "own.Own: the limits of an option do not go with its type",
        ),
        ({"options": ", act: object = torch.relu"}, "option 'act': its default, <"),
        ({"kind": ", scale=1.0"}, "'scale' is no option where it stands: put a * before the options"),
        (
            {"options": ", a: Path = Path()"},
            "own.Own: option 'a': its default, PosixPath('.'), is nothing that a suite",
        ),
        ({"options": ", s=None"}, "own.Own: option 's': say of what type it is, as s: float | None = None"),
        ({"options": ", s: int = 1, **more"}, "own.Own: **more holds options that no suite can know of: write each"),
        ({"options": "rest"}, "own.Own: *rest holds options that no suite can know of"),
        ({"options": ", _hidden: int = 1"}, "option '_hidden': a name does not begin with _"),
    ],
)
def test_an_annotation_that_cannot_be_read_is_one_message(capsys, tmp_path, glyph_cache, own_registry, more, said):
    done = plan(capsys, tmp_path, glyph_cache, **more)
    assert done.code == 2 and said in done.err and "Traceback" not in done.err


def test_lists_are_options_as_tuples_are(capsys, tmp_path, glyph_cache, own_registry):
    options = ", a: list[float] = (1.0,), b: tuple[int, ...] = (1,), c: dict[str, list[int]] = {}"
    given = "[ce, own, own: {a: [1, 2.5], b: [3], c: {x: [1, 2]}}]"
    assert plan(capsys, tmp_path, glyph_cache, options=options, methods=given).code == 0
    done = plan(capsys, tmp_path, glyph_cache, options=options, methods="[ce, own: {a: [x]}]")
    assert done.code == 2 and "s.yaml:4: methods[1].own.a[0]: must be a number, got 'x'" in done.err


@pytest.mark.parametrize(
    ("kind", "given"),
    [("Path", "x"), ("set[int]", "[1]"), ("date", "2026-11-27"), ("bytes", "x"), ("complex", "1"), ("Colour", "red")],
)
def test_an_option_of_a_type_that_no_key_can_hold_is_one_message(
    capsys, tmp_path, glyph_cache, own_registry, kind, given
):
    """By way of JSON they passed, and ended the plan in a traceback."""
    done = plan(
        capsys, tmp_path, glyph_cache, options=f", p: {kind} | None = None", methods=f"[ce, own: {{p: {given}}}]"
    )
    assert done.code == 2 and "Traceback" not in done.err and done.err.count("\n") == 1
    assert "s.yaml:4: methods[1].own.p: " in done.err


def test_what_trains_nothing_may_draw_nothing(capsys, tmp_path, glyph_cache, own_registry):
    hook = f"{NEEDS}\n\n    @classmethod\n    def recipe(cls, base, options): return base.with_(epochs=0)\n"
    hook += "\n    def streams(self): return ()"
    assert plan(capsys, tmp_path, glyph_cache, hook).code == 0


def test_rows_that_differ_only_in_what_is_off_are_refused_and_not_merged(capsys, tmp_path, glyph_cache, own_registry):
    options = ", flag: bool | None = None"
    done = plan(capsys, tmp_path, glyph_cache, options=options, methods="[own, own: {flag: false}]")
    assert done.code == 2 and "own(flag=false) and own differ only in what is off" in done.err
    done = plan(capsys, tmp_path, glyph_cache, options=options, methods="[own, own: {flag: true}]")
    assert done.code == 0


def test_a_row_whose_parent_will_not_run_here_is_skipped_with_its_reason(capsys, tmp_path, glyph_cache, own_registry):
    hook = 'skip(cls, problem, options): return "not on letters"'
    done = plan(capsys, tmp_path, glyph_cache, hook, methods="[ce, ncm: {base: own}]")
    assert (
        done.code == 0
        and "skipped: ncm(base=own) on" in done.out
        and "own: not on letters" in " ".join(done.out.split())
    )
    assert "1 run, 1 to do" in done.out, "own is not trained as somebody's parent"
    methods, as_json = "[ce, ncm: {base: own}]", ("--format", "json")
    ce, skipped = json.loads(plan(capsys, tmp_path, glyph_cache, hook, methods=methods, more=as_json).out)
    assert ce.keys() == skipped.keys()
    assert (skipped["run"], skipped["status"], skipped["label"]) == (None, "skipped", "ncm(base=own)")
    assert skipped["reason"].endswith("own: not on letters")
    chosen = plan(capsys, tmp_path, glyph_cache, hook, methods=methods, more=("--only", "ce"))
    assert chosen.code == 0 and "skipped" not in chosen.out


def test_check_asks_what_a_plan_asks(capsys, tmp_path, own_registry):
    (tmp_path / "own.py").write_text(
        CLASS.format(hook="skip(cls, problem, options): pass", options="", kind="").replace("*)", ")")
    )
    done = calls.ltbench(capsys, "check", "own", "--plugin", tmp_path / "own.py")
    assert done.code == 1
    assert 'skip() must return a reason not to run, or "", got None' in " ".join(done.out.split())


def test_a_parent_of_many_is_asked_once(capsys, tmp_path, glyph_cache, own_registry):
    hook = """needs(cls, options):
        return {f"m{i}": Ref("ce", seed=1000 * i) for i in range(900)}

    @classmethod
    def skip(cls, problem, options):
        print("asked")
        return ""
"""
    done = plan(capsys, tmp_path, glyph_cache, hook, methods="[own]")
    assert done.code == 0 and done.out.count("asked\n") == 1


def test_an_option_that_is_wrong_outside_a_suite_is_named(capsys):
    done = calls.ltbench(capsys, "check", "ride(experts=9)")
    assert done.code == 2 and "experts: must be less than or equal to 6, got 9" in done.err


def test_faults_of_the_data_are_named_with_their_place_and_hide_no_others(capsys, tmp_path, glyph_cache):
    data = "[{name: glyphs_lt, imbalance: 10, head: 30000}, {name: glyphs_lt, imbalance: 10, classes: 99}]"
    (tmp_path / "s.yaml").write_text(
        HEAD.replace("{name: glyphs_lt, imbalance: 10}", data).replace("[ce, own]", "[ce]")
    )
    done = calls.ltbench(capsys, "plan", tmp_path / "s.yaml", "--data", glyph_cache)
    assert done.code == 2
    assert re.search(r"s\.yaml:1: data\[0\]\.head: glyphs_lt has \d+ images a class, got 30000\n", done.err)
    assert "s.yaml:1: data[1].classes: glyphs_lt(imbalance=10, classes=99) has 62, got 99" in done.err
    shown = calls.ltbench(capsys, "data", "show", tmp_path / "s.yaml", "--data", glyph_cache)
    assert shown.code == 2 and "s.yaml:1: data[0].head: glyphs_lt has" in shown.err


def test_needs_that_never_end_are_one_message(capsys, tmp_path, glyph_cache, own_registry):
    hook = 'needs(cls, options): return {"next": Ref("own", {"strength": options["strength"] + 1.0})}'
    done = plan(capsys, tmp_path, glyph_cache, hook, methods="[own]")
    assert done.code == 2 and "more than 20 runs need one another" in done.err and "Traceback" not in done.err


def test_streams_that_cannot_be_counted_leave_the_plan_without_an_estimate(capsys, tmp_path, glyph_cache, own_registry):
    hook = "needs(cls, options): return {}\n\n    def streams(self): return (self.parents['stage1'].stream,)"
    assert plan(capsys, tmp_path, glyph_cache, hook).code == 0
