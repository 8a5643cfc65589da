"""Two rows head to head: figures worked by hand, intervals that cover, what is said where nothing can be."""

from __future__ import annotations

import json
import math

import calls
import numpy as np
import pytest
from make_records import make, predicted, row, write

from ltbench import paired, record
from ltbench.behrens_fisher import half_width
from ltbench.compare import Comparison, Gap, compare, intervals, lines
from ltbench.errors import LtbenchError


def compared(*given) -> list[Comparison]:
    found, refused, _ = compare(*given)
    assert not refused
    return found


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two seeds of ce and ride; ride has a third, and ce's third is missing."""
    ce = [predicted("ce", 0, (9, 5, 1)), predicted("ce", 1, (8, 5, 2), 1), predicted("ce", 2, (1, 1, 1))]
    ride = [predicted("ride(experts=3)", s, r) for s, r in enumerate([(7, 5, 4), (8, 6, 4), (9, 9, 9)])]
    folder = tmp_path_factory.mktemp("two")
    return write(folder, [row(ce), row(ride)], [*ce[:2], *ride]).parent


def test_figures_by_hand(two):
    (found,) = compared(two, "ride(experts=3)", "ce")
    assert (found["seeds"], found["lacking"]) == ([0, 1], [2])
    # many 15 - 17 of 20, medium 11 - 10, few 8 - 3; all 34 - 30 of 60
    expected = {"top1": 100 * 4 / 60, "many": -10, "medium": 5, "few": 25}
    assert {name: found[name]["difference"] for name in expected} == pytest.approx(expected)
    for name in expected:
        assert found[name]["low"] <= found[name]["difference"] <= found[name]["high"]
    assert (found["classes_better"], found["classes_equal"], found["classes_worse"]) == (2, 0, 1)
    assert [(c["number"], c["group"], c["right_a"], c["right_b"]) for c in found["gained"]] == [
        (2, "few", 8, 3), (1, "medium", 11, 10),
    ]  # fmt: skip
    assert [c["number"] for c in found["lost"]] == [0]
    # seed 0: two images of class 0 only ce, three of class 2 only ride; of 5 coins P(X < 2) = 6 / 32, P(2) = 10 / 32
    first = found["mcnemar"][0]
    assert (first["seed"], first["only_a"], first["only_b"]) == (0, 3, 2)
    assert first["p_exact"] == 1 and first["p_mid"] == pytest.approx(22 / 32)


def test_classes_go_by_their_names_where_the_plan_has_them(tmp_path, command):
    made = [predicted("ce", 0, (9, 5, 1)), predicted("bbn", 0, (7, 5, 4))]
    named = {"b" * 64: ("ant", "bee", "a\x1b[31m\ncat")}
    folder = write(tmp_path, [row(made[:1]), row(made[1:])], made, classes=named).parent
    (found,) = compared(folder, "bbn", "ce")
    assert [c["name"] for c in (*found["gained"], *found["lost"])] == ["a\x1b[31m\ncat", "ant"]
    shown = command("compare", "bbn", "ce", folder).stdout
    assert "     0   -20.0  many, 200 images  ant\n" in shown and "\x1b" not in shown
    (unnamed,) = compared(write(tmp_path / "not", [row(made[:1]), row(made[1:])], made).parent, "bbn", "ce")
    assert [c["name"] for c in unnamed["lost"]] == [""] and "     0   -20.0  many, 200 images" in lines(unnamed)


def test_other_groups_hold_other_classes(two):
    (found,) = compared(two, "ride(experts=3)", "ce", (40, 5))  # of 200, 60 and 5 images
    assert found["many"]["difference"] == pytest.approx(-2.5) and found["medium"]["difference"] == 25
    assert found["few"]["difference"] is None and found["groups"] == [40, 5]
    assert "many > 40, medium 5..40, few < 5 training images." in lines(found)


def test_the_other_way_round_is_the_mirror(two):
    (one,), (other,) = compared(two, "ride(experts=3)", "ce"), compared(two, "ce", "ride(experts=3)")
    for name in ("top1", "many", "medium", "few"):
        gap, turned = one[name], other[name]
        assert (gap["difference"], gap["low"]) == (-turned["difference"], -turned["high"])
        assert gap["high"] == -turned["low"] and gap["low"] < gap["high"]
    assert one["p"] == other["p"]
    assert one["classes_better"] == other["classes_worse"]
    assert {c["number"] for c in one["gained"]} == {c["number"] for c in other["lost"]}


def test_the_same_records_give_the_same_bytes(two):
    assert json.dumps(compared(two, "ce", "ride(experts=3)")) == json.dumps(compared(two, "ce", "ride(experts=3)"))


def test_a_row_is_not_compared_with_itself_or_what_is_not_there(two, tmp_path):
    for a, b, said in (
        ("ce", "ce", "are the same row"),
        ("ce", "rid", "unknown row 'rid'"),
        ("cee", "ce", "did you mean 'ce'?"),
    ):
        with pytest.raises(LtbenchError, match=said.replace("?", r"\?")):
            compared(two, a, b)
    made = [predicted("ce", 0, (9, 5, 1)), predicted("bbn", 1, (9, 5, 1))]
    with pytest.raises(LtbenchError, match="no seed complete in both"):
        compared(write(tmp_path, [row(made[:1]), row(made[1:])], made).parent, "ce", "bbn")
    blind = [make("ce", 0), make("bbn", 0)]
    with pytest.raises(LtbenchError, match="no predictions"):
        compared(write(tmp_path / "b", [row(blind[:1]), row(blind[1:])], blind).parent, "ce", "bbn")
    apart = [predicted("ce", 0, (9, 5, 1)), predicted("bbn", 0, (9, 5, 1))]
    folder = write(tmp_path / "c", [row(apart[:1]), row(apart[1:], block="c" * 64)], apart).parent
    with pytest.raises(LtbenchError, match="stand in no block together"):
        compared(folder, "ce", "bbn")


def test_every_block_that_has_both(two, tmp_path):
    made = [predicted(label, 0, (9, 5, 1), backbone=net) for net in ("resnet8", "resnet20") for label in ("ce", "bbn")]
    folder = write(tmp_path, [row([r], block=r.backbone) for r in made], made).parent
    assert [c["backbone"] for c in compared(folder, "bbn", "ce")] == ["resnet8", "resnet20"]


def test_rows_that_answer_alike_are_not_told_apart(tmp_path):
    made = [predicted(label, seed, (9, 5, seed)) for label in ("ce", "bbn") for seed in (0, 1)]
    (found,) = compared(write(tmp_path, [row(made[:2]), row(made[2:])], made).parent, "bbn", "ce")
    assert found["top1"] == {"difference": 0, "low": None, "high": None} and found["p"] == 1
    assert found["gained"] == found["lost"] == []


def test_a_group_without_classes_is_na(tmp_path):
    data = make().data.model_copy(update={"counts": (200, 200, 200)})
    made = [predicted(label, 0, (9, n, 1), data=data) for label, n in (("ce", 5), ("bbn", 6))]
    (found,) = compared(write(tmp_path, [row(made[:1]), row(made[1:])], made).parent, "bbn", "ce")
    assert found["few"] == {"difference": None, "low": None, "high": None}
    assert [line.split() for line in lines(found) if line.startswith("few")] == [["few", "n/a"]]


TWO = (100, 100)  # test images of two classes


def made_up(random: np.random.Generator, seeds: int, chances: tuple[float, float]) -> list[np.ndarray]:
    """Two rows' hits [S, M], of images that are easier or harder for both."""
    easy = random.normal(0, 0.2, 200)
    return [random.random((seeds, 200)) < chance + easy + random.normal(0, 0.03, (seeds, 1)) for chance in chances]


def of_all(a: np.ndarray, b: np.ndarray) -> Gap:
    return intervals(a, b, TWO, {"top1": range(2)})["top1"]


def test_a_group_is_its_classes_images():
    a, b = made_up(np.random.default_rng(3), 3, (0.6, 0.5))
    found = intervals(a, b, TWO, {"top1": [0, 1], "many": [0], "few": [1]})
    for name, images in (("top1", slice(0, 200)), ("many", slice(0, 100)), ("few", slice(100, 200))):
        alone = intervals(a[:, images], b[:, images], (a[:, images].shape[1],), {name: [0]})
        assert found[name] == alone[name]


@calls.cases(100)
def test_an_interval_over_several_seeds_lacks_0_where_p_says_a_difference(case):
    """A bootstrap's ends, whose shape three seeds made, had it otherwise: +4.4 [0.2, 9.1] at p = 0.053."""
    random = np.random.default_rng(case)
    a, b = made_up(random, int(random.integers(2, 5)), (0.5, 0.5 + random.uniform(0, 0.2)))
    gap, p = of_all(a, b), paired.difference(a, b).p
    assert (gap["low"] > 0 or gap["high"] < 0) == (p < 0.05)


@pytest.mark.parametrize("seeds", [1, 3])
def test_b_against_a_is_the_mirror_of_a_against_b(seeds):
    a, b = made_up(np.random.default_rng(4), seeds, (0.6, 0.5))
    there, back = of_all(a, b), of_all(b, a)
    assert there["low"] < there["difference"] < there["high"]
    assert [there[key] for key in ("difference", "low", "high")] == pytest.approx(
        [-back[key] for key in ("difference", "high", "low")]
    )


@pytest.mark.parametrize("seeds", [1, 3])
def test_without_spread_there_is_no_interval(seeds):
    a, b = np.ones((seeds, 200), dtype=bool), np.zeros((seeds, 200), dtype=bool)
    assert of_all(a, b) == {"difference": 100, "low": None, "high": None}
    assert of_all(a, a) == {"difference": 0, "low": None, "high": None}
    one = {"top1": [1]}, (199, 1)  # a single image
    assert intervals(a, b, one[1], one[0])["top1"] == {"difference": 100, "low": None, "high": None}


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(seeds):
    # A is right 5 points more often; images differ in difficulty, runs in luck
    random = np.random.default_rng(7)
    covered, drawn = 0, 60
    for _ in range(drawn):
        easy = random.normal(0, 1, 200)
        b, a = (
            np.stack(
                [
                    easy + random.normal(0, 1, 200) + shift + random.normal(0, 0.1 if seeds > 1 else 0) > 0
                    for _ in range(seeds)
                ]
            )
            for shift in (0.0, 0.3)
        )
        gap = of_all(a, b)
        # P(N(0.3, sqrt(2 + luck)) > 0) - 1/2
        truth = 8.40 if seeds == 1 else 8.38
        covered += gap["low"] <= truth <= gap["high"]
    assert 0.86 <= covered / drawn <= 1.0


# By the command line


def test_the_command_tells_it_in_80_columns(command, two):
    done = command("compare", "ride(experts=3)", "ce", two)
    assert done.returncode == 0 and done.stderr == ""
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "top-1    +6.67  [" in done.stdout and "Seed 2: not complete in both" in done.stdout
    assert "seed 0: only A right 3, only B right 2; McNemar: mid-p 0.69, exact 1" in done.stdout


def test_the_command_prints_json(command, two):
    done = command("compare", "ride(experts=3)", "ce", two, "--format", "json")
    assert json.loads(done.stdout) == compared(two, "ride(experts=3)", "ce")


def test_a_mistake_is_one_message(command, two):
    done = command("compare", "ride(experts=2)", "ce", two)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: compare: unknown row 'ride(experts=2)'; did you mean 'ride(experts=3)'?")
    assert command("compare", "ride(experts=3)", "ce", two, "--format", "csv").returncode == 2


def test_a_bad_record_is_told_and_the_exit_code_is_1(command, tmp_path):
    made = [predicted(label, seed, (9, 5, seed)) for label in ("ce", "bbn") for seed in (0, 1)]
    folder = write(tmp_path, [row(made[:2]), row(made[2:])], made)
    bad = folder / f"{made[0].stem}.json"
    bad.write_text("{")
    done = command("compare", "bbn", "ce", tmp_path)
    assert done.returncode == 1 and done.stderr.startswith(f"refused: {bad}: not a record")
    assert "Seed 0: not complete in both" in done.stdout


def test_names_steer_nothing(command, tmp_path):
    name = "ce \x1b[31m\u202e"
    made = [predicted(name, 0, (9, 5, 1), method="ce"), predicted("bbn", 0, (9, 5, 2))]
    write(tmp_path, [row(made[:1]), row(made[1:])], made)
    for format in ("text", "json"):
        done = command("compare", "bbn", name, tmp_path, "--format", format)
        assert done.returncode == 0 and "\x1b" not in done.stdout and "\u202e" not in done.stdout
    assert json.loads(done.stdout)[0]["b"] == name


def test_a_p_below_what_can_be_told_is_not_called_0(two):
    (found,) = compared(two, "ride(experts=3)", "ce")
    assert any(line.startswith("p < 1e-12: a difference") for line in lines({**found, "p": 0.0}))
    assert any(line.startswith("p = 0.031: a difference") for line in lines({**found, "p": 0.031}))


def test_a_row_may_be_named_as_a_suite_would(command, two):
    """--only took "ride" for ride(experts=3); compare asked back whether ride(experts=1) was meant."""
    as_shown = command("compare", "ride(experts=3)", "ce", two).stdout
    for text in ("ride", "ride(experts=3, diversity=-0.45)", " ride( experts=3 )"):
        assert command("compare", text, "ce", two).stdout == as_shown != ""
    table = command("table", two, "--baseline", "ride(experts=3)").stdout
    assert command("table", two, "--baseline", "ride").stdout == table != ""


def test_the_five_classes_on_either_side_and_by_how_much_a_seed(tmp_path):
    # of 10 images A is right in 6, 5 .. 1 of the first six classes, B in 1 .. 6 of the others; in both seeds
    ours, theirs = (6, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6)
    data = make().data.model_copy(update={"counts": (200,) * 12})
    made = []
    for label, right in (("bbn", ours), ("ce", theirs)):
        guess = np.array([c if i < n else (c + 1) % 12 for c, n in enumerate(right) for i in range(10)])
        more = {"right": right, "total": (10,) * 12, "data": data, "predictions": record.encode(guess)}
        made += [make(label, seed, **more) for seed in (0, 1)]
    (found,) = compared(write(tmp_path, [row(made[:2]), row(made[2:])], made).parent, "bbn", "ce")
    assert [(c["number"], c["difference"]) for c in found["gained"]] == [(0, 60), (1, 50), (2, 40), (3, 30), (4, 20)]
    assert [(c["number"], c["difference"]) for c in found["lost"]] == [
        (11, -60), (10, -50), (9, -40), (8, -30), (7, -20),
    ]  # fmt: skip


def test_a_seed_that_one_of_the_rows_is_not_asked_for_is_in_no_figure(tmp_path):
    ce, bbn = [predicted("ce", 0, (9, 5, 1))], [predicted("bbn", seed, (9, 5, 2)) for seed in (0, 1)]
    folder = write(tmp_path, [row(ce), row(bbn)], [*ce, *bbn]).parent
    for a, b in (("ce", "bbn"), ("bbn", "ce")):
        (found,) = compared(folder, a, b)
        assert (found["seeds"], found["lacking"]) == ([0], [1])


@pytest.mark.parametrize("seeds", [1, 3])
def test_an_interval_is_as_wide_as_the_variance_makes_it(seeds):
    random = np.random.default_rng(5)
    a, b = (random.random((seeds, 200)) < chance for chance in (0.6, 0.5))
    gap = of_all(a, b)
    values = a.astype(float) - b
    half = 1.959964 * values.std(ddof=1) / math.sqrt(200)
    if seeds > 1:
        _, variance = paired.crossed_variance(values)
        half = half_width(variance)
    assert (gap["high"] - gap["low"]) / 2 == pytest.approx(100 * half)
    assert (gap["high"] + gap["low"]) / 2 == pytest.approx(gap["difference"]) == pytest.approx(100 * values.mean())


def test_a_block_without_a_seed_in_common_is_told(tmp_path, command):
    there = [predicted(label, 0, (9, 5, 1)) for label in ("ce", "bbn")]
    apart = [predicted("ce", 0, (9, 5, 1), backbone="resnet20"), predicted("bbn", 1, (9, 5, 2), backbone="resnet20")]
    rows = [*(row([one]) for one in there), *(row([one], block="c" * 64) for one in apart)]
    folder = write(tmp_path, rows, [*there, *apart]).parent
    found, _, without = compare(folder, "bbn", "ce")
    assert [one["backbone"] for one in found] == ["resnet8"]
    assert without == ["toy, toy_lt, resnet20, two: no seed complete in both"]
    done = command("compare", "bbn", "ce", folder)
    assert done.returncode == 0 and done.stderr == f"left out: {without[0]}\n"
