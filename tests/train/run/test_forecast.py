"""Forecast of a run's duration from its first steps."""

from __future__ import annotations

import pytest
import torch

from train.run.forecast import Forecast


def said(each: float, steps: int, done: int = 0, *, first: float = 300.0, device: str = "cpu") -> dict[int, list[str]]:
    """Return the lines after each step of a run of `steps` steps, resumed at `done`, whose first step is slow."""
    forecast, found = Forecast(torch.device(device), samples=2), {}
    for step in range(done + 1, min(steps, done + 60) + 1):
        forecast.add(first if step == done + 1 else each)
        if lines := list(forecast.lines(steps - step)):
            found[step] = lines
    return found


@pytest.mark.parametrize("done", [0, 1000])
@pytest.mark.parametrize(("each", "after"), [(0.01, [50]), (2.0, [5, 50]), (40.0, [3, 50])])
def test_a_forecast_comes_within_a_minute_or_so_also_after_a_resume(each: float, after: list[int], done: int) -> None:
    found = said(each, done + 100, done)
    assert list(found) == [done + step for step in after]
    for step, (line,) in found.items():
        left = done + 100 - step
        hours = f"{left * each / 3600:.2f} hours for the {left} steps left"
        assert line == f"cost       {2 / each:.1f} samples/s: {hours}, without evaluation"


def test_short_runs_need_none() -> None:
    assert said(1.0, 20) == {}
    assert list(said(30.0, 4)) == []
    assert list(said(30.0, 8)) == [4]


def test_days_on_a_cpu_are_warned_of_once() -> None:
    lines = [line for lines in said(3.0, 100_000).values() for line in lines if line.startswith("warning")]
    assert lines == [
        "warning    3.5 days on a CPU: reduce --crop, --filters, --batch-size or --steps, or train on a GPU"
    ]
    assert not any("warning" in line for lines in said(0.8, 100_000).values() for line in lines)
