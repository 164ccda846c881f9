"""Test forked processes: they release a Loader without calling DALI, and cannot use it."""

import gc
import multiprocessing
import os
import pickle
import sys
import weakref

import pytest
import torch

import dali_cr
from dali_cr.system import forks
from tests.helpers.prefork import start_parent

RECIPE = dali_cr.Restoration(crop=(8, 8, 8), swap=dali_cr.Swap(2, 2))


def loader(index: dali_cr.Index) -> dali_cr.Loader:
    return dali_cr.Loader(index, RECIPE, batch_size=2, device="cpu")


def test_no_worker_hangs() -> None:
    """Run a few rounds of `python -m tests.manual.forks`."""
    command = [sys.executable, "-m", "tests.manual.forks", "--rounds", "4", "--seed", "0"]
    done = start_parent().run(command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no worker hung" in done.stdout


@pytest.mark.parametrize("how", ["close", "drop"])
def test_the_pipeline_ends_without_the_garbage_collector(mixed_index: dali_cr.Index, how: str) -> None:
    before = set(forks._owned)
    gc.disable()
    try:
        stream = loader(mixed_index)
        batches = iter(stream)
        next(batches)
        owned = [weakref.ref(one) for one in set(forks._owned) - before]
        assert {type(one()).__name__ for one in owned} == {"Running", "Pipeline"}
        del batches
        if how == "close":
            stream.close()
        else:
            del stream
        assert [one() for one in owned] == [None, None]
    finally:
        gc.enable()


def test_a_worker_is_refused(mixed_index: dali_cr.Index) -> None:
    class Batches(torch.utils.data.IterableDataset[object]):
        def __init__(self, stream: dali_cr.Loader | None) -> None:
            self.stream = stream

        def __iter__(self):
            return iter(self.stream or loader(mixed_index))

    with loader(mixed_index) as stream:
        for inherited, message in (
            (stream, "cannot be used in .*, a forked process"),
            (None, "cannot be used in workers of a torch"),
        ):
            data = torch.utils.data.DataLoader(
                Batches(inherited), batch_size=None, num_workers=1, multiprocessing_context="fork"
            )
            with pytest.raises(RuntimeError, match=message):
                next(iter(data))
        with pytest.raises(TypeError, match="a Loader cannot be pickled"):
            pickle.dumps(stream)


def report(connection, stream: dali_cr.Loader | None, index: dali_cr.Index) -> None:
    """Close the inherited loader in a child, then create a new one."""
    if stream:
        stream.close()
        with pytest.raises(RuntimeError, match="created in process"):
            iter(stream)
    own = loader(index)
    connection.send([next(iter(own))["sample"].tolist(), os.getpid()])
    own.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_may_close_what_it_inherits_and_make_its_own(mixed_index: dali_cr.Index) -> None:
    with loader(mixed_index) as stream:
        batches = iter(stream)
        assert next(batches)["sample"].tolist() == [0, 1]
        ours, theirs = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(target=report, args=(theirs, stream, mixed_index))
        child.start()
        assert ours.poll(60)
        assert ours.recv() == [[0, 1], child.pid]
        child.join(60)
        assert child.exitcode == 0
        assert next(batches)["sample"].tolist() == [2, 3]
