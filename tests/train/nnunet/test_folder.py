"""Folder exported for nnU-Net: fields of the plan, plain values, and the model card."""

import json
import re
import shlex
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import dali_cr
from tests.helpers.finetuning import prepared, run_pretraining, segment
from tests.helpers.volumes import write_nifti
from train import export
from train.networks.build import build_network
from train.networks.weights import export_weights
from train.nnunet.citations import METHODS
from train.nnunet.folder import write_folder
from train.nnunet.plan import list_differences
from train.nnunet.run import Run

ROOT = Path(__file__).parents[3]
CROP, SPACING = (16, 16, 16), (2.0, 2.0, 2.0)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def home(data, tmp_path_factory):
    """A folder with the two runs of the page, and their exports."""
    folder = tmp_path_factory.mktemp("home")
    alike = {"crop": CROP, "spacing": SPACING, "normalize": "zscore-image"}
    run_pretraining(data, folder / "runs" / "first", **alike)
    run_pretraining(data, folder / "runs" / "resenc", **alike, network="resenc-s", pretext="mae", mask_block=(4,))
    resnet = build_network("resnet18", 1, (1, 32, 32), filters=2, dims=2)
    (folder / "runs" / "xray").mkdir()
    path = folder / "runs" / "xray" / "encoder.safetensors"
    export_weights(path, resnet.module.state_dict(), resnet.encoder, resnet.about)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in re.findall(r"^dali-cr export (nnssl .+)$", page(), re.MULTILINE):
            assert export.command_line(shlex.split(line)) == 0
    return folder


def page():
    return (ROOT / "train" / "WEIGHTS.md").read_text()


def test_a_folder_has_all_that_nnunet_reads(home):
    files = {path.name for path in (home / "first").iterdir()}
    assert files == {"README.md", "adaptation_plan.json", "checkpoint_final.pth", "config.json"}
    for name in ("first", "resenc"):
        content = torch.load(home / name / "checkpoint_final.pth", weights_only=True)
        assert all(tensor.device.type == "cpu" for tensor in content["network_weights"].values())
        plan = content["nnssl_adaptation_plan"]
        assert plan == json.loads((home / name / "adaptation_plan.json").read_text())
        assert plan.keys() == {
            *("architecture_plans", "pretrain_plan", "pretrain_num_input_channels"),
            *("recommended_downstream_patchsize", "key_to_encoder", "key_to_stem", "keys_to_in_proj", "key_to_lpe"),
        }
        architecture = {"arch_class_name", "arch_kwargs", "arch_kwargs_requiring_import"}
        assert plan["architecture_plans"].keys() == architecture
        assert (plan["recommended_downstream_patchsize"], plan["pretrain_num_input_channels"]) == ([16, 16, 16], 1)
        configuration = next(iter(plan["pretrain_plan"]["configurations"].values()))
        assert (configuration["spacing"], configuration["patch_size"]) == ([2.0, 2.0, 2.0], [16, 16, 16])
        assert configuration["normalization_schemes"] == ["ZScoreNormalization"]
        for place in plan["keys_to_in_proj"]:
            assert content["network_weights"][f"{place}.weight"].shape[1] == 1
        for entry in content["citations"]:
            assert entry.keys() == {"type", "name", "apa_citations", "bibtex_citations"}
            assert entry["apa_citations"]
        assert str(home) not in json.dumps([plan, content["about"], content["citations"]])


def test_the_released_command_takes_the_whole_network(home):
    loading = pytest.importorskip("nnunetv2.run.load_pretrained_weights", reason="needs nnU-Net v2")
    from tests.train.nnunet.test_architecture import build

    for name in ("first", "resenc"):
        content = torch.load(home / name / "checkpoint_final.pth", weights_only=True)
        theirs = build(content["nnssl_adaptation_plan"]["architecture_plans"], 1)
        loading.load_pretrained_weights(theirs, home / name / "checkpoint_final.pth")
        state = theirs.state_dict()
        assert all(torch.equal(state[one], tensor) for one, tensor in content["network_weights"].items())


def test_the_card_says_what_is_known(home):
    card = (home / "resenc" / "README.md").read_text()
    about = Run.read(home / "runs" / "resenc").about
    for text in (
        "# images: resenc-s, pre-trained by masked autoencoder",
        f"`{about['index']}`",
        f"part train of the split `{about['split']['hash']}`",
        "| normalisation | zscore-image |",
        "| spacing (D, H, W) | 2 × 2 × 2 mm |",
        "| licence of the data | not known",
        "nnUNetv2_preprocess_like_nnssl -d ID -n NAME -pc checkpoint_final.pth -am like_pretrained",
        "-p ptPlans__NAME____Spacing__2.00_2.00_2.00___Norm__Z -tr PretrainedTrainer",
        "@inproceedings{he2022masked",
        "@inproceedings{isensee2024revisited",
        "has 1 channel and can be loaded for any number of channels",
    ):
        assert text in card
    assert str(home) not in card
    other = (home / "first" / "README.md").read_text()
    assert "can be loaded for the same number of channels" in other
    assert "isensee2024revisited" not in other


def test_what_differs_is_a_warning_and_a_limit(data, home, tmp_path, capsys):
    run = run_pretraining(data, tmp_path / "run")
    (tmp_path / "dataset.json").write_text(json.dumps({"name": "Bodies", "licence": "CC-BY 4.0"}))
    config = json.loads((run / "config.json").read_text())
    config["config"]["data"], config["config"]["steps"] = [str(tmp_path / "imagesTr")], 9
    (run / "config.json").write_text(json.dumps(config))
    capsys.readouterr()
    assert export.command_line(["nnssl", str(run), str(tmp_path / "out"), "--licence", "CC0"]) == 0
    *warnings, _report = capsys.readouterr().out.splitlines()
    assert [re.sub(r"^warning +", "", line).split(",")[0] for line in warnings] == [
        "pre-trained with normalize zscore",
        "pre-trained on each file's own spacing",
        "from an unfinished run",
    ]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| licence of the data | CC-BY 4.0 |" in card
    assert "| licence of the weights | CC0 |" in card
    assert "# Bodies: dynunet" in card
    assert "Pre-trained with normalize zscore, nnU-Net's" in card
    # Nothing is said of the runs of the page, which were made for it.
    assert "nnU-Net's commands z-score every channel" in (home / "first" / "README.md").read_text()
    assert "Pre-trained with" not in (home / "first" / "README.md").read_text()


def test_a_run_by_pcrlv2_keeps_its_encoder_alone(tmp_path):
    network = build_network("resenc-s", 2, (8, 16, 16), filters=2, skips=False)
    recipe = json.loads(json.dumps(asdict(dali_cr.Views(normalize=("window", -160.0, 240.0)))))
    about = {**network.about, "recipe": recipe, "step": 3}
    run = Run(tmp_path, network.module.state_dict(), about, {"config": {"recipe": "pcrlv2", "steps": 3}}, {})
    differences = write_folder(run, tmp_path / "out")
    assert [text.split(",")[0] for text in differences] == [
        "pre-trained with normalize window -160.0 240.0",
        "pre-trained on each file's own spacing",
        "pre-trained on 2 channels",
    ]
    both = {"normalize": {"a": "zscore", "b": ["window", 0, 1]}, "spacing": {"a": [1, 1, 1], "b": None}}
    licences = [{"name": "a", "licences": {"CC0": 2, "not stated": 1}}, {"name": "b", "licences": {"CC0": 3}}]
    corpus = replace(run, about={**about, "recipe": recipe | both, "datasets": licences})
    assert list_differences(corpus)[0].startswith("pre-trained with normalize a zscore, b window 0 1, nnU-Net's")
    assert list_differences(corpus)[1].startswith("pre-trained on a spacing for each data set, ")
    assert (corpus.data_name, corpus.data_licence) == ("a, b", "CC0 (5 cases), not stated (1 case)")
    flat = replace(run, about={**about, "network": "dynunet", "crop": [1, 16, 16]})
    assert list_differences(flat)[-1].startswith("pre-trained on single slices, ")
    weights = torch.load(tmp_path / "out" / "checkpoint_final.pth", weights_only=True)["network_weights"]
    assert {name.split(".")[0] for name in weights} == {"encoder"}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "pre-trained by PCRLv2" in card
    assert "@article{zhou2023unified" in card
    assert "-pretrained_weights" not in card
    assert "can be loaded for the same number of channels" in card
    assert "| split | no split; no case was kept for testing |" in card


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nnssl runs/nothing out", "run: expected the folder of a pre-training run, runs/nothing/model.safetensors"),
        ("nnssl runs/first first", "out: expected a new or empty folder, got first with README.md"),
        ("runs/first -o x.pth", "expected a run with --plans"),
        ("pretrained-weights runs/first -o x.pth", "expected a run with --plans"),
    ],
)
def test_refusals(home, monkeypatch, capsys, line, says):
    monkeypatch.chdir(home)
    assert export.command_line(shlex.split(line)) == 2
    assert says in capsys.readouterr().err
    assert not (home / "out").exists()


def test_the_help_shows_both_forms(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        export.command_line(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "export nnssl RUN OUT, or" in said
    assert "export RUN -o FILE, which is short for" in said


def test_every_pretext_has_its_papers():
    from typing import get_args

    from train.methods.tiles.config import PretextName

    assert set(METHODS) == {*get_args(PretextName), "pcrlv2"}
    for name, (_, papers) in METHODS.items():
        assert bool(papers) == (name != "autoencode")
        for paper in papers:
            assert re.fullmatch(r"@(article|inproceedings)\{\w+,\n(.|\n)+\n\}", paper.bibtex)
            assert paper.bibtex.count("{") == paper.bibtex.count("}")


def test_the_page_runs_as_it_is(home, monkeypatch):
    monkeypatch.chdir(home)
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", page(), re.MULTILINE | re.DOTALL):
        exec(compile(block, "WEIGHTS.md", "exec"), names)
    image = torch.randn(2, 1, *CROP)
    for run, encoders in (("first", (names["encode"], names["plain"].encoder)), ("resenc", (names["resenc"].encoder,))):
        about = names["read_about"](f"runs/{run}/model.safetensors")
        ours = build_network(about["network"], 1, CROP, about["filters"], skips=about.get("skips"))
        ours.module.load_state_dict(load_file(f"runs/{run}/model.safetensors"), strict=False)
        with torch.no_grad():
            wanted = ours.features(image)
            for encode in encoders:
                torch.testing.assert_close(encode(image)[-1], wanted, rtol=1e-6, atol=1e-6)


def test_an_exported_file_is_an_init_again(data, home, tmp_path):
    for name, network in (("first", "dynunet"), ("resenc", "resenc-s")):
        file = home / name / "checkpoint_final.pth"
        config = segment(data, tmp_path / name, init=str(file), network=network)
        run = prepared(config)
        before, after = load_file(home / "runs" / name / "model.safetensors"), run.module.state_dict()
        assert set(run.fit.transferred) == set(run.network.encoder)
        assert all(torch.equal(before[one], after[one]) for one in run.network.encoder)


def test_the_median_spacing_is_that_of_a_data_set(tmp_path):
    for name, edge in (("a", 1.0), ("b", 3.0)):
        write_nifti(tmp_path / name / "x.nii", np.arange(24).reshape(2, 3, 4), spacing=(edge,) * 3)
    indexes = {name: dali_cr.scan(tmp_path / name, progress=False) for name in "ab"}
    dali_cr.Index.concat(indexes).save(tmp_path / "index.json")
    run = Run(tmp_path, {}, {"recipe": {"spacing": {"a": [2, 2, 2], "b": None}}}, {}, {})
    assert run.spacing_text == "a 2 × 2 × 2, b of each file, median 3 × 3 × 3 mm"
