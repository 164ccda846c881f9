"""Test groups processed by several threads: each once, errors in order, and the name of a hanging one."""

import threading
import time

import pytest

import dali_cr
from dali_cr.pipeline.sources.progress import Progress
from tests.helpers.recipes import PAIRS, finished


def test_threads_take_each_group_once() -> None:
    progress = Progress([[i] for i in range(200)])
    taken: list[int] = []

    def work() -> None:
        while (group := progress.take()) is not None:
            taken.append(group)
            progress.end(group)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert progress.wait(30)
    for thread in threads:
        thread.join(30)
    assert sorted(taken) == list(range(200))
    assert progress.take() is None
    assert progress.errors == {}


def test_no_groups_have_ended() -> None:
    assert Progress([]).wait(0.0)


def test_wait_returns_when_all_have_ended_and_keeps_their_errors() -> None:
    progress, ended = Progress([[0, 1], [2], [3]]), threading.Event()
    waiting = threading.Thread(target=lambda: (progress.wait(30), ended.set()))
    waiting.start()
    progress.end(2, KeyError("three"))
    progress.end(0)
    assert not ended.wait(0.05)
    assert progress.hanging() == 2
    progress.end(1, ValueError("two"))
    assert ended.wait(30)
    waiting.join(30)
    assert sorted(progress.errors) == [1, 2]
    assert str(progress.errors[min(progress.errors)]) == "two"


def test_a_finished_group_restarts_the_timeout() -> None:
    """Check that the timeout is per group."""
    progress = Progress([[i] for i in range(5)])

    def work() -> None:
        for group in range(5):
            time.sleep(0.1)
            progress.end(group)

    thread = threading.Thread(target=work)
    thread.start()
    assert progress.wait(0.35)
    thread.join(30)


def test_a_hanging_group_is_named_by_its_first_sample() -> None:
    progress = Progress([[0, 1], [2, 3], [4]])
    progress.end(0)
    progress.end(2)
    assert not progress.wait(0.01)
    assert progress.hanging() == 2


@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_groups_error_is_raised_whenever_it_comes(
    mixed_index: dali_cr.Index, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check that it is raised only after every group has ended, when no thread writes into the batch."""
    source = finished(mixed_index, PAIRS, 0, 6, threads=threads, lookahead=0)
    ended: list[int] = []

    def fill(batch: object, group: list[int]) -> None:
        try:
            time.sleep(0.02 * (6 - group[0]))
            if group[0] in (1, 4):
                raise MemoryError(f"group {group[0]}")
        finally:
            ended.append(group[0])

    monkeypatch.setattr(source, "fill", fill)
    with pytest.raises(MemoryError, match="group 1"):
        source.batch(0)
    assert sorted(ended) == list(range(6))
    source.close()
