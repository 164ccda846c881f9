"""Test threads: results and errors in order, and a hanging thread that does not block the process."""

import subprocess
import sys
import threading

import pytest

from dali_cr.pipeline.threads import Threads


def test_results_and_errors() -> None:
    threads = Threads(3, "test")
    futures = [threads.submit(divmod, i, i - 2) for i in range(5)]
    assert [f.result(10) for f in (futures[0], futures[4])] == [(0, 0), (2, 0)]
    with pytest.raises(ZeroDivisionError):
        futures[2].result(10)
    assert threads.close()


def test_close_cancels_waiting_tasks_and_waits_for_the_others() -> None:
    threads, begun, go = Threads(1, "test"), threading.Event(), threading.Event()
    first = threads.submit(lambda: (begun.set(), go.wait(10)))
    second = threads.submit(int)
    begun.wait(10)
    threading.Timer(0.1, go.set).start()
    assert threads.close()
    assert first.done()
    assert second.cancelled()


def test_a_hanging_thread_does_not_stop_the_process_from_ending() -> None:
    program = (
        "import threading\n"
        "from dali_cr.pipeline.threads import Threads\n"
        "threads = Threads(2, 'test')\n"
        "begun = threading.Event()\n"
        "threads.submit(lambda: (begun.set(), threading.Event().wait()))\n"
        "begun.wait()\n"
        "print(threads.close(patience=0.2))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert ended.stdout == "False\n"


def test_tasks_submitted_while_threads_close_are_cancelled() -> None:
    threads, begun, go = Threads(1, "test"), threading.Event(), threading.Event()
    later: list[object] = []
    threads.submit(lambda: (begun.set(), go.wait(10), later.append(threads.submit(int))))
    begun.wait(10)
    threading.Timer(0.1, go.set).start()
    assert threads.close()
    assert [future.cancelled() for future in later] == [True]  # type: ignore[attr-defined]
