"""Differences, intervals and p-values against hand calculations and simulations under the null hypothesis."""

import numpy as np
import pytest
from scipy import stats

from train.report.intervals import bootstrap_interval, holm, paired_difference


def test_pairs_by_case_whatever_the_order() -> None:
    scores = [{"b": 0.5, "a": 1.0}, {"a": 0.0, "b": 0.25}]
    baseline = [{"a": 0.25, "b": 1.0}, {"b": 0.0, "a": 0.5}]
    assert paired_difference(scores, baseline).tolist() == [[0.75, -0.5], [-0.5, 0.25]]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([{"a": 1.0}], "as many seeds"),
        ([{"a": 1.0}, {"c": 1.0}], "(a|b) is missing for some"),
        ([{"a": 1.0, "b": 1.0}, {"a": float("nan"), "b": 0.0}], "finite"),
    ],
)
def test_refuses_what_does_not_pair(scores: list[dict[str, float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired_difference(scores, [{"a": 0.0, "b": 0.0}, {"a": 0.0, "b": 0.0}])


def test_a_single_seed_is_a_paired_t_test() -> None:
    differences = np.random.default_rng(0).normal(0.2, 1, (1, 50))
    found = bootstrap_interval(differences, resamples=20_000)
    known = stats.ttest_1samp(differences[0], 0)
    low, high = known.confidence_interval(0.95)
    assert found.freedom == pytest.approx(49)
    assert (found.mean, found.p) == (pytest.approx(differences.mean()), pytest.approx(known.pvalue, rel=0.15))
    assert (found.low, found.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))
    assert bootstrap_interval(differences.T, resamples=20_000).p == pytest.approx(found.p, rel=0.15)


def test_seeds_that_alone_differ_count_and_not_their_cases() -> None:
    # Three seeds, each with one difference in all of its cases: three numbers, however many cases there are.
    found = bootstrap_interval(np.repeat([[0.1], [0.2], [0.4]], 200, axis=1), resamples=20_000)
    known = stats.ttest_1samp([0.1, 0.2, 0.4], 0)
    assert found.freedom == pytest.approx(2)
    assert found.p == pytest.approx(known.pvalue, rel=0.1)


@pytest.mark.parametrize(("between", "cases"), [((1.0, 0.0), 40), ((0.3, 1.0), 40)])
def test_chance_alone_is_called_a_difference_about_once_in_twenty(between: tuple[float, float], cases: int) -> None:
    draws, seeds, tries = np.random.default_rng(1), 3, 400
    called = 0
    for number in range(tries):
        of_seed, of_case = between[0] * draws.normal(size=(seeds, 1)), between[1] * draws.normal(size=(1, cases))
        table = of_seed + of_case + draws.normal(size=(seeds, cases))
        called += bootstrap_interval(table, resamples=500, seed=number).p < 0.05
    assert 0.005 * tries < called < 0.09 * tries


def test_clusters_that_alone_differ_count_and_not_their_rows() -> None:
    rows = np.repeat([0.1, 0.2, 0.4], 4)[:, None] * np.ones((1, 50))
    found = bootstrap_interval(rows, clusters=np.repeat([1, 2, 3], 4).tolist(), resamples=20_000)
    known = stats.ttest_1samp([0.1, 0.2, 0.4], 0)
    assert found.freedom == pytest.approx(2)
    assert found.p == pytest.approx(known.pvalue, rel=0.1)


@pytest.mark.parametrize("crossed", [True, False])
def test_chance_of_few_clusters_is_called_a_difference_about_once_in_twenty(crossed: bool) -> None:
    draws, tries, called = np.random.default_rng(3), 300, 0
    for number in range(tries):
        table = draws.normal(size=(4, 1, 1)) + draws.normal(size=(1 if crossed else 4, 3, 1))
        table = table + draws.normal(size=(4, 3, 20))
        rows, clusters = (table, None) if crossed else (table.reshape(12, 20), np.repeat(range(4), 3).tolist())
        called += bootstrap_interval(rows, clusters=clusters, resamples=300, seed=number).p < 0.05
    assert 0.005 * tries < called < 0.09 * tries


def test_a_detectable_difference_is_detected_four_times_in_five() -> None:
    draws = np.random.default_rng(5)
    found = [bootstrap_interval(draws.normal(0.4, 1, (1, 50)), resamples=300, seed=n) for n in range(200)]
    # The power at 0.4 of a t test with 50 cases is 0.79, so what is detected with 0.8 is close to it.
    assert np.mean([one.detectable for one in found]) == pytest.approx(0.4, abs=0.02)
    assert np.mean([one.p < 0.05 for one in found]) == pytest.approx(0.79, abs=0.08)


def test_clusters_match_the_rows() -> None:
    with pytest.raises(ValueError, match=r"cluster for each row of \(seeds, cases\), got 2 for \(3, 5\)"):
        bootstrap_interval(np.zeros((3, 5)), clusters=[1, 2])


def test_the_interval_and_p_agree() -> None:
    table = np.random.default_rng(2).normal(0.3, 1, (3, 30))
    found = bootstrap_interval(table)
    edge = bootstrap_interval(table, level=1 - found.p)
    assert min(abs(edge.low), abs(edge.high)) < 1e-9
    assert bootstrap_interval(table) == found
    assert bootstrap_interval(-table).p == pytest.approx(found.p)


def test_nothing_to_tell() -> None:
    same = bootstrap_interval(np.zeros((3, 5)))
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)
    constant = bootstrap_interval(np.full((3, 5), 0.1))
    assert constant.low == constant.high == pytest.approx(0.1)
    assert constant.p == 0
    with pytest.raises(ValueError, match=r"\(1, 1\)"):
        bootstrap_interval([[0.1]])


def test_holm() -> None:
    # Holm 1979: the lowest times 4, the next times 3 …, never below the one before.
    assert holm([0.01, 0.02, 0.03, 0.5]) == pytest.approx([0.04, 0.06, 0.06, 0.5])
    assert holm([0.5, 0.01, 0.6]) == pytest.approx([1.0, 0.03, 1.0])
    assert holm([0.2]) == [0.2]
    assert holm([]) == []
