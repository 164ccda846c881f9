"""Curves of a resumed run: lines after the checkpoint are removed."""

import json
import sys
import time

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from train.run.record import Record


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_line_a_call(tmp_path):
    with Record(tmp_path, None) as record:
        record.write(0, restoration_gain=None)
        record.write(1, loss=0.5, lr=0.25)
    assert lines(tmp_path) == [{"step": 0, "restoration_gain": None}, {"step": 1, "loss": 0.5, "lr": 0.25}]


@pytest.mark.parametrize(("step", "kept"), [(2, [1, 2]), (0, []), (None, []), (9, [1, 2, 3])])
def test_taken_up_at_a_step(tmp_path, step, kept):
    with Record(tmp_path, None) as record:
        for number in (1, 2, 3):
            record.write(number, loss=float(number))
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "lo')
    with Record(tmp_path, step) as record:
        record.write(7, loss=70.0)
    assert [line["step"] for line in lines(tmp_path)] == [*kept, 7]


def test_tensorboard_shows_the_same_in_groups(tmp_path):
    tmp_path = tmp_path / "two words"
    tmp_path.mkdir()
    with Record(tmp_path, None) as record:
        record.write(1, loss=1.0, lr=0.5, samples_per_s=9.0)
        record.write(2, loss=2.0, lr=0.5)
    # TensorBoard reads its files by the second they were made in.
    time.sleep(1.1)
    with Record(tmp_path, 1) as record:
        record.write(2, loss=20.0, lr=0.25)
        record.write(2, restoration_gain=None, val_dice=0.5)
        record.show(2, "restored", np.zeros((4, 6, 3), np.uint8))
        assert record.place == f"{tmp_path}/metrics.jsonl; tensorboard --logdir '{tmp_path}' shows them with pictures"
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Tags()["scalars"] == ["train/loss", "train/lr", "time/samples_per_s", "val/dice"]
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 1.0), (2, 20.0)]
    (picture,) = events.Images("val/restored")
    assert (picture.step, picture.height, picture.width) == (2, 4, 6)


def test_without_tensorboard_one_line_says_so_and_the_curves_are_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with Record(tmp_path, None) as record:
        record.write(1, loss=0.5)
        record.show(1, "restored", np.zeros((4, 6, 3), np.uint8))
        assert record.place == str(tmp_path / "metrics.jsonl")
    assert lines(tmp_path) == [{"step": 1, "loss": 0.5}]
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "only metrics.jsonl, TensorBoard is missing" in said
