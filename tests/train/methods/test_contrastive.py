"""The siamese contrastive loss, term by term against NumPy in float64."""

import numpy as np
import pytest
import torch

from train.methods.pcrlv2.contrastive import (
    ContrastiveHead,
    HeadOutput,
    collapse_metric,
    contrastive_loss,
    draw_levels,
    local_contrastive_loss,
)


def cosine(a, b):
    return (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))


def by_hand(q_a, p_a, q_b, p_b):
    """The loss D by the paper's formula, from arrays (B, C)."""
    return -(cosine(q_a, p_b).mean() + cosine(q_b, p_a).mean()) / 2


def normed(x, module):
    """Batch norm of (B, C) in training mode, with the biased variance."""
    scaled = (x - x.mean(0)) / np.sqrt(x.var(0) + module.eps)
    return scaled * module.weight.detach().double().numpy() + module.bias.detach().double().numpy()


def affine(x, module):
    return x @ module.weight.detach().double().numpy().T + module.bias.detach().double().numpy()


def output(*shape):
    return HeadOutput(torch.randn(*shape, requires_grad=True), torch.randn(*shape, requires_grad=True))


def numpy(found):
    return found.prediction.detach().double().numpy(), found.projection.detach().double().numpy()


def test_a_head_computes_its_layers():
    torch.manual_seed(1)
    head = ContrastiveHead(5)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    features = torch.randn(4, 5, 2, 3, 4)
    found = head(features)
    first, norm, _, last = head.predictor
    p = normed(features.double().numpy().mean((2, 3, 4)), head.norm)
    q = affine(np.maximum(normed(affine(p, first), norm), 0), last)
    np.testing.assert_allclose(found.projection.detach().numpy(), p, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.prediction.detach().numpy(), q, rtol=1e-4, atol=1e-5)


def test_the_heads_have_the_published_size():
    assert sum(p.numel() for width in (256, 128, 64) for p in ContrastiveHead(width).parameters()) == 348_096


def test_heads_compute_in_float32_where_convolutions_do_not():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ContrastiveHead(4)(torch.randn(3, 4, 2, 2, 2).bfloat16())
    assert found.projection.dtype == found.prediction.dtype == torch.float32


def test_contrastive_loss_by_hand():
    torch.manual_seed(2)
    one, other = output(3, 4), output(3, 4)
    wanted = by_hand(*numpy(one), *numpy(other))
    assert contrastive_loss(one, other).item() == pytest.approx(wanted, abs=1e-6)
    assert contrastive_loss(other, one).item() == pytest.approx(wanted, abs=1e-6)


def test_contrastive_loss_goes_from_minus_one_to_one():
    p = torch.randn(3, 4)
    assert contrastive_loss(HeadOutput(p, 2 * p), HeadOutput(p, 3 * p)).item() == pytest.approx(-1)
    assert contrastive_loss(HeadOutput(p, -p), HeadOutput(p, -p)).item() == pytest.approx(1)


def test_no_gradient_flows_through_projections():
    one, other = output(3, 4), output(3, 4)
    contrastive_loss(one, other).backward()
    assert one.projection.grad is None
    assert other.projection.grad is None
    assert one.prediction.grad.abs().sum() > 0
    assert other.prediction.grad.abs().sum() > 0


def test_locals_by_hand():
    torch.manual_seed(3)
    widths, batch, views = {0: 6, 1: 4, 2: 3}, 3, 4
    one, other = ({level: output(batch, width) for level, width in widths.items()} for _ in range(2))
    local = {level: output(batch, views, width) for level, width in widths.items()}
    levels = [(0, 1), (2, 2), (1, 0), (0, 2)]
    total = 0.0
    for view, pair in enumerate(levels):
        for whole, level in zip((one, other), pair, strict=True):
            q, p = (numbers[:, view] for numbers in numpy(local[level]))
            total += by_hand(*numpy(whole[level]), q, p)
    assert local_contrastive_loss(one, other, local, levels).item() == pytest.approx(total / (2 * views), abs=1e-6)


def test_only_the_given_levels_of_locals_are_used():
    one, other, local = {1: output(2, 4)}, {1: output(2, 4)}, {1: output(2, 1, 4)}
    loss = local_contrastive_loss(one, other, local, [(1, 1)])
    loss.backward()
    assert local[1].prediction.grad is not None
    assert local[1].projection.grad is None


def test_levels_are_a_function_of_seed_and_step():
    drawn = [draw_levels(3, step, 13, 3) for step in range(1, 40)]
    assert drawn == [draw_levels(3, step, 13, 3) for step in range(1, 40)]
    assert len({tuple(levels) for levels in drawn}) == len(drawn)
    assert drawn != [draw_levels(4, step, 13, 3) for step in range(1, 40)]
    assert draw_levels(3, 7, 5, 3) == draw_levels(3, 7, 13, 3)[:5]


def test_levels_are_uniform_and_each_call_draws_its_own():
    drawn = np.array([draw_levels(0, step, 13, 3) for step in range(1, 2001)])
    counts = np.stack([np.bincount(column, minlength=3) for column in drawn.T])
    # Six standard deviations of a binomial.
    assert np.abs(counts - 2000 / 3).max() < 6 * np.sqrt(2000 * 2 / 9)
    same = (drawn[:, :1] == drawn[:, 1:]).mean(0)
    assert np.abs(same - 1 / 3).max() < 6 * np.sqrt(2 / 9 / 2000)


def test_collapse_metric():
    torch.manual_seed(4)
    anywhere = torch.randn(500, 64)
    assert collapse_metric(anywhere) == pytest.approx(1, abs=0.05)
    one_place = torch.randn(64).expand(500, 64)
    assert collapse_metric(one_place) == pytest.approx(0, abs=1e-6)
    assert collapse_metric(one_place + 0.1 * anywhere) < 0.2
    scaled = anywhere.double().numpy() / np.linalg.norm(anywhere.double().numpy(), axis=1, keepdims=True)
    assert collapse_metric(anywhere) == pytest.approx(scaled.std(0).mean() * 8)
