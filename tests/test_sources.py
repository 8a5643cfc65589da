"""The files of a method, and what a plugin's hash hangs on."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from ltbench import registry, sources
from ltbench.errors import LtbenchError

pytestmark = pytest.mark.usefixtures("own_registry")

OWN = """
{imports}
from ltbench.methods.ce import CE
from ltbench import register

@register("{name}")
class Mine(CE):
    pass
"""


def load(path, name, imports="", given=None):
    path.write_text(OWN.format(name=name, imports=imports))
    registry.load_plugin(given or str(path))
    return registry.get(name)


def names(cls):
    return sorted(path.name for path in sources.source_files(cls))


def test_ours_have_versions_and_no_hash_in_their_keys():
    assert sources.plugin_hash(registry.get("ce")) == "" and len(sources.source_hash(registry.get("ce"))) == 64
    assert names(registry.get("ldam_drw")) == ["classifier.py", "ldam_drw.py"]


def test_a_plugins_file_is_hashed(tmp_path):
    mine = load(tmp_path / "own.py", "mine")
    before = sources.plugin_hash(mine)
    assert len(before) == 64 and tmp_path / "own.py" in sources.source_files(mine)
    (tmp_path / "own.py").write_text("# changed")
    assert sources.plugin_hash(mine) != before


def test_of_ours_that_a_plugin_derives_from_the_version_counts_and_not_the_text(tmp_path, monkeypatch):
    """Another ltbench, or a comment in one of its files, had all runs of a plugin done again."""
    mine = load(tmp_path / "own.py", "mine")
    before = sources.plugin_hash(mine)
    ce = Path(inspect.getfile(registry.get("ce")))
    monkeypatch.setattr(Path, "read_bytes", lambda path, read=Path.read_bytes: read(path) + b"#" * (path == ce))
    assert sources.plugin_hash(mine) == before
    monkeypatch.setattr(registry.get("ce"), "version", 2)
    assert sources.plugin_hash(mine) != before


def test_a_helper_beside_a_plugin_is_found_and_hashed_and_so_are_the_helpers_helpers(tmp_path):
    (tmp_path / "own_helper_a.py").write_text("import torch, json, own_helper_b as b\nSCALE = b.SCALE\n")
    (tmp_path / "own_helper_b.py").write_text("import own_helper_a\nSCALE = 30.0\n")
    (tmp_path / "unused.py").write_text("")
    mine = load(tmp_path / "own.py", "mine", "from own_helper_a import SCALE")
    assert names(mine) == ["ce.py", "classifier.py", "own.py", "own_helper_a.py", "own_helper_b.py"]
    before = sources.plugin_hash(mine)
    (tmp_path / "own_helper_b.py").write_text("SCALE = 16.0\n")
    assert sources.plugin_hash(mine) != before


def test_a_dot_in_a_plugins_name_hides_no_helper(tmp_path):
    (tmp_path / "own_helper_e.py").write_text("")
    assert "own_helper_e.py" in names(load(tmp_path / "own.v2.py", "mine", "import own_helper_e"))


def test_an_import_within_a_function_counts_before_it_has_run(tmp_path):
    (tmp_path / "own_helper_d.py").write_text("")
    mine = load(tmp_path / "own.py", "mine", "def late():\n    import own_helper_d\n    import not_there.at_all\n")
    assert "own_helper_d.py" in names(mine)


def test_only_what_lies_beside_a_plugin_is_its_helper(tmp_path, monkeypatch):
    site = tmp_path / "env" / "site-packages"
    (site / "own_helper_installed").mkdir(parents=True)
    (site / "own_helper_installed" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(site)
    (tmp_path / "random.py").write_text("")
    (tmp_path / "ltbench").mkdir()
    (tmp_path / "ltbench" / "__init__.py").write_text("")
    mine = load(tmp_path / "own.py", "mine", "import own_helper_installed, random, torch")
    assert names(mine) == ["ce.py", "classifier.py", "own.py"]


def test_a_helper_in_a_folder_may_use_one_beside_the_plugin(tmp_path):
    (tmp_path / "own_helper_nets").mkdir()
    (tmp_path / "own_helper_nets" / "__init__.py").write_text("")
    (tmp_path / "own_helper_nets" / "blocks.py").write_text("from own_helper_common import S\n")
    (tmp_path / "own_helper_common.py").write_text("S = 1\n")
    mine = load(tmp_path / "own.py", "mine", "from own_helper_nets.blocks import S")
    assert names(mine) == ["__init__.py", "blocks.py", "ce.py", "classifier.py", "own.py", "own_helper_common.py"]


def test_an_import_that_fails_and_another_in_its_place(tmp_path):
    (tmp_path / "own_helper_c.py").write_text("S = 1\n")
    text = "try:\n    from .own_helper_c import S\nexcept ImportError:\n    from own_helper_c import S\n"
    assert "own_helper_c.py" in names(load(tmp_path / "own.py", "mine", text))


def test_a_helper_that_is_being_written_or_cannot_be_imported_is_hashed_as_it_is(tmp_path):
    (tmp_path / "own_helper_late").mkdir()
    (tmp_path / "own_helper_late" / "__init__.py").write_text("raise RuntimeError")
    (tmp_path / "own_helper_late" / "half.py").write_text("def half(\n")
    mine = load(tmp_path / "own.py", "mine", "def late():\n    from own_helper_late import half\n")
    assert {"__init__.py", "half.py"} <= set(names(mine)) and len(sources.plugin_hash(mine)) == 64


def test_a_helper_in_whose_place_another_was_found_is_told(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own_helper_x.py").write_text("S = 1\n")
    load(tmp_path / "a" / "own.py", "first", "from own_helper_x import S")
    with pytest.raises(
        LtbenchError, match=r"import own_helper_x: .*a/own_helper_x.py was found in place of .*b/own_he"
    ):
        load(tmp_path / "b" / "own.py", "second", "from own_helper_x import S")


def test_a_plugin_that_imports_a_plugin_is_told_that_it_is_loaded_twice(tmp_path):
    load(tmp_path / "own_helper_first.py", "first")
    with pytest.raises(LtbenchError, match="method 'first': its file is loaded twice, as a plugin and by an import"):
        load(tmp_path / "second.py", "second", "from own_helper_first import Mine as First")


def test_a_package_is_hashed_by_the_modules_of_it_that_are_imported_wherever_it_is_installed(tmp_path, monkeypatch):
    pack = tmp_path / "own_pack"
    (pack / "deep").mkdir(parents=True)
    for file in ("__init__.py", "losses.py", "other.py", "deep/__init__.py", "deep/margins.py"):
        (pack / file).write_text("")
    (pack / "deep" / "__init__.py").write_text("from .margins import *\nfrom ..losses import *\n")
    monkeypatch.syspath_prepend(tmp_path)
    mine = load(pack / "methods.py", "mine", "from . import deep", given="own_pack.methods")
    inside = [path.relative_to(pack).as_posix() for path in sources.source_files(mine) if path.is_relative_to(pack)]
    assert sorted(inside) == ["__init__.py", "deep/__init__.py", "deep/margins.py", "losses.py", "methods.py"]


def test_a_plugin_upon_a_plugin_hangs_on_both(tmp_path, monkeypatch):
    load(tmp_path / "first.py", "first")
    (tmp_path / "second.py").write_text(
        "from ltbench import register, registry\n@register('second')\nclass Second(registry.get('first')):\n    pass\n"
    )
    registry.load_plugin(str(tmp_path / "second.py"))
    assert names(registry.get("second")) == ["ce.py", "classifier.py", "first.py", "second.py"]
