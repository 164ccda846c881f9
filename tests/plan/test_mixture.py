"""Data sets in the shares that weights ask for: counted, without gaps, the same however samples are asked for."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import dali_cr
from dali_cr.index.volumes import Case
from dali_cr.plan.order.cases import Order
from dali_cr.plan.order.mixture import RUN, Mixture, check_weights
from dali_cr.volume.geometry import VolumeError

WEIGHTS = {"a": 2.0, "b": 1.0, "none": 0.0, "c": 0.35}
SIZES = {"a": 3, "b": 40, "none": 5, "c": 7}
SHARES = {name: Fraction(weight) / sum(map(Fraction, WEIGHTS.values())) for name, weight in WEIGHTS.items()}


def make_index(sizes: dict[str, int]) -> dali_cr.Index:
    """Return an index of nothing but names."""
    cases = [Case(f"{name}/{i}", (), dataset=name) for name, count in sizes.items() for i in range(count)]
    return dali_cr.Index(Path(), tuple(cases), datasets=dict.fromkeys(sizes, "."))


@pytest.fixture(scope="module")
def index() -> dali_cr.Index:
    return make_index(SIZES)


@pytest.mark.parametrize("start", [0, 7 * RUN, 2**32 - RUN, 2**40 + 5 * RUN])
def test_each_run_has_the_shares(start: int) -> None:
    mixture = Mixture(list(WEIGHTS.values()), 3, 1)
    datasets, own = mixture.find(np.arange(start, start + 4 * RUN))
    for run in datasets.reshape(4, RUN):
        counts = np.bincount(run, minlength=4)
        assert all(abs(count - RUN * share) < 1 for count, share in zip(counts, SHARES.values(), strict=True))
    for dataset, share in enumerate(SHARES.values()):
        of_it = np.sort(own[datasets == dataset])
        assert (np.diff(of_it) == 1).all()  # the data set's own numbers have no gaps
        rounded = start / 2**32  # by shares that are multiples of 2**-32
        assert not of_it.size or abs(int(of_it[0]) - start * share) < 24 + rounded
    assert not (datasets == 2).any()


def test_order_within_a_run_is_random_and_from_the_seed() -> None:
    alternating = [Mixture([1.0, 1.0], seed, 1).find(np.arange(4 * RUN))[0] for seed in (1, 1, 2)]
    assert alternating[0].tolist() == alternating[1].tolist() != alternating[2].tolist()
    assert abs(alternating[0][::2].mean() - 0.5) < 0.1  # what every other sample gets


def test_a_sample_does_not_depend_on_others() -> None:
    mixture, numbers = Mixture([1.0, 3.0], 0, 3), np.arange(1998)
    together = np.stack(mixture.find(numbers))
    alone = np.concatenate([np.stack(Mixture([1.0, 3.0], 0, 3).find(numbers[i : i + 1])) for i in (0, 5, 1997)], 1)
    assert together[:, [0, 5, 1997]].tolist() == alone.tolist()
    triples = together.reshape(2, -1, 3)
    assert (triples[0] == triples[0, :, :1]).all()
    assert (np.diff(triples[1]) == 1).all()


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_pass_has_each_case_of_its_data_set_once(index: dali_cr.Index, repeats: int) -> None:
    order = Order(index, 5, repeats, weights=WEIGHTS)
    assert order.epoch_length == repeats * (3 + 40 + 7)
    entries, attempts = order.choose(np.arange(4 * RUN * repeats))
    names = [index.cases[case].dataset for case in order.owners[entries]]
    assert set(names) == {"a", "b", "c"}
    assert not attempts.any()
    own = Mixture(list(WEIGHTS.values()), 5, repeats).find(np.arange(4 * RUN * repeats))[1]
    for name in "abc":
        here = np.array(names) == name
        in_order = entries[here][np.argsort(own[here])]
        passes = in_order[: len(in_order) // (SIZES[name] * repeats) * SIZES[name] * repeats]
        rows = np.sort(passes.reshape(-1, SIZES[name] * repeats))
        assert len(rows) > 1
        assert (rows == rows[0]).all()
        assert (np.bincount(rows[0])[rows[0]] == repeats).all()


def test_broken_cases_are_replaced_by_others_of_their_data_set(index: dali_cr.Index) -> None:
    order, numbers = Order(index, 5, 1, weights=WEIGHTS), np.arange(2 * RUN)
    plain, _ = order.choose(numbers)
    entries, attempts = order.choose(numbers, broken=[0, 1])
    names = [[index.cases[case].dataset for case in found] for found in (plain, entries)]
    assert names[0] == names[1]
    assert attempts.any()
    assert not np.isin(entries, [0, 1]).any()
    with pytest.raises(VolumeError, match="none of its cases of a can be read"):
        order.choose(numbers, broken=[0, 1, 2])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 1, "b": 1, "none": 1, "d": 1}, "got 'd'"),
        ({"a": 1, "b": 1, "c": 1}, "got none for none"),
        ({**WEIGHTS, "a": -1}, "at least 0 for a, got -1"),
        ({**WEIGHTS, "a": float("nan")}, "at least 0 for a, got nan"),
        (dict.fromkeys(WEIGHTS, 0), "got 0 for every data set"),
        ({**WEIGHTS, "a": 1e-12}, r"at least 2\*\*-32 of the sum for a"),
        ([1, 2], "expected a mapping"),
    ],
)
def test_what_are_no_weights(index: dali_cr.Index, weights: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"weights: .*{message}"):
        Order(index, 0, 1, weights=weights)


def test_weights_need_data_sets_with_cases(index: dali_cr.Index) -> None:
    with pytest.raises(ValueError, match="expected an index of several data sets"):
        check_weights({"a": 1}, dali_cr.Index(Path(), index.cases))
    with pytest.raises(ValueError, match="expected 0 for c, which has no case, got 0.35"):
        check_weights(WEIGHTS, index.subset(lambda case: case.dataset != "c"))
