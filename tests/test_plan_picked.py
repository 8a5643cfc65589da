"""Which runs of a plan are picked, and what --set changes in a suite."""

from __future__ import annotations

import pytest
import tiny
from plans import OVERRIDDEN, names, whole

from ltbench import planfile
from ltbench.errors import LtbenchError

# What is picked


MANY = "ce, crt, ride: {experts: 3}, ride: {experts: 2}, ride_ea: {base: {ride: {experts: 2}}}"
PICKED = [
    ("ce", {"ce"}),
    (" ce ", {"ce"}),
    ("ce(head=linear)", {"ce"}),
    ("crt", {"ce", "crt"}),
    ("crt(base=ce)", {"ce", "crt"}),
    ("ride", {"ride(experts=3)"}),
    ("ride(experts=3)", {"ride(experts=3)"}),
    ("ride( experts = 3 )", {"ride(experts=3)"}),
    ("ride(loss=ldam, experts=2)", {"ride(experts=2)"}),
    ("ride_ea(base=ride( experts=2 ))", {"ride(experts=2)", "ride_ea(base=ride(experts=2))"}),
]


@pytest.mark.parametrize(("only", "expected"), PICKED)
def test_only_a_row_and_what_it_starts_from(tmp_path, glyph_cache, only, expected):
    made = tiny.make(tmp_path, glyph_cache, MANY)
    chosen = made.chosen(made.asked([only], []))
    assert {spec.label for spec in chosen.values()} == expected
    assert list(chosen) == [key for key in made.runs if key in chosen], "in the plan's order"


def test_several_rows_and_seeds(tmp_path, glyph_cache):
    made = tiny.make(tmp_path, glyph_cache, MANY, "seeds=[0, 1, 5]")
    assert len(made.chosen(made.asked([], []))) == len(made.runs) == 15
    labels = ("ce", "crt", "ride(experts=3)")
    assert sorted(names(made.chosen(made.asked(["crt", "ride"], [5, 0])))) == [
        f"{label} s{seed}" for label in labels for seed in (0, 5)
    ]
    assert len(made.file().rows[0].keys) == 3, "the plan's file has all rows and seeds, whatever was picked"


def test_a_seed_picked_takes_the_members_of_an_ensemble_along(tmp_path, glyph_cache, panel):
    made = tiny.make(tmp_path, glyph_cache, "panel", "seeds=[0, 1]")
    assert names(made.chosen(made.asked([], [1]))) == ["ce s1", "ce s1001", "panel s1"]


def test_a_marked_row_is_named_with_its_mark(tmp_path, glyph_cache):
    made = whole(tmp_path, glyph_cache, OVERRIDDEN)
    assert names(made.chosen(made.asked(["crt [lr=0.5, batch_size=32]"], []))) == [
        "ce s0",
        "crt [lr=0.5, batch_size=32] s0",
    ]
    assert names(made.chosen(made.asked(["crt"], []))) == ["ce s0", "crt s0"]


@pytest.mark.parametrize("text", ["crt: {base: ldam_drw}", "{crt: {base: ldam_drw}}", "crt(base=ldam_drw)"])
def test_a_row_may_be_named_as_the_suite_file_has_it(tmp_path, glyph_cache, text):
    made = tiny.make(tmp_path, glyph_cache, "ce, crt: {base: ldam_drw}", "baseline=ce")
    assert names(made.chosen(made.asked([text], []))) == ["ldam_drw s0", "crt(base=ldam_drw) s0"]


@pytest.mark.parametrize(
    ("only", "seeds", "message"),
    [
        (["bbn"], [], "unknown row 'bbn' (allowed: ce, ride(experts=2)); --set methods+=bbn adds it"),
        (["ride(experts=3)"], [], "(allowed: ce, ride(experts=2)); --set methods+='{ride: {experts: 3}}' adds it"),
        (["ride"], [], "unknown row 'ride'; did you mean 'ride(experts=2)'? (allowed: ce, ride(experts=2))"),
        (["rde"], [], "unknown row 'rde'; did you mean 'ride(experts=2)'? (allowed: ce, ride(experts=2))"),
        (["ride(expert=2)"], [], "unknown option of ride 'expert'; did you mean 'experts'?"),
        (["ce [lr=0.3]"], [], "--only: unknown row 'ce [lr=0.3]' (allowed: "),
        (["ride(experts=9)"], [], "--only: ride.experts: must be less than or equal to 6, got 9"),
        (["ride(experts"], [], "'ride(experts' is no label: write it as"),
        ([""], [], "is no label"),
        ([], [1], "--seeds: 1 is no seed of this suite (0); --set seeds=[...] changes them"),
        ([], [0, -1], "--seeds: -1 is no seed"),
    ],
)
def test_what_is_no_row_or_seed_is_said(tmp_path, glyph_cache, only, seeds, message):
    made = tiny.make(tmp_path, glyph_cache, "ce, ride: {experts: 2}")
    with pytest.raises(LtbenchError) as caught:
        made.chosen(made.asked(only, seeds))
    assert message in str(caught.value) and "\n" not in str(caught.value)


# --set


def test_values_are_set_one_after_another(tmp_path, glyph_cache):
    sets = ["recipe.epochs=7", "recipe.lr=0.25", "data.imbalance=2", "seeds=[4]", "recipe.epochs=8", "methods=[bbn]"]
    made = tiny.make(tmp_path, glyph_cache, "ce", *sets)
    (spec,) = made.runs.values()
    assert (spec.recipe.epochs, spec.recipe.lr, spec.data.imbalance, spec.ref.seed) == (8, 0.25, 2, 4)
    assert spec.label == "bbn" and made.suite.sets == tuple(sets)
    assert not tiny.make(tmp_path, glyph_cache, "ce").suite.sets


def test_a_recipe_that_was_set_goes_by_a_name_that_says_so(tmp_path, glyph_cache):
    def names(*sets):
        return {row.recipe for row in tiny.make(tmp_path, glyph_cache, "ce, ncm", *sets).rows}

    assert names() == names("seeds=[1]", "recipe.epochs=2", "recipe.lr=0.1") == {"tiny"}, "nothing has changed"
    assert names("recipe.lr=0.25", "recipe.epochs=7") == {"tiny [epochs=7, lr=0.25]"}
    assert names("recipe.name=mine", "recipe.epochs=7") == {"mine [epochs=7]"}


def test_rows_know_the_values_they_were_asked_for_with(tmp_path, glyph_cache):
    made = tiny.make(tmp_path, glyph_cache, "ce", "recipe.epochs=7", "data.head=5")
    assert made.rows[0].sets == ("recipe.epochs=7", "data.head=5")
    assert tiny.make(tmp_path, glyph_cache, "ce").rows[0].sets == ()


def test_rows_seeds_and_backbones_are_added_to_those_of_the_file(tmp_path, glyph_cache):
    made = tiny.make(
        tmp_path, glyph_cache, "ce", "methods+={ride: {experts: 2}}", "methods+=[bbn, ncm]", "seeds+=[1, 2]",
        "backbone+=resnet20", "recipe.augment+=flip",
    )  # fmt: skip
    assert [row.label for row in made.rows if row.backbone == "resnet8"] == ["ce", "ride(experts=2)", "bbn", "ncm"]
    assert {row.backbone for row in made.rows} == {"resnet8", "resnet20"} and len(made.rows) == 8
    assert all(set(row.keys) == {"0", "1", "2"} for row in made.rows)
    assert made.suite.recipe.augment == (*tiny.make(tmp_path, glyph_cache, "ce").suite.recipe.augment, "flip")


def test_a_row_that_was_added_stands_in_the_block_of_the_files_own(tmp_path, glyph_cache):
    plain, more = (tiny.make(tmp_path, glyph_cache, "ce", *sets) for sets in ((), ("methods+=bbn",)))
    (own,), (first, added) = plain.rows, more.rows
    assert own.block == first.block == added.block and own.keys == first.keys
    stands = planfile.refreshed(planfile.merged(plain.file(), more.file()), plain.file())
    assert [(row.label, planfile.is_of_file(row), row.sets) for row in stands.rows] == [
        ("ce", True, ()), ("bbn", True, ("methods+=bbn",)),
    ]  # fmt: skip


def test_a_key_that_the_file_lacks_can_be_set(tmp_path, glyph_cache):
    assert tiny.make(tmp_path, glyph_cache, "ce, crt", "baseline=crt").file().baseline == "crt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe.epochs", "--set recipe.epochs: write it as key.path=value, as in recipe.epochs=10"),
        ("=3", "--set =3: write it as"),
        ("recipe..lr=3", "--set recipe..lr=3: write it as"),
        ("recipe.lr=", "recipe.lr"),
        (
            "seeds.first=1",
            "--set seeds.first=1: 'first' would lie in what has no keys, a list: --set can only put another",
        ),
        ("seed=[1]", "seed: unknown key 'seed'; did you mean 'seeds'?"),
        ("methods+=nosuch", "--set methods+=nosuch: methods[1]: unknown method 'nosuch'"),
        ("recipe.lr+=3", "--set recipe.lr+=3: recipe.lr is no list with something in it: write = in place of +="),
        ("data.draws+=3", "--set data.draws+=3: data.draws is no list"),
        ("+=3", "--set +=3: write it as"),
        ("recipe.epoch=3", "recipe.epoch: unknown key 'epoch'; did you mean 'epochs'?"),
        ("recipe.lr=fast", "recipe.lr: must be a number, got 'fast'"),
        ("recipe.lr=[1", "--set recipe.lr=[1: "),
        ("recipe.lr=-1", "recipe.lr: must be greater than 0, got -1"),
        ("recipe=3", "recipe: must be a mapping such as {epochs: 200}, got 3"),
        ("data.name=glyphs", "data.name: must be "),
        ("methods=[]", "methods: must be a list of at least one method"),
        ("seeds=[1000]", "seeds: must be a list of different numbers from 0 to 999"),
    ],
)
def test_a_mistake_in_set_is_said(tmp_path, glyph_cache, text, message):
    with pytest.raises(LtbenchError) as caught:
        tiny.make(tmp_path, glyph_cache, "ce", text)
    assert message in str(caught.value)
