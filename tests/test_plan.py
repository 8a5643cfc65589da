"""Suite -> Plan: parents closed over and shared, keys that stay, rows that say what they are."""

from __future__ import annotations

import json

import calls
import pytest
import tiny
from plans import OVERRIDDEN, names, the, whole

from ltbench import leases, outcome, plan, plan_listing, planfile, record, running, state, suite
from ltbench.errors import LtbenchError

# Parents


def test_a_shared_parent_is_one_run_and_says_who_needs_it(tmp_path, glyph_cache):
    made = tiny.make(tmp_path, glyph_cache, "crt, lws, tau_norm, ncm")
    assert [row.label for row in made.rows] == ["crt", "lws", "tau_norm(tau=1)", "ncm"], "a parent alone is no row"
    assert sorted(names(made.runs)) == ["ce s0", "crt s0", "lws s0", "ncm s0", "tau_norm(tau=1) s0"]
    ce = the(made, "ce")
    asking = ["crt", "lws", "tau_norm(tau=1)", "ncm"]
    why = plan_listing._why(made.runs, made.asked([], []))
    assert why[ce.key] == [f"stage1 of {label}" for label in asking]
    for label in asking:
        child = the(made, label)
        assert why[child.key] == ["asked"]
        assert child.parents == {"stage1": record.Parent(key=ce.key, label="ce")}
        assert child.identity.parents == {"stage1": ce.key}


def test_a_parent_that_is_a_row_is_asked_too_wherever_it_stands(tmp_path, glyph_cache):
    before = tiny.make(tmp_path, glyph_cache, "ce, crt")
    after = tiny.make(tmp_path, glyph_cache, "crt, ce")
    for made in (before, after):
        assert plan_listing._why(made.runs, made.asked([], []))[the(made, "ce").key] == ["asked", "stage1 of crt"]
    assert set(before.runs) == set(after.runs)
    assert names(after.runs) == ["ce s0", "crt s0"], "parents first"


def test_every_parent_stands_before_its_children(tmp_path, glyph_cache):
    made = tiny.make(
        tmp_path, glyph_cache,
        "tau_norm: {base: {crt: {base: ldam_drw}}}, ride_ea: {base: {ride: {experts: 2}}}, ncm, ce",
        "seeds=[0, 3]",
    )  # fmt: skip
    order = list(made.runs)
    pairs = [(order.index(p.key), i) for i, spec in enumerate(made.runs.values()) for p in spec.parents.values()]
    assert len(pairs) == 2 * (2 + 1 + 1) and all(parent < child for parent, child in pairs)
    # each seed starts from parents of its own
    for spec in made.runs.values():
        assert {made.runs[p.key].ref.seed for p in spec.parents.values()} <= {spec.ref.seed}


def test_routers_may_stand_on_a_distilled_ride(tmp_path, glyph_cache):
    made = tiny.make(
        tmp_path, glyph_cache, "ride_ea: {base: {ride_distill: {experts: 2, teacher: {ride: {experts: 3}}}}}"
    )
    assert [spec.ref.method for spec in made.runs.values()] == ["ride", "ride_distill", "ride_ea"]


@pytest.mark.parametrize(
    "base",
    ["{ensemble: {size: 2}}", "{post_hoc: {base: {ensemble: {size: 2}}}}", "{ride_distill: {teacher: ensemble}}"],
)
def test_an_ensemble_of_ensembles_is_refused(tmp_path, glyph_cache, base):
    """Its networks would not be independent: seeds 1000 + 2000 and 2000 + 1000 are one."""
    with pytest.raises(LtbenchError) as error:
        tiny.make(tmp_path, glyph_cache, f"ensemble: {{base: {base}}}")
    assert str(error.value).endswith(
        "methods[0]: ensemble: base: an ensemble may hold no other, at any depth: they would share networks"
    )


def test_members_of_an_ensemble_have_seeds_of_their_own(tmp_path, glyph_cache, panel):
    made = tiny.make(tmp_path, glyph_cache, "panel: {members: 3}", "seeds=[0, 2]")
    for seed in (0, 2):
        parents = the(made, "panel(members=3)", seed).parents
        seeds = {role: made.runs[parent.key].ref.seed for role, parent in parents.items()}
        assert seeds == {"member0": seed, "member1": seed + 1000, "member2": seed + 2000}
    assert len(made.runs) == 2 * 4 and len({spec.stem for spec in made.runs.values()}) == 8
    assert [list(row.keys) for row in made.rows] == [["0", "2"]]


def test_the_parents_of_a_member_have_its_seed(tmp_path, glyph_cache, panel):
    made = tiny.make(tmp_path, glyph_cache, "panel: {base: crt}")
    assert sorted(names(made.runs)) == ["ce s0", "ce s1000", "crt s0", "crt s1000", "panel(base=crt) s0"]
    member = the(made, "crt", 1000)
    assert made.runs[member.parents["stage1"].key] is the(made, "ce", 1000)


def test_a_part_of_the_data_goes_down_to_all_parents_and_is_another_run(tmp_path, glyph_cache, panel):
    made = tiny.make(tmp_path, glyph_cache, "ce, panel: {base: crt, members: 1, part: fit}")
    parts = sorted((spec.label, spec.ref.part) for spec in made.runs.values())
    label = "panel(base=crt, members=1, part=fit)"
    assert parts == [("ce", "all"), ("ce [part=fit]", "fit"), ("crt [part=fit]", "fit"), (label, "all")]
    one, other = (spec for spec in made.runs.values() if spec.ref.method == "ce")
    assert one.key != other.key and one.identity.part == "all" and other.identity.part == "fit"


def test_what_is_held_out_twice_is_refused(tmp_path, glyph_cache, panel):
    """The inner run's held-out images were among those that its own parent had been trained on."""
    inner = "{panel: {base: ce, members: 1, part: fit}}"
    with pytest.raises(LtbenchError, match="panel, which is to be trained without the images that are held out, asks"):
        tiny.make(tmp_path, glyph_cache, f"panel: {{base: {inner}, members: 1, part: fit}}")


def test_a_method_with_a_reason_not_to_run_shows_it_and_its_parents_do_not_run(tmp_path, glyph_cache, panel):
    text = tiny.SUITE.replace("METHODS", "ce, panel").replace("backbone: resnet8", "backbone: [resnet8, resnet20]")
    made = whole(tmp_path, glyph_cache, text)
    skips = {(row.label, row.backbone): (row.skip, list(row.keys)) for row in made.rows}
    assert skips["panel", "resnet20"] == ("resnet20 is too large", [])
    assert skips["panel", "resnet8"] == ("", ["0"])
    assert {spec.ref.method for spec in made.runs.values() if spec.backbone == "resnet20"} == {"ce"}
    assert not any(spec.ref.seed for spec in made.runs.values() if spec.backbone == "resnet20")


def test_a_plugins_source_is_in_the_key_of_its_runs_alone(tmp_path, glyph_cache, panel):
    made = tiny.make(tmp_path, glyph_cache, "ce, panel")
    assert the(made, "panel").identity.plugin and not the(made, "ce").identity.plugin


# Keys


def test_keys_stay_where_the_same_is_said_otherwise(tmp_path, glyph_cache):
    methods = "methods: [ce, ride: {experts: 2, diversity: -0.45}, crt]"
    text = tiny.SUITE.replace("methods: [METHODS]", methods)
    expected = list(whole(tmp_path, glyph_cache, text).runs)
    turned = "# a comment\n" + "\n".join(reversed(text.splitlines()))
    assert list(whole(tmp_path, glyph_cache, turned).runs) == expected
    spelled = text.replace(
        methods,
        "methods: [ce: {head: linear}, ride: {diversity: -0.45, loss: ldam, experts: 2}, crt: {base: {ce: {}}}]",
    ).replace("epochs: 2", "momentum: 0.9, lr: 1.0e-1, gamma: 0.01, steps: [0.8, 0.9], epochs: 2")
    assert list(whole(tmp_path, glyph_cache, spelled).runs) == expected
    assert list(whole(tmp_path, glyph_cache, text.replace("name: tiny", "name: other")).runs) == expected
    assert list(whole(tmp_path, glyph_cache, text, "recipe.name=x").runs) == expected


@pytest.mark.parametrize(
    "change", ["recipe.lr=0.2", "recipe.epochs=3", "backbone=resnet20", "data.imbalance=4", "seeds=[1]"]
)
def test_what_could_change_the_numbers_changes_every_key(tmp_path, glyph_cache, change):
    before, after = (tiny.make(tmp_path, glyph_cache, "ce, crt", *sets) for sets in ((), (change,)))
    assert not set(before.runs) & set(after.runs)


def test_a_parents_option_changes_the_childs_key_too(tmp_path, glyph_cache):
    made = tiny.make(tmp_path, glyph_cache, "crt, crt: {base: ldam_drw}, crt: {base: {ldam_drw: {scale: 20}}}")
    assert len({spec.key for spec in made.runs.values() if spec.ref.method == "crt"}) == 3


def test_the_plan_file_is_the_same_bytes_each_time(tmp_path, glyph_cache):
    files = [tiny.make(tmp_path, glyph_cache, "ce, crt").file().model_dump_json() for _ in range(2)]
    assert files[0] == files[1]
    body = json.loads(files[0])
    assert body["baseline"] == "ce" and [row["label"] for row in body["rows"]] == ["ce", "crt"]


# Rows


def test_lists_of_data_and_backbones_give_their_product(tmp_path, glyph_cache):
    text = tiny.SUITE.replace("METHODS", "ce, crt").replace("backbone: resnet8", "backbone: [resnet8, resnet20]")
    text = text.replace(
        "data: {name: glyphs_lt, imbalance: 3, head: 9}",
        "data: [{name: glyphs_lt, imbalance: 3, head: 9}, {name: glyphs_lt, imbalance: 9, head: 9}]",
    )
    made = whole(tmp_path, glyph_cache, text)
    blocks = [(row.data, row.backbone) for row in made.rows[::2]]
    first, second = "glyphs_lt(imbalance=3, head=9)", "glyphs_lt(imbalance=9, head=9)"
    assert blocks == [(first, "resnet8"), (first, "resnet20"), (second, "resnet8"), (second, "resnet20")]
    assert [row.label for row in made.rows] == ["ce", "crt"] * 4
    assert len({row.block for row in made.rows}) == 4 and len(made.runs) == 8
    for spec in made.runs.values():
        for parent in spec.parents.values():
            mine = made.runs[parent.key]
            assert (mine.data, mine.backbone) == (spec.data, spec.backbone)


def test_an_entrys_own_recipe_marks_its_label_and_changes_its_key_alone(tmp_path, glyph_cache):
    plain = whole(tmp_path, glyph_cache, OVERRIDDEN.replace("  - crt: {}\n    recipe: {lr: 0.5, batch_size: 32}\n", ""))
    made = whole(tmp_path, glyph_cache, OVERRIDDEN)
    marked = "crt [lr=0.5, batch_size=32]"
    assert [row.label for row in made.rows] == ["ce", "crt", marked, "lws"]
    assert len({row.block for row in made.rows}) == 1, "it stands in the suite's block, marked"
    (new,) = set(made.runs) - set(plain.runs)
    assert set(plain.runs) < set(made.runs)
    child = made.runs[new]
    assert (child.label, child.recipe.lr, child.recipe.batch_size) == (marked, 0.5, 32)
    assert (child.suite_recipe.lr, child.suite_recipe.batch_size) == (0.1, 64)
    parent = made.runs[child.parents["stage1"].key]
    assert parent is the(made, "ce") and (parent.recipe.lr, parent.recipe.batch_size) == (0.1, 64)


@pytest.mark.parametrize(
    ("recipe", "own", "said"),
    [
        ("batch_size: 192", "accumulate: 3", "batch_size 512 cannot be cut into accumulate 3 equal parts"),
        ("optimizer: adamw, lr: 1e-3", "betas: [0.9, 0.95]", "optimizer sgd takes no betas"),
        ("batch_size: 64", "min_lr: 0.02", "min_lr 0.02 is above lr 0.01"),
    ],
)
def test_an_entrys_recipe_that_does_not_go_with_its_methods_own_is_refused(tmp_path, glyph_cache, recipe, own, said):
    methods = f"methods:\n  - ride_ea: {{}}\n    recipe: {{{own}}}"
    text = tiny.SUITE.replace("methods: [METHODS]", methods).replace("batch_size: 64", recipe)
    with pytest.raises(LtbenchError) as caught:
        whole(tmp_path, glyph_cache, text)
    (line,) = str(caught.value).splitlines()
    assert ".yaml:6: methods[0]: the recipe that ride_ea makes: " in line and said in line


def test_faults_of_the_recipe_and_the_baseline_are_told_at_once_and_those_of_all_parents(tmp_path, glyph_cache):
    with pytest.raises(LtbenchError) as caught:  # before any data is looked for
        tiny.make(tmp_path, tmp_path / "nowhere", "ce, bbn", "baseline=nosuch", "recipe.lr=-1")
    rate, baseline = str(caught.value).splitlines()
    assert "recipe.lr" in rate and "unknown row 'nosuch' (allowed: ce, bbn)" in baseline
    with pytest.raises(LtbenchError) as caught:
        tiny.make(tmp_path, glyph_cache, "ce, tau_norm: {base: ldam_drw}, ride: {loss: ldam, head: linear}")
    assert ["methods[1]" in line or "methods[2]" in line for line in str(caught.value).splitlines()] == [True, True]


def test_the_baseline_may_be_given_as_an_entry_is(tmp_path, glyph_cache):
    path = tiny.write(tmp_path, "ce, crt: {base: ldam_drw}")
    path.write_text(path.read_text() + "baseline: {crt: {base: ldam_drw}}\n")
    assert plan.make(suite.read(str(path)), glyph_cache).file().baseline == "crt(base=ldam_drw)"
    path.write_text(path.read_text().replace("{crt: {base: ldam_drw}}\n", "[ce]\n"))
    with pytest.raises(LtbenchError, match=r"tiny.yaml:6: baseline: .*a method is a name"):
        plan.make(suite.read(str(path)), glyph_cache)


@pytest.mark.parametrize("method", ["ce", "crt", "ride_ea"])
def test_an_entry_may_choose_the_other_schedule(tmp_path, glyph_cache, method):
    methods = f"methods:\n  - {method}: {{}}\n    recipe: {{schedule: cosine}}"
    text = tiny.SUITE.replace("methods: [METHODS]", methods).replace("64,", "64, steps: [0.6, 0.8], gamma: 0.1,")
    (row,) = (made := whole(tmp_path, glyph_cache, text)).rows
    own = made.runs[row.keys["0"]]
    assert (own.recipe.schedule, own.recipe.steps, own.recipe.gamma) == ("cosine", (0.8, 0.9), 0.01)
    assert (own.suite_recipe.schedule, own.suite_recipe.steps, own.suite_recipe.gamma) == ("steps", (0.6, 0.8), 0.1)


def test_a_parent_gets_the_suites_recipe_though_its_row_has_its_own(tmp_path, glyph_cache):
    methods = "methods:\n  - ce: {}\n    recipe: {lr: 0.7}\n  - crt"
    made = whole(tmp_path, glyph_cache, tiny.SUITE.replace("methods: [METHODS]", methods))
    rates = {spec.label: spec.recipe.lr for spec in made.runs.values() if spec.ref.method == "ce"}
    assert rates == {"ce [lr=0.7]": 0.7, "ce": 0.1}
    assert made.runs[the(made, "crt").parents["stage1"].key].recipe.lr == 0.1


def test_second_stages_have_their_own_epochs(tmp_path, glyph_cache):
    made = tiny.make(tmp_path, glyph_cache, "ce, crt, tau_norm, ncm", "recipe.epochs=100")
    epochs = {spec.label: spec.recipe.epochs for spec in made.runs.values()}
    assert epochs == {"ce": 100, "crt": 15, "tau_norm(tau=1)": 0, "ncm": 0}
    assert the(made, "ce").suite_recipe.epochs == the(made, "ncm").suite_recipe.epochs == 100


# What is left to do


def test_what_is_not_done_is_outstanding_parents_first(tmp_path, glyph_cache):
    made, where = tiny.make(tmp_path, glyph_cache, "ce, crt"), tiny.settings(tmp_path, glyph_cache)
    assert list(state.outstanding(made.runs, where)) == list(made.runs)
    for status, again in (
        ("failed", True),
        ("oom", True),
        ("diverged", False),
        ("skipped", False),
        ("complete", False),
    ):
        ce = the(made, "ce")
        zeros = (0,) * len(ce.counts)
        done = outcome.describe(ce).model_copy(update={"status": status, "right": zeros, "total": zeros})
        record.write(done, where.record_path(ce).parent)
        assert (ce.key in state.outstanding({ce.key: ce}, where)) == again, status


def test_what_an_entry_overrides_wins_over_what_its_method_sets(tmp_path, glyph_cache):
    methods = "crt, {crt: {}, recipe: {schedule: cosine, epochs: 50}}"
    plain, own = (run for run in tiny.make(tmp_path, glyph_cache, methods).runs.values() if run.ref.method == "crt")
    assert (own.recipe.schedule, own.recipe.epochs) == ("cosine", 50)
    assert own.recipe.warmup == plain.recipe.warmup == 1 / 6, "the rest is the method's"
    assert (plain.recipe.gamma, own.recipe.gamma) == (0.1, 0.01), "no field of the schedule that it leaves"
    assert own.key != plain.key


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("ce: , recipe: {epochs: 0}", "methods[0].recipe.epochs: must be at least 1, got 0"),
        ("tau_norm: , recipe: {epochs: 3}", "tau_norm(tau=1) [epochs=3] trains nothing, so it takes no epochs, got 3"),
    ],
)
def test_an_entry_trains_where_its_method_does(tmp_path, glyph_cache, entry, said):
    """An untrained network was ranked; a method that trains nothing was told so by a traceback in its run."""
    with pytest.raises(LtbenchError) as caught:
        tiny.make(tmp_path, glyph_cache, f"{{{entry}}}")
    assert said in str(caught.value)


def test_two_runners_that_begin_in_a_fresh_folder_keep_each_others_rows(tmp_path, glyph_cache, monkeypatch):
    one, other = (tiny.make(tmp_path, glyph_cache, "ce", f"recipe.epochs={n}") for n in (3, 4))
    where, real, written = tiny.settings(tmp_path, glyph_cache), leases.Leases.waiting, []

    def late(self, folder):
        if not written:
            written.append(planfile.write(other.file(), folder))  # after ours was found absent
        return real(self, folder)

    monkeypatch.setattr(leases.Leases, "waiting", late)
    running._write_plan(one, where)
    assert {row.recipe for row in planfile.read(where.results / "tiny").rows} == {
        "tiny [epochs=3]",
        "tiny [epochs=4]",
    }


def test_rows_that_were_left_out_give_no_reason(tmp_path, glyph_cache):
    made = tiny.make(tmp_path, glyph_cache, "ce, crt, tau_norm")
    asked = made.asked(["tau_norm"], [])
    chosen = made.chosen(asked)
    assert plan_listing._why(chosen, asked)[the(made, "ce").key] == ["stage1 of tau_norm(tau=1)"]


def test_runs_of_several_blocks_are_told_apart(tmp_path, glyph_cache, capsys):
    tiny.write(tmp_path, "ce")
    words = ["plan", tmp_path / "tiny.yaml", "--data", glyph_cache, "--results", tmp_path, "--set"]
    out = calls.ltbench(capsys, *words, "backbone=[resnet8, resnet20]").out
    lines = [line.split() for line in out.splitlines()]
    assert [line[:2] for line in lines[1:5]] == [["on", "resnet8"], ["ce", "0"], ["on", "resnet20"], ["ce", "0"]]
    out = calls.ltbench(capsys, *words, "data=[{name: glyphs_lt, imbalance: 3}, {name: glyphs_lt, imbalance: 2}]").out
    joined = "".join(out.split())  # long names are folded
    assert "onglyphs_lt(imbalance=3)" in joined and "onglyphs_lt(imbalance=2)" in joined and "resnet8" not in joined
    long = "backbone=[resnet8, {name: timm/vit_base_patch16_224, drop_path: 0.1}]"
    out = calls.ltbench(capsys, *words, long, "--set", "recipe.batch_size=32").out
    assert all("ce" not in line.split()[:1] or "not done" in line for line in out.splitlines())
    assert " on " not in calls.ltbench(capsys, *words, "seeds=[0, 1]").out


def test_seeds_are_added_to_the_one_that_a_suite_has_without_naming_any(tmp_path, glyph_cache):
    path = tiny.write(tmp_path, "ce")
    path.write_text(path.read_text().replace("seeds: [0]\n", ""))
    made = plan.make(suite.read(str(path), ["seeds+=5"]), glyph_cache)
    assert list(made.rows[0].keys) == ["0", "5"]
