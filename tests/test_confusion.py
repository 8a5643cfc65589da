"""Hard negatives against tables worked by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ltbench import confusion, student


def sparse(counted):
    """The table of one run [C, C], or those of several [R, C, C]."""
    own, taken = np.nonzero(np.abs(counted).sum(0) if counted.ndim == 3 else counted)
    return confusion.Table(own, taken, counted[..., own, taken], counted.shape[-1])


def dense(table):
    out = np.zeros((len(table.images), table.classes, table.classes), int)
    out[:, table.own, table.taken] = table.images
    return out


def test_tables_count_each_runs_answers_by_true_class():
    said = np.array([[0, 1, 1, 2], [2, 2, 1, 0]])
    counted = confusion.tables(said, [2, 1, 1])
    assert counted.row(0).tolist() == [1, 1, 2] and counted.row(1).tolist() == [0, 2, 0]
    assert dense(counted).tolist() == [
        [[1, 1, 0], [0, 1, 0], [0, 0, 1]],
        [[0, 0, 2], [0, 1, 0], [1, 0, 0]],
    ]


def test_a_class_without_test_images_has_an_empty_line():
    assert dense(confusion.tables(np.array([[0, 2]]), [1, 0, 1]))[0].tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_four_confusers_by_hand():
    table = np.array([[2, 4, 1, 1, 2], *np.eye(5, dtype=int)[1:]])
    assert confusion.foremost(table[0], 0) == [(1, 0.5), (4, 0.25), (2, 0.125)]
    assert confusion.foremost_share(sparse(table))[0] == 0.875
    assert confusion.confusers(sparse(table))[0] == pytest.approx(2**1.75)  # entropy of 1/2, 1/4, 1/8, 1/8 in bits


@pytest.mark.parametrize(("other", "alike"), [([3, 4, 0], 1), ([6, 8, 0], 1), ([4, -3, 0], 0), ([0, 0, 9], 0)])
def test_likeness_is_the_cosine_to_the_most_similar_other_class(other, alike):
    table = np.array([[3, 4, 0], other, [0, 0, 0]])
    assert confusion.likeness(sparse(table), [0, 1, 2])[0] == pytest.approx(
        alike
    )  # itself and an empty class are left out


def test_likeness_needs_an_error_and_another_class():
    table = np.array([[1, 1, 0], [0, 2, 0], [1, 0, 1]])
    found = confusion.likeness(sparse(table), [0, 1])
    assert found[[0, 2]] == pytest.approx([0.5**0.5, 0.5]) and np.isnan(found[1])  # class 1 does not err
    assert np.isnan(confusion.likeness(sparse(table), [0])).tolist() == [True, True, False]
    assert np.isnan(confusion.likeness(sparse(table), [])).all()


def test_the_interval_is_the_jackknifes():
    # class 0 errs towards one class in two runs, towards two in the third: the share of the foremost is 1 throughout,
    # the number of confusers is not
    runs = np.array([[[0, 2, 0], [0, 1, 0], [0, 0, 1]]] * 2 + [[[0, 1, 1], [0, 1, 0], [0, 0, 1]]])
    found = confusion.over(confusion.of_runs(sparse(runs), confusion.foremost_share), [0, 1])
    assert found == confusion.Spread(1.0, (1.0, 1.0))
    number = confusion.over(
        confusion.of_runs(sparse(runs), confusion.confusers), [0, 1, 2]
    )  # classes 1 and 2 do not err: they do not count

    def entropy(*counts):
        return math.exp(-sum(n / sum(counts) * math.log(n / sum(counts)) for n in counts))

    without = np.array([entropy(3, 1), entropy(3, 1), 1.0])
    half = student.quantile(2) * math.sqrt(2 / 3 * ((without - without.mean()) ** 2).sum())
    assert number is not None
    assert number.value == pytest.approx(entropy(5, 1))
    assert number.interval == pytest.approx((entropy(5, 1) - half, entropy(5, 1) + half))


def test_two_runs_tell_no_interval_and_no_error_tells_nothing():
    wrong = np.array([[[0, 1], [0, 1]]] * 2)
    assert confusion.over(confusion.of_runs(sparse(wrong), confusion.confusers), [0]) == confusion.Spread(1.0, None)
    assert confusion.over(confusion.of_runs(sparse(wrong), confusion.confusers), [1]) is None


def test_what_errs_in_one_run_alone_has_no_interval():
    once = np.array([[[1, 1], [0, 2]], [[2, 0], [0, 2]], [[2, 0], [0, 2]]])
    assert confusion.over(confusion.of_runs(sparse(once), confusion.confusers), [0, 1]) == confusion.Spread(1.0, None)


@given(arrays.arrays(np.int32, (6, 6), elements=st.sampled_from([0, 0, 1, 2, 7])))
def test_all_classes_at_once_are_each_class_by_itself(table):
    shares, numbers, alike = (
        confusion.foremost_share(sparse(table)),
        confusion.confusers(sparse(table)),
        confusion.likeness(sparse(table), [1, 3, 4]),
    )
    for own, line in enumerate(table):
        wrong = np.delete(line, own)
        if not wrong.any():
            assert np.isnan([shares[own], numbers[own], alike[own]]).all()
            continue
        p = wrong[wrong > 0] / wrong.sum()
        assert shares[own] == pytest.approx(np.sort(p)[-3:].sum())
        assert shares[own] == pytest.approx(sum(share for _, share in confusion.foremost(line, own)))
        assert numbers[own] == pytest.approx(np.exp(-(p * np.log(p)).sum()))
        others = [table[k] for k in (1, 3, 4) if k != own and table[k].any()]
        cosines = [line @ other / np.linalg.norm(line) / np.linalg.norm(other) for other in others]
        assert alike[own] == pytest.approx(max(cosines) if cosines else np.nan, nan_ok=True)


@given(arrays.arrays(np.int64, (4, 5, 5), elements=st.integers(0, 20)))
def test_all_figures_stay_in_their_range(counted):
    for of, most in ((confusion.foremost_share, 1.0), (confusion.confusers, 4.0)):
        found = confusion.over(confusion.of_runs(sparse(counted), of), range(5))
        if found is not None:
            assert 0 <= found.value <= most + 1e-9
            erring = [set(np.flatnonzero((run - np.diag(np.diag(run))).any(1))) for run in counted]
            assert (found.interval is None) == any(not set().union(*erring[:i], *erring[i + 1 :]) for i in range(4))
            assert found.interval is None or found.interval[0] <= found.value <= found.interval[1]
