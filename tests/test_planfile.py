"""plan.json beside the records, and the folders that have one."""

from __future__ import annotations

from pathlib import Path

import made_images
import make_records
import pytest
import tiny

from ltbench import plan, planfile, registry, running, suite
from ltbench.data.dataset import open_dataset
from ltbench.errors import LtbenchError

MINE = """\
from ltbench import register
from ltbench.methods.ce import CE


@register("mine")
class Mine(CE):
    '''Cross-entropy by another name.'''
"""


def plan_of(*rows: planfile.Row, baseline: str = "ce") -> planfile.PlanFile:
    return planfile.PlanFile(suite="toy", baseline=baseline, rows=rows)


def test_a_plan_comes_back_and_is_not_touched_where_it_says_so_already(tmp_path):
    rows, _ = make_records.five()
    plan = plan_of(*rows)
    planfile.write(plan, tmp_path)
    path = tmp_path / "plan.json"
    assert planfile.read(tmp_path) == plan
    before = path.stat().st_mtime_ns, path.stat().st_ino
    planfile.write(plan, tmp_path)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    planfile.write(plan_of(rows[0]), tmp_path)
    assert planfile.read(tmp_path).rows == (rows[0],)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"suite": "toy"}', '{"suite": "s", "baseline": "b", "rows": [], "x": 1}']
)
def test_a_damaged_plan_is_named(tmp_path, text):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(LtbenchError, match=r"plan\.json: not a plan"):
        planfile.read(tmp_path)


def test_an_absent_plan_says_who_writes_it(tmp_path):
    with pytest.raises(LtbenchError, match="absent; `ltbench run` writes it"):
        planfile.read(tmp_path)


def test_rows_are_merged_by_what_they_are():
    ce, more_seeds = make_records.make("ce", 0), make_records.make("ce", 1)
    first, again = make_records.row([ce]), make_records.row([more_seeds])
    elsewhere = make_records.row([make_records.make("ce", 0, recipe={"epochs": 9})], block="c" * 64)
    ride = make_records.row([make_records.make("ride(experts=3)")])
    merged = planfile.merged(plan_of(first, ride), plan_of(again, elsewhere, baseline="ride(experts=3)"))
    assert merged.rows == (
        first.model_copy(update={"keys": {"0": ce.key, "1": more_seeds.key}}),
        ride,
        elsewhere,
    )
    assert merged.baseline == "ce", "--set is no new baseline"
    assert planfile.merged(merged, plan_of(again)) == merged, "merging twice changes nothing"


def test_a_newer_key_of_a_seed_takes_the_place_of_the_older():
    old, new = make_records.make("ce", 0), make_records.make("ce", 0, version=2)
    assert old.key != new.key
    merged = planfile.merged(plan_of(make_records.row([old])), plan_of(make_records.row([new])))
    assert [row.keys for row in merged.rows] == [{"0": new.key}]


def test_seeds_of_an_edited_plugin_are_not_joined_to_those_before_the_edit(tmp_path, glyph_cache, own_registry):
    """--set seeds=[0], an edit, --set seeds=[1]: no seed in common told that one row was of two methods."""
    mine = tmp_path / "mine.py"
    mine.write_text(MINE)
    registry.load_plugin(str(mine))

    def planned(seed: int) -> planfile.PlanFile:
        return tiny.make(tmp_path, glyph_cache, "ce, mine, {crt: {base: mine}}", f"seeds=[{seed}]").file()

    def seeds(*plans: planfile.PlanFile) -> list[list[str]]:
        return [list(row.keys) for row in planfile.merged(*plans).rows]

    first, second = planned(0), planned(1)
    mine.write_text(MINE + "# edited\n")
    edited = planned(1)
    assert seeds(first, second) == [["0", "1"]] * 3
    assert seeds(first, edited) == [["0", "1"], ["1"], ["1"]], "neither a method's own runs nor those it starts from"
    former = plan_of(*(row.model_copy(update={"settings": ""}) for row in first.rows))
    assert seeds(former, edited) == [["0", "1"]] * 3, "a plan.json of former days does not tell"


def test_the_file_s_rows_are_its_own_and_those_of_a_set_stay():
    ce, ride = make_records.row([make_records.make("ce")]), make_records.row([make_records.make("ride(experts=3)")])
    nine = make_records.make("ce", recipe={"epochs": 9})
    longer = make_records.row([nine], block="c" * 64, sets=("recipe.epochs=9",))
    extra = make_records.row([make_records.make("bbn")], sets=("methods=[bbn]",))
    old = plan_of(ride, longer, extra)
    assert planfile.refreshed(old, plan_of(ce)).rows == (ce, longer, extra), "the file no longer asks for ride"
    asked = extra.model_copy(update={"sets": ()})
    new = planfile.refreshed(old, plan_of(asked, ce, baseline="bbn"))
    assert (new.rows, new.baseline) == ((asked, ce, longer), "bbn"), "now the file asks for bbn itself"
    assert planfile.refreshed(new, plan_of(asked, ce, baseline="bbn")) == new


def test_the_seeds_of_a_set_outlast_a_plain_run():
    """--set seeds=[0,1,2] adds seeds to the file's own row; the plain suite, run again, once made it one of n = 1."""
    three = [make_records.make("ce", seed) for seed in range(3)]
    plain, asked = make_records.row(three[:1]), make_records.row(three, sets=("seeds=[0,1,2]",))
    with_set = planfile.merged(plan_of(plain), plan_of(asked))
    again = planfile.refreshed(with_set, plan_of(plain))
    assert [list(row.keys) for row in again.rows] == [["0", "1", "2"]]
    assert planfile.refreshed(again, plan_of(plain)) == again, "and the next time too"
    newer = make_records.row([make_records.make("ce", 0, version=2)])
    assert planfile.refreshed(again, plan_of(newer)).rows == (newer,), "two versions of a method are not one row"


def test_folders_with_a_plan_are_found_in_order(tmp_path):
    for name in ("b", "a"):
        make_records.write(tmp_path, *make_records.five(), suite=name)
    (tmp_path / "c").mkdir()
    assert planfile.suite_folders(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert planfile.suite_folders(tmp_path / "b") == [tmp_path / "b"]


@pytest.mark.parametrize("kind", ["absent", "empty", "a file"])
def test_where_no_results_are_it_says_so(tmp_path, kind):
    folder: Path = tmp_path / "results"
    if kind == "empty":
        folder.mkdir()
    if kind == "a file":
        folder.write_text("")
    with pytest.raises(LtbenchError, match="results: no results here"):
        planfile.suite_folders(folder)


def test_a_set_after_an_edit_renews_the_file_s_own_rows(tmp_path, glyph_cache):
    """The rows of the file before the edit stood on under its name, beside a heading that told of the --set alone."""
    where = tiny.settings(tmp_path, glyph_cache)
    running._write_plan(tiny.make(tmp_path, glyph_cache, "ce"), where)
    running._write_plan(tiny.make(tmp_path, glyph_cache, "ce", "recipe.epochs=3"), where)
    edited = tiny.make(tmp_path, glyph_cache, "ce, tau_norm", "recipe.epochs=4")
    running._write_plan(edited, where)
    now = tiny.make(tmp_path, glyph_cache, "ce, tau_norm")
    rows = planfile.read(where.results / "tiny").rows
    assert [(row.label, row.recipe) for row in rows] == [
        ("ce", "tiny"), ("tau_norm(tau=1)", "tiny"), ("ce", "tiny [epochs=3]"),
        ("ce", "tiny [epochs=4]"), ("tau_norm(tau=1)", "tiny [epochs=4]"),
    ]  # fmt: skip
    assert rows[:2] == tuple(now.rows)
    running._write_plan(edited, where)
    assert planfile.read(where.results / "tiny").rows == rows


def test_seeds_and_methods_of_a_set_make_no_rows_that_outlive_the_file(tmp_path, glyph_cache):
    """`--set seeds=[0, 1]` put its stamp on the file's rows, which stayed when the file had changed."""
    where = tiny.settings(tmp_path, glyph_cache)
    for sets in ((), ("seeds=[0, 1]",), ("methods=[ce, ncm]",)):
        running._write_plan(tiny.make(tmp_path, glyph_cache, "ce", *sets), where)
    before = planfile.read(where.results / "tiny").rows
    assert [(row.label, list(row.keys)) for row in before] == [("ce", ["0", "1"]), ("ncm", ["0"])]
    path = tmp_path / "tiny.yaml"
    path.write_text(path.read_text().replace("epochs: 2", "epochs: 3"))
    now = plan.make(suite.read(str(path), ["seeds=[0, 1]"]), glyph_cache)
    running._write_plan(now, where)
    assert planfile.read(where.results / "tiny").rows == tuple(now.rows)
    running._write_plan(plan.make(suite.read(str(path)), glyph_cache), where)
    assert [(row.label, list(row.keys)) for row in planfile.read(where.results / "tiny").rows] == [("ce", ["0", "1"])]


def test_data_that_only_the_file_names_are_not_looked_for(tmp_path, glyph_cache, monkeypatch):
    """A `plan --set data=...` would have fetched CIFAR."""
    where, data = tiny.settings(tmp_path, glyph_cache), "data={name: glyphs_lt, imbalance: 3, head: 9}"
    running._write_plan(tiny.make(tmp_path, glyph_cache, "ce"), where)
    path = tmp_path / "tiny.yaml"
    path.write_text(
        path.read_text().replace("{name: glyphs_lt, imbalance: 3, head: 9}", "{name: cifar10_lt, imbalance: 9}")
    )
    made = plan.make(suite.read(str(path), [data]), glyph_cache)
    opened = []
    monkeypatch.setattr(plan, "open_dataset", lambda spec, folder: opened.append(spec.name))
    running._write_plan(made, where)
    assert not opened and len(planfile.read(where.results / "tiny").rows) == 1


def test_a_file_that_cannot_be_planned_without_its_set_keeps_its_rows(tmp_path, glyph_cache):
    where = tiny.settings(tmp_path, glyph_cache)
    running._write_plan(tiny.make(tmp_path, glyph_cache, "ce"), where)
    made = tiny.make(tmp_path, glyph_cache, "nonsense", "methods=[ce]", "recipe.epochs=3")
    running._write_plan(made, where)
    assert [row.recipe for row in planfile.read(where.results / "tiny").rows] == ["tiny", "tiny [epochs=3]"]


def test_the_names_of_classes_stand_where_rows_are_of_their_data(tmp_path, glyph_cache):
    where = tiny.settings(tmp_path, glyph_cache)
    running._write_plan(tiny.make(tmp_path, glyph_cache, "ce"), where)
    running._write_plan(tiny.make(tmp_path, glyph_cache, "ce", "data.classes=5"), where)
    plan = planfile.read(where.results / "tiny")
    here, fewer = (row.block for row in plan.rows)
    assert set(plan.classes) == {here, fewer}
    assert plan.classes[fewer] == plan.classes[here][:5] == plan.class_names(fewer, 5) and len(plan.classes[here]) == 62
    assert plan.class_names(fewer, 6) == plan.class_names("other", 6) == ("",) * 6, "of something else"
    gone = planfile.refreshed(plan, plan_of(make_records.row([make_records.make("ce")])))
    assert set(gone.classes) == {fewer}, "the file asks for other data now"


def test_two_blocks_whose_data_go_by_one_name_have_names_of_their_own(tmp_path):
    """Both folders are folder(own): the names of the second stood beside the figures of the first."""
    where, words = tiny.settings(tmp_path, tmp_path), ("recipe.image_size=8", "recipe.augment=[flip]")
    for folder, names in (("a", ("ant", "bee")), ("b", ("cat", "dog"))):
        rows = [(f"{part}/{name}/a.png", c) for part in ("train", "test") for c, name in enumerate(names)]
        made_images.write(tmp_path / folder / "own", rows, 8)
        root = f"data={{name: folder, root: {folder}/own}}"
        running._write_plan(tiny.make(tmp_path, tmp_path, "ce", root, *words), where)
    plan = planfile.read(where.results / "tiny")
    assert len({row.data for row in plan.rows}) == 1
    assert [plan.class_names(row.block, 2) for row in plan.rows] == [("ant", "bee"), ("cat", "dog")]


def test_a_name_that_is_no_text_is_written_out(tmp_path):
    rows = [(f"{part}/{name}/a.png", c) for part in ("train", "test") for c, name in enumerate(("a", "b\udcff"))]
    made_images.write(tmp_path / "own", rows, 8)
    words = ("data={name: folder, root: own}", "recipe.image_size=8", "recipe.augment=[flip]")
    made = tiny.make(tmp_path, tmp_path, "ce", *words).file()
    planfile.write(made, tmp_path)
    assert list(planfile.read(tmp_path).classes.values()) == [("a", "b\\udcff")]


def test_classes_that_are_but_numbers_have_no_names(tmp_path):
    made_images.write(tmp_path / "own", [(f"{part}/{c}/a.png", c) for part in ("train", "test") for c in (0, 1)], 8)
    data = ("data={name: folder, root: own}", "recipe.image_size=8", "recipe.augment=[flip]")
    assert tiny.make(tmp_path, tmp_path, "ce", *data).file().classes == {}
    (tmp_path / "own" / "train" / "1").rename(tmp_path / "own" / "train" / "one")
    (tmp_path / "own" / "test" / "1").rename(tmp_path / "own" / "test" / "one")
    open_dataset.cache_clear()
    assert tiny.make(tmp_path, tmp_path, "ce", *data).file().classes.popitem()[1] == ("0", "one")
