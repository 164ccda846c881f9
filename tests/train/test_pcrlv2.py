"""PCRLv2: the loss against NumPy in float64, the parts that are computed, and small runs."""

import doctest
import importlib
import itertools
import json
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from tests.helpers import finetuning
from tests.helpers.runs import metrics
from train import finetune, pretrain
from train.methods.pcrlv2.config import Pcrlv2Config
from train.methods.pcrlv2.contrastive import draw_levels
from train.methods.pcrlv2.evaluation import evaluate_views, linear_fit
from train.methods.pcrlv2.method import Pcrlv2, fading
from train.methods.pcrlv2.pyramid import Pyramid, upsample
from train.methods.presets import PRESETS
from train.networks.nsunet import NsUNet
from train.optim.optimizer import build_optimizer
from train.predict import PredictConfig
from train.predict import main as predict
from train.report.curves import draw_views

TERMS = ["restoration", "contrastive", "restoration_of_level", "contrastive_local"]
LOCALS = 2


def model(channels=1, head="code", dims=3):
    torch.manual_seed(0)
    made = Pyramid(NsUNet(channels, channels, filters=4, dims=dims), channels, head)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def batch(channels=1, samples=3, dims=3):
    torch.manual_seed(1)
    shape = (samples, 2, channels, *(16, 16, 8)[3 - dims :])
    view, target = torch.randn(shape), torch.rand(shape)
    return {"view": view, "target": target, "local": torch.randn(samples, LOCALS, channels, *[8] * dims)}


def numbers(tensor):
    return tensor.detach().double().numpy()


def normed(x, module):
    """Batch norm of (B, C, ...) in training."""
    axes = (0, *range(2, x.ndim))
    shape = (1, -1, *[1] * (x.ndim - 2))
    scaled = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + module.eps)
    return scaled * numbers(module.weight).reshape(shape) + numbers(module.bias).reshape(shape)


def convolved(x, module):
    """A convolution of 3 × 3 (× 3) or of one voxel, padded with zeros."""
    weight, bias = numbers(module.weight), numbers(module.bias)
    edge, dims = weight.shape[-1], x.ndim - 2
    padded = np.pad(x, [(0, 0), (0, 0), *[(edge // 2, edge // 2)] * dims])
    out = np.zeros((len(x), len(weight), *x.shape[2:])) + bias.reshape(1, -1, *[1] * dims)
    for place in itertools.product(range(edge), repeat=dims):
        window = tuple(slice(start, start + length) for start, length in zip(place, x.shape[2:], strict=True))
        out += np.einsum("bc...,oc->bo...", padded[(..., *window)], weight[(..., *place)])
    return out


def enlarged(x, factor):
    """Linear interpolation between the centres of voxels."""
    for axis in range(2, x.ndim):
        edge = x.shape[axis]
        places = np.clip((np.arange(edge * factor) + 0.5) / factor - 0.5, 0, edge - 1)
        x = np.apply_along_axis(lambda line, at=places: np.interp(at, np.arange(len(line)), line), axis, x)
    return x


def restored_by_hand(features, layers, kind, factor):
    if kind == "code":
        squashed = 1 / (1 + np.exp(-normed(convolved(features, layers[0]), layers[1])))
        return enlarged(squashed, factor)
    inner = np.maximum(normed(convolved(features, layers[0]), layers[1]), 0)
    return enlarged(convolved(inner, layers[3]), factor)


def said_by_hand(features, comparer):
    def affine(x, layer):
        return x @ numbers(layer.weight).T + numbers(layer.bias)

    first, norm, _, last = comparer.predictor
    p = normed(features.mean(tuple(range(2, features.ndim))), comparer.norm)
    return affine(np.maximum(normed(affine(p, first), norm), 0), last), p


def compared_by_hand(one, other):
    def cosine(a, b):
        return (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))

    return -(cosine(one[0], other[1]).mean() + cosine(other[0], one[1]).mean()) / 2


@pytest.mark.parametrize("name", ["networks.nsunet", "methods.pcrlv2.contrastive", "methods.pcrlv2.method"])
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"train.{name}"))
    assert (result.failed, result.attempted) == (0, 1)


def test_the_whole_has_the_published_size():
    whole = Pyramid(NsUNet(1, 1), 1)
    count = sum(parameter.numel() for parameter in whole.parameters())
    assert sum(parameter.numel() for parameter in whole.restorers.parameters()) == 12_105
    assert count == 17_111_434


@pytest.mark.parametrize(("channels", "dims"), [(1, 3), (2, 3), (2, 2)])
@pytest.mark.parametrize("head", ["code", "paper"])
@pytest.mark.parametrize("levels", [(0, 1, 2, 2, 0), (1, 0, 0, 1, 1), (2, 2, 1, 0, 2)], ids=str)
def test_every_term_by_hand(levels, head, channels, dims):
    """Computed by hand from the pyramids, which are PyTorch convolutions."""
    made, sample = model(channels, head, dims), batch(channels, dims=dims)
    terms = made(**sample, levels=levels)
    assert list(terms) == TERMS

    unet, here = made.unet, levels[0]
    first, second = (unet.pyramid(sample["view"][:, view]) for view in (0, 1))
    parts = unet.pyramid(sample["local"].flatten(0, 1))
    clean = numbers(sample["target"][:, 0])
    restored = 1 / (1 + np.exp(-convolved(numbers(first[-1]), unet.output)))
    of_level = restored_by_hand(numbers(first[here]), made.restorers[here], head, 2 ** (2 - here))
    one, two, local = (
        [said_by_hand(numbers(level), comparer) for level, comparer in zip(pyramid, made.comparers, strict=True)]
        for pyramid in (first, second, parts)
    )
    of_locals = 0.0
    for view, pair in enumerate(zip(levels[1::2], levels[2::2], strict=True)):
        for whole, level in zip((one, two), pair, strict=True):
            # Samples come before their local views: every second row is of one view.
            of_locals += compared_by_hand(whole[level], [array[view::LOCALS] for array in local[level]])
    wanted = [
        np.square(restored - clean).mean(),
        compared_by_hand(one[here], two[here]),
        np.square(of_level - clean).mean(),
        of_locals / (2 * LOCALS),
    ]
    np.testing.assert_allclose([term.item() for term in terms.values()], wanted, rtol=1e-4, atol=1e-5)


def test_view_2_is_not_restored():
    made, sample = model(), batch()
    before = made(**sample, levels=(0, 1, 2, 2, 0))
    sample["target"][:, 1] += 1
    assert before == made(**sample, levels=(0, 1, 2, 2, 0))


@pytest.mark.parametrize(
    ("levels", "wanted"), [((0, 0, 0, 0, 0), (3, 1, 1)), ((1, 0, 0, 2, 0), (3, 2, 3)), ((0, 0, 2, 0, 1), (3, 3, 3))]
)
def test_the_decoder_goes_no_deeper_than_is_asked_for(levels, wanted):
    made, sample = model(), batch()
    calls = []
    for level in made.unet.up:
        level.register_forward_hook(lambda _, inputs, output: calls.append(tuple(inputs[0].shape)))
    restored = []
    for head in (*made.restorers, made.unet.output):
        head.register_forward_hook(lambda _, inputs, output: restored.append(len(output)))
    made(**sample, levels=levels)
    samples = [shape[0] for shape in calls]
    assert samples == [3] * (wanted[0] + wanted[1]) + [3 * LOCALS] * wanted[2]
    assert restored == [3, 3]


def test_gradients_reach_all_that_was_asked_for_and_nothing_else():
    made, sample = model(), batch()
    sum(made(**sample, levels=(1, 0, 1, 1, 0)).values()).backward()
    idle = {name for name, parameter in made.named_parameters() if parameter.grad is None}
    heads = {f"{kind}.{level}" for kind, level in (("comparers", 2), ("restorers", 0), ("restorers", 2))}
    assert {".".join(name.split(".")[:2]) for name in idle} == heads


def test_refuses_another_number_of_levels():
    with pytest.raises(ValueError, match="levels: expected 1 . 2 × 2 levels for 2 local views, got 3"):
        model()(**batch(), levels=(0, 1, 2))


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_enlarging_is_trilinear_interpolation(factor):
    volumes = torch.randn(2, 3, 4, 5, 6, requires_grad=True)
    same = volumes.detach().clone().requires_grad_()
    wanted = F.interpolate(same, scale_factor=factor, mode="trilinear")
    torch.testing.assert_close(upsample(volumes, factor), wanted)
    noise = torch.randn_like(wanted)
    (upsample(volumes, factor) * noise).sum().backward()
    (wanted * noise).sum().backward()
    torch.testing.assert_close(volumes.grad, same.grad)


@pytest.mark.parametrize("steps", [1, 2, 241])
def test_the_weight_of_a_level_fades_over_the_run(steps):
    """With 241 steps, beta equals that of the public code over 241 epochs."""
    weights = [fading(step, steps) for step in range(1, steps + 1)]
    wanted = [0.5 * (1 + np.cos(np.pi * epoch / 240)) for epoch in range(241)] if steps == 241 else [1.0, 0.0][:steps]
    np.testing.assert_allclose(weights, wanted, atol=1e-12)


def state_of(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("dims", [2, 3])
def test_measuring_changes_nothing_and_takes_the_batch_as_in_training(dims):
    made, sample = model(dims=dims), batch(dims=dims)
    before = state_of(made)
    found = evaluate_views(made, [sample], 3, torch.device("cpu"))
    assert made.training
    after = made.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    restored = numbers(made.unet(sample["view"][:, 0]).sigmoid())
    target = numbers(sample["target"][:, 0])
    left = np.square(restored - target).sum()
    mean = target.mean(tuple(range(2, target.ndim)), keepdims=True)
    assert found.r2 == pytest.approx(1 - left / np.square(target - mean).sum(), abs=1e-6)
    fitted = 0.0
    for view, wanted in zip(numbers(sample["view"][:, 0]), target, strict=True):
        line = np.polyfit(view.ravel(), wanted.ravel(), 1)
        fitted += np.square(np.polyval(line, view) - wanted).sum()
    assert found.restoration_gain == pytest.approx(1 - left / fitted, abs=1e-6)
    assert {name: array.shape for name, array in found.slices.items()} == dict.fromkeys(found.slices, (3, 16, 8))


def test_contrast_and_brightness_alone_gain_nothing():
    view = torch.randn(2, 3, 4, 5, 6)
    target = 0.1 * torch.arange(6).reshape(2, 3, 1, 1, 1) * view + 0.5
    torch.testing.assert_close(linear_fit(view, target), target.double())
    constant = linear_fit(torch.ones(2, 3, 4, 5, 6), target)
    torch.testing.assert_close(constant, target.double().mean((2, 3, 4), keepdim=True).expand(target.shape))


def test_whole_batches_are_measured_until_there_are_enough():
    made, taken = model(), []

    def batches():
        for number in range(9):
            taken.append(number)
            yield batch()

    evaluate_views(made, batches(), 4, torch.device("cpu"))
    assert taken == [0, 1]


def test_a_collapse_shows():
    made, sample = Pyramid(NsUNet(1, 1, filters=4), 1), batch(samples=8)
    assert min(evaluate_views(made, [sample], 8, torch.device("cpu")).collapse_metric) > 0.5
    for comparer in made.comparers:
        torch.nn.init.zeros_(comparer.norm.weight)
    assert max(evaluate_views(made, [sample], 8, torch.device("cpu")).collapse_metric) < 1e-6


def test_constant_targets_have_no_gain():
    sample = batch()
    sample["target"][:] = 0.5
    found = evaluate_views(model(), [sample], 3, torch.device("cpu"))
    assert (found.restoration_gain, found.r2) == (None, None)


STEPS = 16
SMALL = {
    "crop": (16, 16, 16),
    "sizes": ((16, 16, 16), (16, 20, 20)),
    "local_crop": (8, 8, 8),
    "local_sizes": ((8, 8, 8), (8, 12, 12)),
    "locals": LOCALS,
    "iterations": 6,
    "patch": (2, 4),
    "batch_size": 3,
    "filters": 2,
    "evaluate_samples": 4,
    "device": "cpu",
    "threads": 2,
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return finetuning.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def config(data, tmp_path):
    """Settings of a run with a few steps."""
    return Pcrlv2Config(data=(data / "images",), split=data / "splits.json", out=tmp_path / "run", steps=4, **SMALL)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The folder of an uninterrupted run to compare with."""
    out, often = tmp_path_factory.mktemp("runs") / "whole", {"log_every": 1, "evaluate_every": 8}
    where = {"data": (data / "images",), "split": data / "splits.json", "out": out}
    pretrain.main(Pcrlv2Config(**where, steps=STEPS, lr=0.1, **often, **SMALL))
    return out


def test_terms_are_logged_one_by_one_and_make_up_the_loss(whole):
    lines = [line for line in metrics(whole) if "loss" in line]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    for line in lines:
        beta = fading(line["step"], STEPS)
        total = sum(line[term] * (beta if term == "restoration_of_level" else 1) for term in TERMS)
        assert line["loss"] == pytest.approx(total, abs=1e-6)
    assert lines[0]["lr"] == 0.1 > 10 * lines[-1]["lr"] > 0


def test_its_curves_are_drawn(whole, tmp_path):
    draw_views({"measurements": metrics(whole)}, tmp_path / "curves.png")
    picture = matplotlib.image.imread(tmp_path / "curves.png")
    assert picture.shape[:2] == (330, 1210)
    # Three panels, each with a line in matplotlib's first colour.
    blue = np.abs(picture[..., :3] - np.array([0x1F, 0x77, 0xB4]) / 255).max(-1) < 0.05
    assert all(third.any() for third in np.array_split(blue, 3, axis=1))


def test_the_spread_that_is_reported_is_the_least_of_all_levels(whole):
    measured = [line for line in metrics(whole) if "collapse_metric" in line]
    assert [line["step"] for line in measured] == [0, 8, STEPS]
    assert all(
        line["collapse_metric"] == min(line[f"collapse_metric_level_{level}"] for level in range(3))
        for line in measured
    )


def test_the_checkpoint_has_the_heads_beside_the_unet(whole):
    kept = torch.load(whole / "checkpoint.pt", weights_only=True)["network"]
    assert {name.split(".")[0] for name in kept} == {"unet", "comparers", "restorers"}


def test_measuring_more_often_trains_the_same(config):
    weights = []
    for number, every in enumerate((100, 1)):
        one = replace(config, out=config.out / str(number), evaluate_every=every)
        pretrain.main(one)
        weights.append((one.out / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_losses_draw_levels_from_seed_and_step(config, monkeypatch):
    method, asked = Pcrlv2(config, 1), []
    forward = method.module.forward
    monkeypatch.setattr(method.module, "forward", lambda *rest: asked.append(rest[-1]) or forward(*rest))
    for step in (1, 2, 4):
        losses = method.losses(batch(), step)
        total = sum(losses[name] * (fading(step, 4) if name == "restoration_of_level" else 1) for name in TERMS)
        assert list(losses) == ["loss", *TERMS]
        assert losses["loss"].item() == pytest.approx(total.item(), abs=1e-6)
    assert asked == [draw_levels(0, step, 1 + 2 * LOCALS, 3) for step in (1, 2, 4)]


def test_the_contrastive_losses_are_weighted(config):
    plain, lighter = (Pcrlv2(replace(config, comparison_weight=weight), 1) for weight in (1.0, 0.25))
    lighter.module.load_state_dict(plain.module.state_dict())
    one, other = (method.losses(batch(), step=1) for method in (plain, lighter))
    assert [one[name] for name in TERMS] == [other[name] for name in TERMS]
    compared = one["contrastive"] + one["contrastive_local"]
    assert other["loss"].item() == pytest.approx((one["loss"] - 0.75 * compared).item(), abs=1e-6)


def test_sgd_as_published(config):
    method = Pcrlv2(config, 1)
    optimizer = build_optimizer(method.module, **config.optimizer_options)
    assert isinstance(optimizer, torch.optim.SGD)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"], group["nesterov"]) == (1e-3, 0.9, 1e-4, False)
    assert len(group["params"]) == len(list(method.module.parameters()))


def test_defaults_are_the_published_ones(tmp_path):
    config = Pcrlv2Config(data=(tmp_path,), out=tmp_path / "run")
    assert (config.lr, config.weight_decay, config.warmup, config.clip) == (1e-3, 1e-4, 0.0, 0.0)
    assert (config.batch_size, config.epochs, config.epoch_samples) == (32, 240, 16)
    assert config.comparison_weight == 1
    assert (config.crop, config.iterations, config.patch) == ((32, 64, 64), 100, (4, 4, 8))
    # 623 scans, 16 pairs of each: 9,968 pairs an epoch.
    assert config.with_steps(623).steps == 240 * 9968 // 32


def test_epochs_become_steps_when_the_cases_are_known(config, capsys):
    config = replace(config, steps=None, epochs=1.0, epoch_samples=4)
    report = pretrain.main(config)
    cases = len(json.loads((config.out / "index.json").read_text())["cases"]) - 1
    assert report["steps"] == -(-4 * cases // 3)
    before = (config.out / "report.json").stat().st_mtime_ns
    assert pretrain.main(replace(config, resume=True)) == report
    assert "give more --steps" in capsys.readouterr().out
    assert (config.out / "report.json").stat().st_mtime_ns == before
    assert pretrain.main(replace(config, resume=True, epochs=2.0))["steps"] == -(-8 * cases // 3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch_size": 1}, "--batch-size: expected at least 2"),
        ({"network": "dynunet"}, "network: expected nsunet"),
        ({"normalize": "zscore"}, "normalize: expected percentile or a window, with targets of 0...1"),
        ({"crop": (16, 16, 20)}, "multiples of 8 for nsunet, got 20 along W"),
        ({"local_crop": (8, 8, 12)}, "--local-crop: expected multiples of 8, got 8 8 12"),
        ({"epochs": 0.0}, "epochs: expected a number above 0"),
        ({"clip": -1.0}, "clip: expected"),
        ({"comparison_weight": -1.0}, "--comparison-weight: expected a number of at least 0"),
        ({"dims": 2}, "crop: expected one voxel along D with --dims 2, as 1 16 16"),
        ({"dims": 2, "crop": (1, 16, 16)}, "sizes: expected 1 along D"),
        ({"cutout": (3, 17)}, r"cutout: expected an edge of at most that of a view, \(16, 16, 16\), got 17"),
        ({"brightness": 0.4}, "standardize: expected a mean and a standard deviation with brightness"),
        ({"standardize": (0.4, 0.2)}, "--restoration-head: expected paper with a mean and a standard deviation"),
        ({"area": (0.3, 1.0), "local_area": (0.1, 0.3)}, "shape: expected 1 along D with area"),
    ],
    ids=str,
)
def test_refuses_settings_that_make_no_sense(config, change, says):
    with pytest.raises(ValueError, match=says):
        replace(config, **change)


@pytest.mark.parametrize("option", ["--pretext", "--plans", "--configuration", "--slices", "--every", "--empty-slices"])
def test_the_command_line_knows_the_settings_of_its_recipe_alone(data, tmp_path, capsys, option):
    for recipe in ("pcrlv2", "restoration"):
        with pytest.raises(SystemExit) as ended:
            pretrain.command_line(["--recipe", recipe, "--help"])
        assert ended.value.code == 0
        assert (option in capsys.readouterr().out.split()) == (recipe == "restoration")
    with pytest.raises(SystemExit) as ended:
        pretrain.command_line(["--recipe", "pcrlv2", "--data", str(data), "--out", str(tmp_path / "run"), option, "D"])
    assert ended.value.code == 2
    assert f"Unrecognized options: {option}" in capsys.readouterr().err


def test_the_head_of_the_paper_trains_too(config):
    assert pretrain.main(replace(config, restoration_head="paper", steps=2))["steps"] == 2


FLAT = {
    "dims": 2,
    "crop": (1, 16, 24),
    "sizes": ((1, 16, 16), (1, 16, 20)),
    "local_crop": (1, 8, 8),
    "local_sizes": ((1, 8, 8), (1, 8, 12)),
    "patch": (1, 2, 4),
}


def test_views_of_slices_train_a_network_of_images(config, data, tmp_path):
    flat = replace(config, **FLAT)
    report = pretrain.main(flat)
    assert report["steps"] == 4
    assert np.isfinite([report[name] for name in ("restoration_gain", "collapse_metric")]).all()
    weights = load_file(flat.out / "model.safetensors")
    assert weights["down.0.0.conv.weight"].shape == (1, 1, 3, 3)
    resumed = pretrain.main(replace(flat, resume=True, steps=5))
    assert resumed["steps"] == 5
    settings = finetuning.segment(
        data, tmp_path / "seg", init=str(flat.out), network="nsunet-skips", dims=2, crop=(1, 16, 16)
    )
    run = finetuning.prepared(settings)
    encoder = load_file(flat.out / "encoder.safetensors")
    state = run.network.module.state_dict()
    assert set(run.fit.transferred) == set(encoder)
    assert all(torch.equal(state[name], tensor) for name, tensor in encoder.items())


def test_radiographs_train_with_the_transforms_of_the_public_2d_code(config, capsys):
    boxes = {name: Pcrlv2Config.__dataclass_fields__[name].default for name in ("sizes", "local_sizes")}
    small = {"network": "nsunet", "crop": (1, 16, 24), "local_crop": (1, 8, 8), "cutout": (3, 5)}
    settings = {**PRESETS["pcrlv2-2d"].settings, "preset": "pcrlv2-2d", "batch_size": 3, "steps": 2}
    flat = replace(config, **settings | boxes | small)
    report = pretrain.main(flat)
    assert np.isfinite([report[name] for name in ("restoration_gain", "r2", "collapse_metric")]).all()
    lines = capsys.readouterr().out.splitlines()
    assert "cutout     3 holes a view, edges of 5 voxels" in lines
    assert not any(line.startswith("swaps") for line in lines)
    assert sum(line.startswith("differs") for line in lines) == len(PRESETS["pcrlv2-2d"].differs)
    assert json.loads((flat.out / "config.json").read_text())["config"]["standardize"] == [0.449, 0.226]


def test_the_restored_view_of_standardized_targets_is_linear():
    one = model(head="paper", dims=2)
    other = Pyramid(one.unet, 1, "paper", linear=True)
    pyramid = one.unet.pyramid(batch(dims=2)["view"][:, 0])
    torch.testing.assert_close(one.restored(pyramid), other.restored(pyramid).sigmoid())
    assert other.restored(pyramid).min() < 0


def test_two_channels_go_through(data, tmp_path, config):
    for case in sorted((data / "images").iterdir())[:4]:
        folder = tmp_path / "two" / case.name.split(".")[0]
        folder.mkdir(parents=True)
        for name in ("a", "b"):
            (folder / f"{name}.nii.gz").write_bytes(case.read_bytes())
    both = replace(config, data=(tmp_path / "two",), split=None, pattern=("{case}/{channel}.nii.gz",), steps=2)
    assert pretrain.main(both)["steps"] == 2
    assert load_file(both.out / "model.safetensors")["output.weight"].shape[0] == 2


@pytest.mark.parametrize("network", ["nsunet", "nsunet-skips"])
def test_segmentation_takes_the_encoder_over(whole, data, tmp_path, network):
    settings = finetuning.segment(data, tmp_path / "seg", init=str(whole), network=network, normalize="zscore")
    run = finetuning.prepared(settings)
    encoder = load_file(whole / "encoder.safetensors")
    state = run.network.module.state_dict()
    assert set(run.fit.transferred) == set(encoder)
    assert all(torch.equal(state[name], tensor) for name, tensor in encoder.items())
    fresh = load_file(whole / "model.safetensors")["up.0.enlarge.weight"]
    assert not torch.equal(state["up.0.enlarge.weight"], fresh)
    report = finetune.main(replace(settings, resume=True))
    assert 0 <= report["dice"] <= 1
    done = predict(PredictConfig(run=settings.out, data=(data / "images",), out=tmp_path / "masks", device="cpu"))
    assert done["cases"] == 8


def test_the_decoder_without_skips_can_be_taken_over_and_does_not_fit_one_with(whole, data, tmp_path):
    both = {"init": str(whole), "transfer": "encoder+decoder"}
    run = finetuning.prepared(finetuning.segment(data, tmp_path / "a", network="nsunet", **both))
    assert set(run.fit.transferred) == set(run.network.tensors) - {"output.weight", "output.bias"}
    with pytest.raises(ValueError, match=r"up\.0\.convolve.*expected"):
        finetuning.prepared(finetuning.segment(data, tmp_path / "b", network="nsunet-skips", **both))


def test_another_network_is_refused(whole, data, tmp_path):
    with pytest.raises(ValueError, match="expected a dynunet, .* has a nsunet"):
        finetuning.prepared(finetuning.segment(data, tmp_path / "run", network="dynunet", init=str(whole)))


@pytest.mark.parametrize("task", ["classify", "localize"])
def test_tasks_of_whole_volumes_take_the_encoder_over(whole, data, tmp_path, task):
    settings = getattr(finetuning, task)(data, tmp_path / "run", network="nsunet", init=str(whole))
    run = finetuning.prepared(settings)
    encoder = load_file(whole / "encoder.safetensors")
    state = run.module.features.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in encoder.items())
    assert finetune.main(replace(settings, resume=True))["steps"] == 2
