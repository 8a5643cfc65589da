"""The key of a run: what changes it, and what does not."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltbench import Recipe, keys
from ltbench.data.spec import DataSpec
from ltbench.keys import Identity, canonical_json, digest, stem, validated
from ltbench.recipe import ADAPTER
from ltbench.registry import available, canonical, resolve
from ltbench.suite import OPTIONAL, REQUIRED

FEW = settings(deadline=None, max_examples=50)


def identity(method="ride", options=None, recipe=None, **changes) -> Identity:
    """As the plan makes it: options and recipe resolved, then plain data."""
    fields = {
        "method": method,
        "version": 1,
        "plugin": "",
        "options": canonical(resolve(method, options or {})),
        "recipe": validated(ADAPTER, {"epochs": 20} | (recipe or {})).recorded(),
        "fingerprints": {"rows": "aa", "train": "bb", "test": "cc"},
        "backbone": "resnet32",
        "seed": 0,
        "part": "all",
        "parents": {"stage1": "dd"},
    }
    return Identity(**fields | changes)


def reordered(value):
    """The same data with all keys in the opposite order."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


def altered(value):
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return value[:-1]
    if isinstance(value, dict):
        return value | {"more": "other"}
    return f"{value}x"


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)

# What does not change a key


def test_the_key_is_pinned():
    # made of literals: it moves only where the way of hashing does, which would orphan every record
    pinned = Identity(
        "ce", 1, "", {"head": "linear", "new": False}, {"name": "x", "epochs": 3, "lr": 0.1}, {"rows": "aa"},
        "resnet8", 0, "all", {}, protocol=1,
    )  # fmt: skip
    # sha256 of {"backbone":"resnet8","fingerprints":{"rows":"aa"},"method":"ce","options":{"head":"linear"},
    # "parents":{},"part":"all","plugin":"","protocol":1,"recipe":{"epochs":3,"lr":0.1},"seed":0,"version":1}
    assert pinned.key == "1fce6aeb054adfce0ea17927d10622548dcb6db0f131000ffd33389491670bcf"


def test_spelled_out_defaults_do_not_change_the_key():
    spelled = resolve("ride", {})
    assert identity("ride", spelled).key == identity("ride").key
    assert identity("crt", {"base": {"ce": {"head": "linear"}}}).key == identity("crt", {"base": "ce"}).key
    recipe = {field.name: field.default for field in dataclasses.fields(Recipe) if field.name != "epochs"}
    assert identity(recipe=recipe).key == identity().key


COMMITTED = sorted((Path(__file__).parent.parent / "results").glob("*/*-s*.json"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_committed_record_has_the_key_that_its_run_would_have_today(path):
    """Fields that a recipe has got since are at their defaults, and so in no key."""
    record = json.loads(path.read_text())
    as_today = identity(
        record["method"], recipe=record["recipe"], options=record["options"],
        **{key: record[key] for key in ("version", "plugin", "backbone", "seed", "part", "protocol")},
        fingerprints=record["data"]["fingerprints"],
        parents={role: parent["key"] for role, parent in record["parents"].items()},
    )  # fmt: skip
    assert as_today.key == record["key"]
    assert as_today.recipe == record["recipe"]
    assert validated(ADAPTER, record["suite_recipe"]).recorded() == record["suite_recipe"]


def test_there_are_committed_records():
    assert COMMITTED


def test_one_and_one_point_zero_are_the_same():
    assert identity(options={"scale": 30}).key == identity(options={"scale": 30.0}).key
    assert identity(recipe={"lr": 1, "warmup": 0}).key == identity(recipe={"lr": 1.0, "warmup": 0.0}).key
    assert identity("tau_norm", {"tau": 1}).key == identity("tau_norm").key


def test_the_recipes_name_does_not_change_the_key():
    assert identity(recipe={"name": "ride200"}).key == identity().key


def test_the_order_of_keys_does_not_change_the_key():
    one = identity("ride_ea")
    fields = {field.name: reordered(getattr(one, field.name)) for field in dataclasses.fields(one)}
    assert list(fields["options"]) != list(one.options)
    assert Identity(**fields).key == one.key


@FEW
@given(plain)
def test_a_digest_is_of_the_data_whatever_their_order(value):
    assert digest(reordered(value)) == digest(value)
    assert json.loads(canonical_json(value)) == value


@pytest.mark.parametrize("off", [None, False, "", [], ()], ids=repr)
def test_a_switch_that_is_off_does_not_count(off):
    base = identity("ride_ea")
    nested = {"base": {"ride": {**base.options["base"]["ride"], "switch": off}}}
    assert dataclasses.replace(base, options={**base.options, "switch": off}).key == base.key
    assert dataclasses.replace(base, options={**base.options, **nested}).key == base.key
    assert dataclasses.replace(base, recipe={**base.recipe, "switch": off}).key == base.key


# What does


# fields that are in no recorded recipe while at their default: another value
LATER = {
    "image_size": 24, "betas": [0.9, 0.95], "eps": 1e-6, "decay_norms": True, "min_lr": 1e-5, "accumulate": 4,
    "clip": 5.0, "ema": 0.99, "mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1,
}  # fmt: skip


@pytest.mark.parametrize("on", [True, 0, 0.0, "x", [0], {}, {"inner": None}], ids=repr)
def test_a_switch_that_is_on_counts(on):
    base = identity("ride_ea")
    nested = {"base": {"ride": {**base.options["base"]["ride"], "switch": on}}}
    keys = {
        base.key,
        dataclasses.replace(base, options={**base.options, "switch": on}).key,
        dataclasses.replace(base, options={**base.options, **nested}).key,
        dataclasses.replace(base, recipe={**base.recipe, "switch": on}).key,
    }
    assert len(keys) == 4


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Recipe) if field.name != "name"])
def test_every_field_of_the_recipe_changes_the_key(field):
    base = identity()
    value = LATER[field] if field in LATER else altered(base.recipe[field])
    assert dataclasses.replace(base, recipe=base.recipe | {field: value}).key != base.key


@pytest.mark.parametrize("field", ["steps", "augment"])
def test_nothing_in_place_of_a_default_changes_the_key(field):
    assert identity(recipe={field: []}).key != identity().key


def test_every_field_of_the_recipe_has_plain_data():
    # what altered() does not know it would turn into text
    hints = typing.get_type_hints(Recipe)
    assert all(field.name in hints for field in dataclasses.fields(Recipe))
    assert {*identity().recipe, *LATER} == {field.name for field in dataclasses.fields(Recipe)}
    assert all(isinstance(value, bool | int | float | str | list) for value in identity().recipe.values())


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Identity)])
def test_every_field_of_the_identity_changes_the_key(field):
    base = identity()
    assert dataclasses.replace(base, **{field: altered(getattr(base, field))}).key != base.key


@pytest.mark.parametrize("method", available())
def test_every_option_of_every_method_changes_the_key(method):
    base = identity(method)
    for option, value in base.options.items():
        other = [*value, "more"] if isinstance(value, list) else altered(value)
        assert dataclasses.replace(base, options=base.options | {option: other}).key != base.key, option


def test_every_option_of_a_base_changes_the_key_of_what_starts_from_it():
    """However deep: routers on a distilled RIDE that learns from a RIDE."""
    base = identity("ride_ea", {"base": {"ride_distill": {"teacher": {"ride": {"experts": 6}}}}})
    walked = list(places(base.options))
    assert ("base", "ride_distill", "teacher", "ride", "experts") in walked and len(walked) > 10
    for place in walked:
        assert dataclasses.replace(base, options=changed(base.options, place)).key != base.key, place


def places(value, here=()):
    """The paths to all values that are no mappings."""
    if not isinstance(value, dict):
        yield here
    else:
        for key, inner in value.items():
            yield from places(inner, (*here, key))


def changed(value, place):
    """The same data with another value in one place."""
    if not place:
        return altered(value)
    return {**value, place[0]: changed(value[place[0]], place[1:])}


@pytest.mark.parametrize("option", resolve("ride", {}))
def test_every_option_changes_the_key_here_and_in_a_base(option):
    for base in (identity("ride"), identity("ride_ea")):
        options = base.options["base"]["ride"] if base.method == "ride_ea" else base.options
        changed = options | {option: altered(options[option])}
        changed = {**base.options, "base": {"ride": changed}} if base.method == "ride_ea" else changed
        assert dataclasses.replace(base, options=changed).key != base.key


def test_the_order_within_a_list_counts():
    assert identity(recipe={"steps": [0.9, 0.8]}).key != identity(recipe={"steps": [0.8, 0.9]}).key


def test_a_run_and_its_parents_role_are_told_apart():
    keys = {identity(parents=parents).key for parents in ({}, {"a": "1"}, {"b": "1"}, {"a": "1", "b": "2"})}
    assert len(keys) == 4


# Form


def test_a_key_is_64_hex_digits_and_a_stem_has_eight_of_them():
    key = identity().key
    assert len(key) == 64
    assert int(key, 16) >= 0
    assert stem("ride", key, 2) == f"ride-{key[:8]}-s2"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_refused(value):
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"lr": value})


# The fast spelling of what is hashed


SMALL = [1e-5, 1.5e-5, 1.0000000000000003e-05, 9.999e-5, 1e-4, 1e-7, 1.5e-9, 1e-10, 5e-324, 10.00001, 100.00001, -1e-5]


@pytest.mark.parametrize("number", SMALL)
def test_small_numbers_are_hashed_as_python_spells_them_without_asking_python(monkeypatch, number):
    value = {"b": [number, 0.00002], "a": {"lr": number}, "name": "tau=1e-05"}
    expected = digest(value)
    monkeypatch.setattr(keys, "digest", lambda value: "the slow way")
    assert keys.has_digest(value, expected)
    assert not keys.has_digest(value | {"b": [0.5, 0.00002]}, expected)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(PLAIN)
def test_whatever_is_hashed_is_known_again(value):
    try:
        expected = digest(value)
    except UnicodeEncodeError:  # half a character
        return
    assert keys.has_digest(value, expected) and not keys.has_digest(value, digest([value]))


# From the suite file to the key: every field of the schema, walked


DATA = {"name": "cifar100_lt", "imbalance": 4, "profile": "step", "head": 8, "classes": 20}
RECIPE = {
    "epochs": 3, "batch_size": 32, "lr": 0.05, "momentum": 0.8, "nesterov": "false", "weight_decay": 1e-4,
    "schedule": "cosine", "steps": "[0.5]", "gamma": 0.1, "warmup": 0.5, "augment": "[flip]", "precision": "bf16",
    "optimizer": "adamw", "min_lr": 1e-5, "accumulate": 4, "clip": 5.0, "ema": 0.99, "mixup": 0.8, "cutmix": 1.0,
    "label_smoothing": 0.1,
}  # fmt: skip
ADAMW = {"betas": "[0.9, 0.95]", "eps": 1e-6, "decay_norms": "true"}
NO_NUMBERS = {"name": "it is shown, no more", "image_size": "images in memory have their own: see test_own_folder.py"}
SUITE = {"backbone": "resnet20"}
SAME = ("seeds=[0, 1]", "baseline=bbn", "recipe.name=other", "methods=[bbn, ce, tau_norm]", "recipe.lr=1e-1")


@pytest.fixture(scope="module")
def keys_of(tmp_path_factory, glyph_cache):
    """label -> key of the runs of seed 0 of a small suite, with some values set."""
    import numpy as np
    import tiny

    from ltbench.data import dataset

    load, norm = dataset._SETS["glyphs_lt"]
    other = load(glyph_cache)
    other = dataclasses.replace(other, train_image=np.ascontiguousarray(255 - other.train_image))
    kept, dataset._SETS = dataset._SETS, {**dataset._SETS, "cifar100_lt": (lambda folder: other, norm)}

    def of(*sets):
        made = tiny.make(tmp_path_factory.mktemp("keys"), glyph_cache, "ce, bbn, tau_norm", *sets)
        return {spec.label: spec.key for spec in made.runs.values() if spec.ref.seed == 0}

    yield of
    dataset._SETS = kept
    dataset.open_dataset.cache_clear()


def test_there_is_another_value_for_every_field_of_the_schema():
    drawn = {"draws", "draw"}  # draw 0 is the canonical subset and keeps its keys: see test_resampling.py
    # root and image_size are of images in files: see test_own_folder.py
    assert set(DATA) | drawn | {"root"} == {field.name for field in dataclasses.fields(DataSpec)}
    assert {*RECIPE, *ADAMW, *NO_NUMBERS} == {field.name for field in dataclasses.fields(Recipe)}
    assert {"data", "recipe", "methods", "seeds", "baseline", *SUITE} == {*REQUIRED, *OPTIONAL}


@pytest.mark.parametrize(
    "change",
    [f"data.{key}={value}" for key, value in DATA.items()]
    + [f"recipe.{key}={value}" for key, value in RECIPE.items()]
    + [f"recipe.optimizer=adamw recipe.{key}={value}" for key, value in ADAMW.items()]
    + [f"{key}={value}" for key, value in SUITE.items()],
)
def test_every_field_of_a_suite_that_changes_numbers_changes_every_key(keys_of, change):
    *start, change = change.split(" ", 1) if "adamw " in change else [change]
    before, after = keys_of(*start), keys_of(*start, change)
    assert set(before) == set(after) == {"ce", "bbn", "tau_norm(tau=1)"}
    assert not set(before.values()) & set(after.values())


@pytest.mark.parametrize("change", SAME)
def test_what_changes_no_number_changes_no_key(keys_of, change):
    assert keys_of(change) == keys_of()


def test_another_seed_or_version_or_protocol_is_another_key(keys_of, monkeypatch, tmp_path, glyph_cache):
    from ltbench import keys, registry

    first = keys_of()
    monkeypatch.setattr(registry.get("ce"), "version", 99)
    second = keys_of()
    assert first["bbn"] == second["bbn"], "its own version stands"
    assert first["ce"] != second["ce"] and first["tau_norm(tau=1)"] != second["tau_norm(tau=1)"]
    monkeypatch.undo()
    assert dataclasses.replace(identity(), protocol=keys.PROTOCOL + 1).key != identity().key


def test_how_a_run_is_carried_out_is_no_part_of_what_is_hashed():
    from ltbench.state import Settings

    assert not {field.name for field in dataclasses.fields(Settings)} & {f.name for f in dataclasses.fields(Identity)}
