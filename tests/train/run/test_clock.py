"""Timing of laps and of waiting for data."""

import time

import torch

from train.run.clock import Clock, Lap


def slow_batches():
    while True:
        time.sleep(0.02)
        yield {"sample": torch.arange(3)}


def test_a_lap_knows_pairs_time_and_waiting():
    clock, batches = Clock(torch.device("cpu")), slow_batches()
    for _ in range(2):
        clock.fetch(batches)
        time.sleep(0.03)
    lap = clock.lap()
    assert lap.samples == 6
    assert 0.04 <= lap.waited <= lap.seconds - 0.06
    assert lap.rates == {"samples_per_s": 6 / lap.seconds, "data_wait_share": lap.waited / lap.seconds}
    assert clock.lap().samples == 0


def test_laps_add_up_and_an_empty_one_has_no_rates():
    assert Lap(1, 2.0, 0.5) + Lap(3, 4.0, 1.0) == Lap(4, 6.0, 1.5)
    assert Lap().rates == {"samples_per_s": None, "data_wait_share": None}


def test_a_lap_in_words():
    assert str(Lap(8, 2.0, 0.5)) == "4.0 samples/s, 25.0% waiting for data"
