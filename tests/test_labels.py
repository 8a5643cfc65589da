"""The labels of rows, written and read back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltbench import Ref
from ltbench.errors import LtbenchError
from ltbench.labels import label, parse
from ltbench.registry import as_ref, available, canonical, resolve

FEW = settings(deadline=None, max_examples=40)
BUILT_IN = sorted(name for name, cls in available().items() if cls.__module__.startswith("ltbench.methods."))


def label_of(given) -> str:
    ref = as_ref(given)
    return label(ref.method, ref.options)


def returns(given) -> bool:
    """Whether the label of this method, read back, is this method again, and its label the same."""
    ref = as_ref(given)
    back = parse(label(ref.method, ref.options))
    return canonical(back) == canonical(ref) and label(back.method, back.options) == label(ref.method, ref.options)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("ce", "ce"),
        ({"ce": {"head": "cosine"}}, "ce(head=cosine)"),
        ({"ce": {"head": "linear"}}, "ce"),
        ("ride", "ride(experts=3)"),
        ({"ride": {"diversity": 0, "experts": 4}}, "ride(experts=4, diversity=0)"),
        ({"ride": {"joint": True}}, "ride(experts=3, joint=true)"),
        ({"ride": {"loss": "focal", "gamma": 1.5}}, "ride(experts=3, loss=focal, gamma=1.5)"),
        ("tau_norm", "tau_norm(tau=1)"),
        ("crt", "crt"),
        ({"crt": {"base": "ce"}}, "crt"),
        ({"crt": {"base": "ldam_drw"}}, "crt(base=ldam_drw)"),
        ({"ride_ea": {"base": {"ride": {"experts": 3}}}}, "ride_ea"),
        ({"ride_ea": {"base": {"ride": {"experts": 2}}}}, "ride_ea(base=ride(experts=2))"),
        (
            {"tau_norm": {"base": {"crt": {"base": {"ce": {"head": "cosine"}}}}, "tau": 0.5}},
            "tau_norm(base=crt(base=ce(head=cosine)), tau=0.5)",
        ),
    ],
)
def test_a_label_names_what_differs_from_the_defaults_and_what_is_shown(given, expected):
    assert label_of(given) == expected
    assert returns(given)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_method_has_a_label_that_is_read_back(name):
    assert label(name, resolve(name, {})).startswith(name)
    assert returns(name)


def changes(name: str):
    """(option, another value) for every plain option of a method."""
    for option, value in resolve(name, {}).items():
        if isinstance(value, bool):
            yield option, not value
        elif isinstance(value, int):
            yield option, value - 1
        elif isinstance(value, float):
            yield option, value / 2
        elif isinstance(value, Ref):
            yield option, {"ride": {"experts": 2}}


@pytest.mark.parametrize(("name", "option", "value"), [(name, *pair) for name in BUILT_IN for pair in changes(name)])
def test_every_option_shows_and_is_read_back(name, option, value):
    given = {name: {option: value}}
    assert label_of(given) != label_of(name)
    assert f"{option}=" in label_of(given)
    assert returns(given)


bases = st.recursive(
    st.sampled_from(["ce", "ldam_drw", {"ce": {"head": "cosine"}}, {"ride": {"experts": 2, "width": 0.5}}]),
    lambda inner: st.one_of(
        st.builds(lambda base: {"crt": {"base": base}}, inner),
        st.builds(lambda base, tau: {"tau_norm": {"base": base, "tau": tau / 100}}, inner, st.integers(0, 300)),
    ),
    max_leaves=4,
)


@FEW
@given(bases)
def test_nested_methods_are_read_back(given):
    assert returns(given)


def test_spaces_do_not_matter():
    assert parse("  ride( experts = 2 ,diversity=-1 ) ") == parse("ride(experts=2, diversity=-1)")


def test_a_label_is_read_with_its_defaults_resolved():
    assert parse("ride").options == resolve("ride", {})
    assert parse("ride()") == parse("ride(experts=3)") == parse("ride")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no label"),
        ("ride(experts=3", "is no label"),
        ("3 experts", "is no label"),
        ("ride experts=3", "is no label"),
        ("ride(3)", "'3' is not option=value"),
        ("rid", "did you mean 'ride'"),
        ("ride(expert=3)", "did you mean 'experts'"),
        ("ride(experts=7)", "less than or equal to 6, got 7"),
        ("ride(experts=three)", "got 'three'"),
        ("ride(experts=3.5)", r"got 3\.5"),
        ("ride(loss=ldma)", "did you mean 'ldam'"),
        ("crt(base=rid)", "did you mean 'ride'"),
        ("crt(base=ride(expert=3))", "did you mean 'experts'"),
        ("crt(base=3)", "a method is a name, .* got 3"),
        ("crt(base=crt)x", "is no label"),
    ],
)
def test_what_is_no_label_is_a_message(text, message):
    with pytest.raises(LtbenchError, match=message):
        parse(text)
