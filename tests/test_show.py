"""`ltbench show SUITE`: what it prints is the suite, spelled out."""

import calls
import pytest

from ltbench import suite


@pytest.mark.parametrize("name", list(suite.shipped()))
def test_what_is_shown_of_a_shipped_suite_is_that_suite(capsys, tmp_path, name):
    (tmp_path / f"{name}.yaml").write_text(calls.ltbench(capsys, "show", name).out)
    shown, shipped = suite.read(str(tmp_path / f"{name}.yaml")), suite.read(name)
    assert not shown.faults
    for field in ("data", "backbones", "recipe", "seeds", "baseline"):
        assert getattr(shown, field) == getattr(shipped, field)
    assert [entry.given for entry in shown.entries] == [entry.given for entry in shipped.entries]


def test_a_method_without_options_keeps_its_name(capsys, tmp_path):
    head = "data: {name: glyphs_lt, imbalance: 10}\nbackbone: resnet8\nrecipe: {epochs: 1}\n"
    (tmp_path / "s.yaml").write_text(f"{head}methods:\n  - ride:\n  - ce:\n    recipe: {{lr: 0.2}}\n")
    out = calls.ltbench(capsys, "show", tmp_path / "s.yaml").out
    assert "ride: null" in out and "ce: null" in out


def test_options_are_shown_as_a_suite_has_them(capsys):
    out = calls.ltbench(capsys, "show", "ride_distill").out
    assert "Optional" not in out and "float >= 0 <= 1 | none" in out and "{ride: {experts: 6}}" in out
