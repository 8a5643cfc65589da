"""Several training sets drawn from one pool: their rows, keys and groups, and what they have in common."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from ltbench import (
    footers,
    listing,
    outcome,
    plan,
    plan_listing,
    planfile,
    record,
    suite,
    tables,
)
from ltbench.data import dataset, pack
from ltbench.data.dataset import cut, open_dataset
from ltbench.data.source import Source
from ltbench.data.spec import DataSpec
from ltbench.data.subset import expected_overlap, longtail_rows, nearest_groups
from ltbench.errors import LtbenchError
from ltbench.longtail import profile_counts
from ltbench.scores import is_resampled

FEW = settings(deadline=None, max_examples=40)
LABELS = np.repeat(np.arange(4), 60)
WITHOUT_SEEDS = tiny.SUITE.replace("seeds: [0]\n", "")


def made(folder, data, methods="ce, tau_norm: {tau: 1.0}", draws=3):
    path = folder / "tiny.yaml"
    text = WITHOUT_SEEDS.replace("METHODS", ", ".join(f"{{{m}}}" if ":" in m else m for m in methods.split(", ")))
    path.write_text(text.replace("head: 9}", f"head: 9, draws: {draws}}}"))
    return plan.make(suite.read(str(path)), data)


# Rows


def test_each_draw_is_the_canonical_rule_with_the_draws_number_as_its_seed():
    rows = [longtail_rows(LABELS, [30, 10, 4, 1], draw) for draw in range(3)]
    assert np.array_equal(rows[0], longtail_rows(LABELS, [30, 10, 4, 1]))
    assert len({tuple(r) for r in rows}) == 3
    # made apart from ltbench: np.random.seed(2), np.random.shuffle on each class in turn
    shuffle = np.random.RandomState(2).shuffle
    for label, count in enumerate([30, 10, 4, 1]):
        expected = np.flatnonzero(np.equal(LABELS, label))
        shuffle(expected)
        assert rows[2][LABELS[rows[2]] == label].tolist() == expected[:count].tolist()


def test_draws_are_independent_each_image_of_a_class_comes_as_often_and_overlaps_are_as_expected():
    counts, pool = [30, 10, 4, 1], [60, 60, 60, 60]
    drawn = [longtail_rows(LABELS, counts, draw) for draw in range(400)]
    often = np.bincount(np.concatenate(drawn), minlength=240).reshape(4, 60)
    for label, count in enumerate(counts):
        share = count / 60
        spread = np.sqrt(400 * share * (1 - share))
        assert np.abs(often[label] - 400 * share).max() < 4.5 * spread
    shared = [len(np.intersect1d(a, b)) / sum(counts) for a, b in zip(drawn[::2], drawn[1::2], strict=True)]
    expected = expected_overlap(counts, pool)
    assert expected == pytest.approx((900 + 100 + 16 + 1) / 60 / 45)
    error = np.std(shared, ddof=1) / np.sqrt(len(shared))
    assert abs(np.mean(shared) - expected) < 4 * error and error < 0.01


def test_no_images_have_no_overlap_and_whole_classes_have_all():
    assert expected_overlap([], []) is None
    assert expected_overlap([5, 2], [5, 2]) == 1.0


# Groups


@pytest.mark.parametrize("head", [250, 100])
def test_cifars_draws_have_the_groups_of_the_whole_subset(head):
    canonical, counts = (profile_counts(n, 100, 100) for n in (500, head))
    many, few = nearest_groups(counts, canonical, (100, 20))
    assert [sum(n > many for n in counts), sum(n < few for n in counts)] == [35, 30]


@FEW
@given(st.integers(1, 40), st.sampled_from([1.0, 10.0, 50.0, 100.0]), st.integers(100, 500), st.integers(100, 250))
def test_groups_are_kept_wherever_a_threshold_can_part_them(classes, imbalance, whole, head):
    canonical, counts = (profile_counts(n, classes, imbalance) for n in (max(whole, 2 * head), head))
    many, few = nearest_groups(counts, canonical, (100, 20))
    assert few <= many + 1
    for (small, full), (other_small, other_full) in combinations(zip(counts, canonical, strict=True), 2):
        if small != other_small and (full > 100) != (other_full > 100) and counts == sorted(set(counts), reverse=True):
            assert (small > many) != (other_small > many)
        if small != other_small and (full < 20) != (other_full < 20) and counts == sorted(set(counts), reverse=True):
            assert (small < few) != (other_small < few)


# The specification


def test_a_spec_of_draws_stands_for_one_spec_each():
    spec = DataSpec("cifar100_lt", head=250, draws=20)
    assert spec.label == "cifar100_lt(imbalance=100, head=250, draws=20)"
    assert [part.label for part in spec.each()][::19] == [
        f"cifar100_lt(imbalance=100, head=250, draw={i})" for i in (0, 19)
    ]
    assert DataSpec("cifar100_lt").each() == (DataSpec("cifar100_lt"),)
    assert DataSpec("cifar100_lt").label == "cifar100_lt(imbalance=100)"
    assert is_resampled(spec.label) and not is_resampled(spec.each()[0].label)
    assert is_resampled(DataSpec("cifar100_lt", draws=3, classes=20).label), "whatever stands behind it"
    assert not is_resampled("folder(birds draws=3)"), "it is a name"
    with pytest.raises(ValueError, match="several training sets"):
        open_dataset(spec, None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("data.head=76", "data.head: with draws at most 75, half of the 150 images a class of glyphs_lt"),
        ("data.head=null", "differ from draw to draw, got none, so 150"),
        ("data.draw=1", "data.draw: unknown key 'draw'; did you mean 'draws'?"),
        ("data.draws=0", "greater than or equal to 1, got 0"),
        ("data.draws=1001", "less than or equal to 1000, got 1001"),
        ("data.draws=2.5", "got 2.5"),
        ("seeds=[0, 1]", "seeds: leave it out beside data.draws: draw i is trained with seed i"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_reason(change, said, tmp_path, glyph_cache):
    path = tmp_path / "tiny.yaml"
    path.write_text(WITHOUT_SEEDS.replace("METHODS", "ce").replace("head: 9}", "head: 9, draws: 3}"))
    with pytest.raises(LtbenchError) as caught:
        plan.make(suite.read(str(path), [change]), glyph_cache)
    assert said in str(caught.value)


# The plan


def test_the_runs_of_draw_i_and_their_parents_are_on_draw_i(tmp_path, glyph_cache):
    drawn = made(tmp_path, glyph_cache)
    assert len(drawn.runs) == 6 and len({run.key for run in drawn.runs.values()}) == 6
    for row in drawn.rows:
        assert row.data == "glyphs_lt(imbalance=3, head=9, draws=3)" and list(row.keys) == ["0", "1", "2"]
        for number, key in row.keys.items():
            run = drawn.runs[key]
            assert (run.ref.seed, run.data.draw) == (int(number), int(number))
            for parent in run.parents.values():
                assert drawn.runs[parent.key].identity.fingerprints == run.identity.fingerprints
    ce = [drawn.runs[key] for key in drawn.rows[0].keys.values()]
    assert len({run.identity.fingerprints["rows"] for run in ce}) == 3
    assert len({run.identity.fingerprints["train"] for run in ce}) == 3
    assert len({run.identity.fingerprints["test"] for run in ce}) == 1


def test_draws_are_one_block_more_draws_keep_the_keys_of_fewer_and_without_draws_nothing_changes(tmp_path, glyph_cache):
    three, four = (made(tmp_path, glyph_cache, draws=n) for n in (3, 4))
    assert len({row.block for row in three.rows}) == 1
    assert three.rows[0].block != four.rows[0].block
    assert three.rows[0].keys.items() < four.rows[0].keys.items()
    canonical = tiny.make(tmp_path, glyph_cache, "ce")
    assert canonical.rows[0].data == "glyphs_lt(imbalance=3, head=9)"
    first = open_dataset(DataSpec("glyphs_lt", 3.0, head=9), glyph_cache)
    draw = open_dataset(DataSpec("glyphs_lt", 3.0, head=9, draw=0), glyph_cache)
    assert first.fingerprints == draw.fingerprints, "draw 0 is the canonical rule"
    assert canonical.rows[0].keys["0"] == three.rows[0].keys["0"], "and so the same run"


def test_seeds_choose_among_draws(tmp_path, glyph_cache):
    drawn = made(tmp_path, glyph_cache)
    chosen = drawn.chosen(drawn.asked(["tau_norm(tau=1)"], [2]))
    assert {(run.label, run.data.draw) for run in chosen.values()} == {("ce", 2), ("tau_norm(tau=1)", 2)}
    with pytest.raises(LtbenchError, match=r"3 is no seed of this suite \(0, 1, 2\); --set data\.draws=N"):
        drawn.chosen(drawn.asked([], [3]))


def test_members_of_an_ensemble_are_on_the_draw_of_their_ensemble(tmp_path, glyph_cache):
    drawn = made(tmp_path, glyph_cache, "ensemble: {size: 2}", draws=2)
    members = [run for run in drawn.runs.values() if run.label == "ce"]
    assert {(run.ref.seed, run.data.draw) for run in members} == {(1000, 0), (2000, 0), (1001, 1), (2001, 1)}


def test_data_show_and_plan_tell_the_overlap(tmp_path, glyph_cache, capsys):
    from rich.console import Console

    drawn = made(tmp_path, glyph_cache)
    (shares,) = drawn.overlaps.values()
    counts = np.array(drawn.runs[drawn.rows[0].keys["0"]].counts)
    assert shares["all"] == pytest.approx((counts**2).sum() / 150 / counts.sum())
    assert shares["many"] is None or 0 < shares["many"] < 1
    items = listing.datasets_of(drawn.suite, glyph_cache)
    assert [item["name"][-7:] for item in items] == ["draw=0)", "draw=1)", "draw=2)"]
    assert len({item["fingerprint"] for item in items}) == 3 and items[0]["overlap"] == shares
    json.dumps(items)
    console = Console(width=200)
    listing.show_datasets(items, console)
    plan_listing.show_plan([], [], drawn.overlaps, console)
    out = capsys.readouterr().out
    assert out.count(f"all {100 * shares['all']:.1f} %") == 4
    assert "draws=3): of a draw's images another has, on average: " in out


# Run, table, pack


def test_draws_without_a_medium_group_have_records(tmp_path, glyph_cache):
    path = tmp_path / "tiny.yaml"
    data = "name: glyphs_lt, imbalance: 50, profile: step, head: 50, draws: 2}"
    text = WITHOUT_SEEDS.replace("METHODS", "ce").replace("name: glyphs_lt, imbalance: 3, head: 9}", data)
    path.write_text(text)
    for spec in plan.make(suite.read(str(path)), glyph_cache).runs.values():
        many, few = spec.groups
        assert few == many + 1 and outcome.describe(spec).data.groups == (many, few)


def test_a_run_on_each_draw_is_recorded_and_n_counts_draws(few_test_images, tmp_path, glyph_cache):
    drawn = made(tmp_path, glyph_cache, draws=2)
    where = tiny.settings(tmp_path, glyph_cache)
    tiny.carry_out(drawn, where)
    folder = where.results / "tiny"
    planfile.write(drawn.file(), folder)
    found, refused = record.read_folder(folder)
    assert not refused
    assert {(r.data.name, r.seed) for r in found.values()} == {
        (f"glyphs_lt(imbalance=3, head=9, draw={i})", i) for i in (0, 1)
    }
    rows = tables.load(folder).rows
    assert [(row["n"], row["status"], row["data"]) for row in rows] == [
        (2, "complete", "glyphs_lt(imbalance=3, head=9, draws=2)")
    ] * 2
    assert rows[1]["gain"]["n"] == 2
    assert rows[0]["fingerprints"]["rows"] not in {r.data.fingerprints["rows"] for r in found.values()}
    note = footers.footer(rows)[0]
    assert "over draws; n draws. Gain: over ce, by the draws that both have." in note


def test_a_pack_of_a_drawn_suite_holds_the_images_of_all_draws(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (240, 8, 8, 3), dtype=np.uint8)
    pool = Source(image, LABELS, image[:8], LABELS[::30], tuple("abcd"), (20, 5))
    spec = DataSpec("glyphs_lt", 10.0, head=30, draws=3)
    rows = dataset.rows_of([spec], pool)
    assert set(rows) == {int(row) for part in spec.each() for row in cut(part, pool)[1]}
    pack.write(pool, rows, pack.path_of(tmp_path, "glyphs_lt"))
    for part in spec.each():
        assert len(open_dataset(part, tmp_path).train) == sum(cut(part, pool)[0])
    with pytest.raises(LtbenchError, match="not in this pack"):
        open_dataset(DataSpec("glyphs_lt", 10.0, head=30, draw=7), tmp_path)


def test_of_several_thresholds_that_part_the_groups_the_lowest_is_taken():
    # 4 > t >= 2 > ... : t may be 2 or 3; 1 < t <= 2
    assert nearest_groups([4, 2, 1], [200, 60, 5], (100, 20)) == (2, 2)
