"""Test that a file that kills its worker or raises an unexpected error does not affect other files."""

import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

from dali_cr import VolumeError
from dali_cr.index.workers import map_files

PATHS = ["a", "b", "deadly", "c", "odd", "refused", "d"]


def ask(path: str) -> str:
    if path == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    if path == "odd":
        raise RuntimeError("an unexpected error")
    if path == "refused":
        raise VolumeError(path, "damaged")
    time.sleep(0.01)
    return path.upper()


def texts(answers: dict[str, object]) -> dict[str, str]:
    return {path: str(answer) for path, answer in answers.items()}


def test_a_worker_that_dies() -> None:
    with ProcessPoolExecutor(2, get_context("spawn")) as executor:
        got = texts(dict(map_files(ask, PATHS, executor)))
    assert got.pop("deadly") == "deadly: the process that reads it was killed, by lack of memory or a signal"
    assert got.pop("odd") == "odd: cannot be read: RuntimeError: an unexpected error"
    assert got.pop("refused") == "refused: damaged"
    assert got == {path: path.upper() for path in "abcd"}


def test_an_executor_that_is_broken_already() -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        assert executor.submit(ask, "deadly").exception()
        assert dict(map_files(ask, ["a", "b"], executor)) == {"a": "A", "b": "B"}


def test_threads() -> None:
    with ThreadPoolExecutor(2) as executor:
        got = dict(map_files(ask, ["a", "odd", "b"], executor))
    assert (got["a"], got["b"], type(got["odd"])) == ("A", "B", VolumeError)
