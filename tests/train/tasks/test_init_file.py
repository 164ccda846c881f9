"""A file of weights as --init: location of its tensors, transferred tensors, and errors."""

import json
import shutil

import pytest
import safetensors.torch
import torch
from safetensors.torch import load_file

from tests.helpers.finetuning import CROP, prepared, run_pretraining, segment
from train.finetune import Refused, introduce, main
from train.networks.build import build_network
from train.networks.weights import read_state_dict
from train.tasks.transfer import check_fit, read_init

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(7)
    return build_network("dynunet", 1, CROP, filters=2)


def save(path, content):
    torch.save(content, path)
    return path


@pytest.mark.parametrize("key", ["", "state_dict", "network_weights", "model", "network"])
def test_tensors_are_found_at_the_top_or_under_a_key(tmp_path, network, key):
    tensors = network.module.state_dict()
    content = {"epoch": 3, key: tensors} if key else {**tensors, "epoch": 3}
    read = read_state_dict(save(tmp_path / "x.pt", content))
    assert (read.key, read.about) == (key, {})
    assert read.tensors.keys() == tensors.keys()


def test_safetensors_of_others_say_nothing(tmp_path, network):
    tensors = {name: network.module.state_dict()[name] for name in network.tensors}
    safetensors.torch.save_file(tensors, tmp_path / "x.safetensors")
    read = read_state_dict(tmp_path / "x.safetensors")
    assert (read.tensors.keys(), read.about) == (tensors.keys(), {})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"weights": {"a": torch.zeros(1)}}, "at the top or under one of state_dict, .*; got a mapping of weights"),
        ([torch.zeros(1)], "got .*list"),
        (torch.nn.Linear(1, 1), "expected a file that torch.load.weights_only=True. can read, .*; save only"),
        (b"text", "expected a file that torch.load"),
    ],
    ids=["nothing", "list", "module", "text"],
)
def test_what_is_no_state_dict_is_refused(tmp_path, content, says):
    path = tmp_path / "x.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=says):
        read_state_dict(path)
    path.with_suffix(".safetensors").write_bytes(b"text")
    with pytest.raises(ValueError, match="expected a safetensors file"):
        read_state_dict(path.with_suffix(".safetensors"))


def test_a_run_from_a_file_says_by_name_what_it_took(data, tmp_path, network):
    tensors = {f"module.{name}": network.module.state_dict()[name] for name in network.tensors}
    last = network.encoder[-1]
    odd = {"module.extra": torch.zeros(1), f"module.{last}": torch.zeros(3), "other.x": torch.zeros(1)}
    path = save(tmp_path / "theirs.pth", {"state_dict": tensors | odd})
    run = prepared(segment(data, tmp_path / "run", init=str(path), prefix="module.", normalize="zscore-image"))
    after = run.module.state_dict()
    assert set(run.fit.transferred) == set(network.encoder[:-1])
    assert all(torch.equal(after[name], tensors[f"module.{name}"]) for name in network.encoder[:-1])
    said = list(introduce(run))
    counts = f"{len(run.fit.transferred)} tensors transferred, {len(run.fit.skipped)} excluded"
    assert f"init       {path}, key state_dict, prefix module.: {counts}" in said
    assert f"transfer   {network.encoder[0]}" in said
    assert any(line.startswith(f"random     {last}: expected shape (8,), got (3,)") for line in said)
    assert "excluded   extra: the network has no such tensor" in said
    assert "excluded   output_block.conv.conv.bias: the head is always new" in said
    assert any("overlap with val and test cannot be checked" in line for line in said)
    about = json.loads((tmp_path / "run" / "config.json").read_text())["network"]
    assert about["init"].keys() == {"file", "sha256", "key", "prefix", "transfer"}
    # What the file does not say is as in a run from random weights.
    assert (run.task.view.normalize, run.task.view.spacing, run.task.view.crop) == ("zscore-image", None, CROP)


def test_too_little_of_the_encoder_is_refused_with_names_of_both_sides(data, tmp_path, network):
    prefixed = {f"net.{name}": tensor for name, tensor in network.module.state_dict().items()}
    path = save(tmp_path / "theirs.pt", prefixed)
    with pytest.raises(Refused) as refusal:
        main(segment(data, tmp_path / "run", init=str(path)))
    said = str(refusal.value)
    assert "expected at least 50% of the encoder's values" in said
    assert f"got 0%, 0 of {len(network.encoder)} tensors" in said
    assert "The network has input_block.conv1.conv.weight, input_block.norm1.weight" in said
    assert "the file has net.input_block.conv1.conv.weight, " in said
    assert said.endswith(f"--prefix net. finds {len(network.encoder)} of these names")
    with pytest.raises(Refused, match="prefix: expected a prefix of names in .*, such as net.input_block.* got 'x'"):
        main(segment(data, tmp_path / "run", init=str(path), prefix="x"))
    with pytest.raises(Refused, match=r"conv1.conv.weight: expected shape \(4, 1, 3, 3, 3\), got \(2, 1, 3, 3, 3\)"):
        main(segment(data, tmp_path / "run", init=str(path), prefix="net.", filters=4))
    with pytest.raises(ValueError, match="prefix: expected --init with a file of weights, got 'x' with random"):
        segment(data, tmp_path / "run", prefix="x")
    with pytest.raises(ValueError, match="prefix: expected --init with a file of weights, got the folder"):
        read_init(tmp_path, "x")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda tensor: tensor * float("nan"),
            "expected finite values for input_block.conv1.conv.weight in .*, got NaN",
        ),
        (lambda tensor: tensor.int(), "expected values of torch.float32 for input_block.*, got torch.int32"),
    ],
    ids=["nan", "integers"],
)
def test_values_that_cannot_be_weights_are_refused(data, tmp_path, network, change, says):
    path = save(tmp_path / "x.pt", {name: change(tensor) for name, tensor in network.module.state_dict().items()})
    with pytest.raises(Refused, match=says):
        main(segment(data, tmp_path / "run", init=str(path)))


def test_a_file_of_ours_keeps_what_it_says_and_its_cases(data, tmp_path):
    folder = run_pretraining(data, tmp_path / "run", spacing=(2, 2, 2), normalize="percentile")
    init = read_init(folder / "encoder.safetensors")
    assert (init.folder, len(init.cases)) == (folder, 4)
    view = segment(data, tmp_path / "x", init=str(init.path), crop=None).view(init)
    assert (view.crop, view.spacing, view.normalize) == (CROP, (2, 2, 2), "percentile")
    again = build_network("dynunet", 1, CROP, filters=2)
    fit = check_fit(init, again, "encoder+decoder")
    assert set(fit.transferred) == set(again.encoder)
    assert set(fit.random) == {name for name in again.tensors if name.startswith("upsamples")}
    assert load_file(folder / "encoder.safetensors").keys() == fit.transferred.keys()
    with pytest.raises(ValueError, match="init: expected the folder .*run, got its checkpoint.pt, which lists neither"):
        read_init(folder / "checkpoint.pt")
    moved = shutil.copy(folder / "encoder.safetensors", tmp_path / "encoder.safetensors")
    assert read_init(type(folder)(moved)).cases is None
