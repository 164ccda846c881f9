"""Learning-rate schedules."""

import pytest
import torch

from train.optim.schedule import learning_rate


def test_rate_rises_in_a_line_and_falls_along_a_cosine():
    rates = [learning_rate(step, 100, 0.5, 0.1) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([0.05 * step for step in range(1, 11)])
    assert rates[:54][-1] > 0.25 > rates[55]
    assert 0 < rates[-1] < 1e-3 * rates[9]
    assert all(a > b for a, b in zip(rates[9:], rates[10:], strict=False))


def test_a_run_of_an_earlier_version_ends_at_a_rate_of_0():
    rates = [learning_rate(step, 100, 0.5, 0.1, to_zero=True) for step in range(1, 101)]
    assert rates[54] == pytest.approx(0.25)
    assert rates[-1] == 0


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0.0), (1, 1.0), (2, 0.5), (7, 1.0)])
def test_short_runs_have_a_rate(steps, warmup):
    rates = [learning_rate(step, steps, 0.5, warmup) for step in range(1, steps + 1)]
    assert max(rates) == 0.5
    assert min(rates) > 0


def test_poly_decays_as_in_nnunet():
    rates = [learning_rate(step, 10, 0.01, 0.0, "poly") for step in range(1, 11)]
    assert rates == pytest.approx([0.01 * (1 - epoch / 10) ** 0.9 for epoch in range(10)])


@pytest.mark.parametrize(("every", "factor"), [(3, 0.5), (1, 0.9), (20, 0.1)])
def test_step_decays_as_in_torch(every, factor):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    scheduler, theirs = torch.optim.lr_scheduler.StepLR(optimizer, every, factor), []
    for _ in range(10):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    options = {"step_every": every, "step_factor": factor}
    assert [learning_rate(step, 10, 0.01, 0.0, "step", **options) for step in range(1, 11)] == pytest.approx(theirs)


def test_step_counts_from_the_end_of_the_warm_up():
    rates = [learning_rate(step, 10, 1.0, 0.4, "step", step_every=2) for step in range(1, 11)]
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_constant_stays_after_the_warm_up():
    assert [learning_rate(step, 4, 0.5, 0.5, "constant") for step in range(1, 5)] == [0.25, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_a_frozen_encoder_makes_two_schedules(schedule):
    rates = [learning_rate(step, 100, 0.5, 0.25, schedule, freeze=20) for step in range(1, 101)]
    assert rates[:20] == [learning_rate(step, 20, 0.5, 0.25, schedule) for step in range(1, 21)]
    assert rates[20:] == [learning_rate(step, 80, 0.5, 0.25, schedule) for step in range(1, 81)]
    assert rates[20:40] == pytest.approx([0.5 * step / 20 for step in range(1, 21)])


@pytest.mark.parametrize("freeze", [0, 100])
def test_an_encoder_that_is_frozen_never_or_always_makes_one(freeze):
    assert learning_rate(50, 100, 0.5, 0.1, freeze=freeze) == learning_rate(50, 100, 0.5, 0.1)
