"""docs/suites.md names every key of a suite file, with its default."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from ltbench import suite
from ltbench.data.spec import DataSpec
from ltbench.recipe import Recipe

PAGE = (Path(__file__).parent.parent / "docs" / "suites.md").read_text(encoding="utf-8")


def table(heading: str) -> dict[str, str]:
    """key -> default, as the first table below a heading has them."""
    part = PAGE.partition(f"# {heading}\n")[2].partition("\n#")[0]
    return dict(re.findall(r"^\| `(\w+)` \| `?(.*?)`? \|", part, re.MULTILINE))


def defaults(of: type) -> dict[str, str]:
    """The same, of a dataclass, as YAML says it; a default of None cannot be written, only left out."""
    shown = {f.name: "required" if f.default is dataclasses.MISSING else f.default for f in dataclasses.fields(of)}
    return {name: "left out" if value is None else yaml_of(value) for name, value in shown.items()}


def yaml_of(value: object) -> str:
    """A value in YAML's words."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(yaml_of, value))}]"
    return {"True": "true", "False": "false", "1e-08": "1.0e-8", "": '""'}.get(str(value), str(value))


@pytest.mark.parametrize(("heading", "of", "hidden"), [("recipe", Recipe, set()), ("data", DataSpec, {"draw"})])
def test_every_key_stands_there_with_its_default(heading, of, hidden):
    assert table(heading) == {name: value for name, value in defaults(of).items() if name not in hidden}


def test_the_keys_of_the_file():
    found = table("A suite file, key by key")
    assert set(found) == {*suite.REQUIRED, *suite.OPTIONAL}
    assert {key for key, default in found.items() if default == "required"} == set(suite.REQUIRED)


def test_the_example_is_a_suite(tmp_path):
    (tmp_path / "example.yaml").write_text(PAGE.partition("```yaml\n")[2].partition("```")[0])
    assert suite.read(str(tmp_path / "example.yaml")).faults == []
