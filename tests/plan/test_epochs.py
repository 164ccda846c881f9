"""Test epochs against a model that counts steps: a grid of sizes, with `break`, streams and states."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dali_cr.plan.epochs import Epochs

LENGTHS, BATCHES, RANKS = (1, 2, 5, 12, 13), (1, 2, 5), (1, 2, 3)


class Ranks:
    """Simulate the sample numbers that the loaders of all ranks deliver."""

    def __init__(self, length: int, batch_size: int, world_size: int, passes: int | None = None) -> None:
        self.all = [Epochs(length, batch_size, rank, world_size, passes) for rank in range(world_size)]

    def step(self) -> list[int]:
        """Return the numbers of a step, in the order of the ranks."""
        numbers = [epochs.numbers().tolist() for epochs in self.all]
        assert len({len(own) for own in numbers}) == 1
        for epochs in self.all:
            epochs.advance()
        return [number for own in numbers for number in own]

    def epoch(self):
        for epochs in self.all:
            epochs.begin()
        for _ in range(self.all[0].steps_left):
            yield self.step()
        assert {epochs.steps_left for epochs in self.all} == {0}

    def stream(self):
        while True:
            for epochs in self.all:
                epochs.go_on()
            yield self.step()

    def state(self) -> tuple[int, int]:
        (state,) = {(epochs.next, epochs.first) for epochs in self.all}
        return state

    def load(self, state: tuple[int, int | None]) -> None:
        for epochs in self.all:
            epochs.move(*state)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("batch_size", BATCHES)
@pytest.mark.parametrize("world_size", RANKS)
def test_an_epoch_is_full_steps_and_the_next_continues(length: int, batch_size: int, world_size: int) -> None:
    ranks = Ranks(length, batch_size, world_size)
    steps = -(-length // (batch_size * world_size))
    assert ranks.all[0].steps == steps
    for epoch in range(4):
        got = list(ranks.epoch())
        assert [len(step) for step in got] == [batch_size * world_size] * steps
        first = epoch * steps * batch_size * world_size
        assert sum(got, []) == list(range(first, first + steps * batch_size * world_size))


ACTIONS = st.lists(st.tuples(st.sampled_from(["epoch", "break", "stream", "load"]), st.integers(0, 9)), max_size=12)


@given(st.sampled_from(LENGTHS), st.sampled_from(BATCHES), st.sampled_from(RANKS), ACTIONS)
def test_breaks_streams_and_states_anywhere(
    length: int, batch_size: int, world_size: int, actions: list[tuple[str, int]]
) -> None:
    """In the model, an epoch is `steps` steps and starts at a multiple of `steps`."""
    size, ranks = batch_size * world_size, Ranks(length, batch_size, world_size)
    steps = -(-length // size)
    at, resumed = 0, True

    def skip() -> int:
        return at if resumed or at % steps == 0 else (at // steps + 1) * steps

    for action, count in actions:
        if action == "load":
            state, ranks = ranks.state(), Ranks(length, batch_size, world_size)
            ranks.load(state)
            resumed = True
            continue
        if action == "stream":
            wanted = range(at, at + count)
            got = list(islice(ranks.stream(), count))
        else:
            first = skip()
            wanted = range(first, (first // steps + 1) * steps)
            wanted = wanted[: count + 1] if action == "break" else wanted
            got = list(islice(ranks.epoch(), len(wanted)) if action == "break" else ranks.epoch())
        assert got == [list(range(step * size, (step + 1) * size)) for step in wanted]
        at, resumed = (wanted[-1] + 1, False) if len(wanted) else (at, resumed)


@given(
    st.sampled_from(LENGTHS),
    st.tuples(st.sampled_from(BATCHES), st.sampled_from(RANKS)),
    st.tuples(st.sampled_from(BATCHES), st.sampled_from(RANKS)),
    st.integers(0, 40),
)
def test_a_resume_with_other_sizes_finishes_the_epoch(
    length: int, before: tuple[int, int], after: tuple[int, int], stop: int
) -> None:
    """Check that no sample is dropped or repeated, and that the epoch has the fewest possible steps."""
    ranks = Ranks(length, *before)
    taken = sum(islice((step for _ in range(99) for step in ranks.epoch()), stop), [])
    other = Ranks(length, *after)
    state = next_, first = ranks.state()
    other.load(state)
    rest = list(other.epoch())
    flat = sum(rest, [])
    assert taken + flat == list(range(next_ + len(flat)))
    if next_ - first >= length or not taken:  # the epoch has ended, or not started
        assert len(rest) == other.all[0].steps
    else:
        assert next_ - first + len(flat) >= length > next_ - first + len(flat) - len(rest[-1])
    assert next(other.epoch())[0] == next_ + len(flat)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("batch_size", BATCHES)
@pytest.mark.parametrize("world_size", RANKS)
@pytest.mark.parametrize("passes", [1, 2])
def test_exact_passes(length: int, batch_size: int, world_size: int, passes: int) -> None:
    total = length * passes
    if total % world_size:
        with pytest.raises(ValueError, match=f"epochs: expected .* {world_size} ranks can share evenly, got {total}"):
            Ranks(length, batch_size, world_size, passes)
        return
    ranks = Ranks(length, batch_size, world_size, passes)
    for _ in range(2):  # every evaluation has the same samples
        got = list(ranks.epoch())
        assert len(got) == ranks.all[0].steps == -(-total // (batch_size * world_size))
        assert sum(got, []) == list(range(total))
    for stop in range(1, len(got)):
        assert list(islice(ranks.epoch(), stop)) == got[:stop]
        state = ranks.state()
        assert list(ranks.epoch()) == got  # interrupted, then again from 0
        ranks.load(state)
        assert list(ranks.epoch()) == got[stop:]
        assert list(ranks.epoch()) == got


def test_a_state_without_an_epoch_counts_epochs_from_0() -> None:
    """States of format 1 have no epoch."""
    ranks = Ranks(10, 2, 2)  # epochs of 3 steps, 12 samples
    ranks.load((28, None))
    assert list(ranks.epoch()) == [[28, 29, 30, 31], [32, 33, 34, 35]]
    ranks.load((24, None))
    assert [step[0] for step in ranks.epoch()] == [24, 28, 32]


def test_a_position_that_ranks_cannot_share_is_refused() -> None:
    epochs = Epochs(12, 3, world_size=2, passes=1)
    with pytest.raises(ValueError, match="2 ranks can share evenly, got 9"):
        epochs.move(3, 0)
    assert (epochs.next, epochs.first) == (0, 0)
    epochs.begin()
    assert epochs.steps_left == 2


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"rank": 2, "world_size": 2}, {"passes": 0}, {"passes": -1}], ids=str
)
def test_refuses(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Epochs(**{"length": 4, "batch_size": 2, **wrong})
