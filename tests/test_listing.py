"""What `list`, `show` and `data show` print."""

import dataclasses
import json
import re
from pathlib import Path

import calls
import pytest
import tiny

from ltbench import Recipe, suite


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


def test_methods_are_listed_with_a_plugins(server, tmp_path):
    plugin = Path(__file__).parent / "plugins" / "progressive.py"
    done = server.run("list", "methods", "--format", "json", "--plugin", plugin, cwd=tmp_path)
    found = {item["name"]: item for item in json.loads(done.stdout)}
    assert all(list(item) == ["name", "paper", "summary", "options", "origin"] for item in found.values())
    assert list(found) == sorted(found) and {"ce", "ride", "progressive"} < set(found)
    assert found["ride"]["options"]["experts"] == 3 and list(found["crt"]["options"]["base"]) == ["ce"]
    assert found["ride"]["paper"] == "arXiv:2010.01809" and found["ride"]["summary"].endswith(".")
    assert found["ce"]["origin"] == "ltbench.methods.ce.CE"
    assert found["progressive"]["summary"] == "Cross-entropy on images as they come at first, on classes alike at last."


@pytest.mark.parametrize(("what", "name"), [("datasets", "glyphs_lt"), ("backbones", "resnet32"), ("suites", "quick")])
def test_each_kind_is_listed_in_words_and_in_json(server, tmp_path, what, name):
    shown = server.run("list", what, cwd=tmp_path, COLUMNS="80")
    assert shown.returncode == 0 and re.search(rf"^{name} +\S", shown.stdout, re.MULTILINE), shown.stderr
    assert max(map(len, shown.stdout.splitlines())) <= 80
    listed = json.loads(server.run("list", what, "--format", "json", cwd=tmp_path).stdout)
    assert all(item["name"] and item["summary"] for item in listed)
    assert name in [item["name"] for item in listed]


def test_a_kind_that_is_not_there(server, tmp_path):
    done = server.run("list", "method", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "list: unknown choice 'method'; did you mean 'methods'?" in done.stderr and "Traceback" not in done.stderr


def test_a_method_is_shown_with_its_options(server, tmp_path):
    done = server.run("show", "ride_distill", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("ride_distill  (ltbench.methods.ride_distill.RIDEDistill")
    assert re.search(r"^strength +.* 1 *$", done.stdout, re.MULTILINE)
    assert re.search(r"^teacher +method +", done.stdout, re.MULTILINE)


def test_a_suite_is_shown_with_its_defaults_and_can_be_read_again(server, tmp_path):
    done = server.run("show", "quick", cwd=tmp_path, COLUMNS="200")
    assert done.returncode == 0 and "momentum: 0.9" in done.stdout and "nesterov: true" in done.stdout
    assert all(f"{field.name}:" in done.stdout for field in dataclasses.fields(Recipe)), "those without a value, too"
    (tmp_path / "again.yaml").write_text(done.stdout)
    again, shipped = (suite.read(name) for name in (str(tmp_path / "again.yaml"), "quick"))
    for what in ("data", "backbones", "seeds", "recipe", "entries", "faults"):
        assert getattr(again, what) == getattr(shipped, what), what


def test_the_data_of_a_suite(server, tmp_path, glyph_cache):
    tiny.write(tmp_path, "ce")
    done = server.run("data", "show", "tiny.yaml", "--data", glyph_cache, "--format", "json", cwd=tmp_path)
    (found,) = json.loads(done.stdout)
    assert list(found) == ["name", "classes", "train", "test", "counts", "names", "groups", "fingerprint"]
    assert found["name"] == "glyphs_lt(imbalance=3, head=9)" and found["classes"] == len(found["counts"]) == 62
    assert found["train"] == sum(found["counts"]) and found["test"] == 1240
    assert (max(found["counts"]), min(found["counts"])) == (9, 3)
    assert found["groups"] == {"many": 0, "medium": 0, "few": 62}, "fewer than 10 images each"


def test_the_data_in_words_from_the_place_that_the_environment_names(server, tmp_path, glyph_cache):
    tiny.write(tmp_path, "ce")
    words = ["data", "show", "tiny.yaml", "--set", "data.imbalance=9"]
    done = server.run(*words, cwd=tmp_path, LTBENCH_DATA=str(glyph_cache), XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 0 and [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]
    assert done.stdout.startswith("glyphs_lt(imbalance=9, head=9)\n  62 classes (0 many, 0 medium, 62 few), ")
