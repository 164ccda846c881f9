"""A pre-training run of several data sets, declared in a file."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import dali_cr
from dali_cr.tools.phantom_files import write_phantoms
from train import pretrain, splits
from train.data.split.make import load_split
from train.methods.corpus import read_corpus
from train.networks.weights import read_weights
from train.pretrain import RestorationConfig
from train.run.checkpoint import load_checkpoint
from train.start.resumed import settings_of
from train.tasks.config.segment import Segment
from train.tasks.transfer import Init

pytestmark = pytest.mark.usefixtures("one_thread")

CORPUS = """
[datasets.brains]
path = "a/images"
weight = 3
modality = "MR"
licence = "CC-BY-4.0"

[datasets.cts]
path = ["b/pretrain_data.json"]
weight = 1
normalize = ["window", 0, 400]
spacing = [2, 1, 1]
modality = "CT"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_phantoms(folder / "a", count=4, shape=(20, 24, 22), seed=1)
    write_phantoms(folder / "b", count=3, shape=(20, 24, 22), seed=2)
    names = sorted(path.name for path in (folder / "b" / "images").iterdir())
    images = [
        {
            "name": name,
            "modality": "",
            "image_path": f"images/{name}",
            "associated_masks": {"anonymization_mask": f"labels/{name}", "anatomy_mask": None},
        }
        for name in names
    ]
    subjects = {"p": {"sessions": {"s": {"images": images}}}}
    (folder / "b" / "pretrain_data.json").write_text(json.dumps({"datasets": {"ds": {"subjects": subjects}}}))
    (folder / "corpus.toml").write_text(CORPUS)
    return folder


def settings(folder: Path, **changes: Any) -> RestorationConfig:
    small: dict[str, Any] = {"crop": (16, 16, 16), "patch": (2, 4), "iterations": 4, "filters": 2}
    small |= {"steps": 2, "batch_size": 2, "evaluate_samples": 1, "device": "cpu", "checkpoint_every": 1}
    small |= {"out": folder / "run", "corpus": folder / "corpus.toml"}
    return RestorationConfig(**(small | changes))


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    pretrain.main(settings(folder))
    return folder / "run"


def test_a_run_keeps_what_its_data_sets_are(run: Path) -> None:
    content = json.loads((run / "config.json").read_text())["corpus"]
    assert content["cts"]["normalize"] == ["window", 0, 400]
    assert content["brains"]["path"] == [str(run.parent / "a" / "images")]
    about = read_weights(run / "encoder.safetensors")[1]
    assert about["recipe"]["normalize"] == {"brains": "zscore", "cts": ["window", 0, 400]}
    assert about["recipe"]["spacing"] == {"brains": None, "cts": [2, 1, 1]}
    brains = {"name": "brains", "cases": 4, "modalities": {"MR": 4}, "licences": {"CC-BY-4.0": 4}}
    assert about["datasets"][0] == brains
    checkpoint = load_checkpoint(run / "checkpoint.pt")
    assert checkpoint["datasets"][1]["licences"] == {"not stated": 3}
    assert checkpoint["loader"]["weights"] == {"brains": 3.0, "cts": 1.0}


def test_anonymised_voxels_are_left_out(run: Path) -> None:
    index = dali_cr.Index.load(run / "index.json")
    assert [case.mask is not None for case in index] == [False] * 4 + [True] * 3
    assert index[4].name.startswith("cts/ds/p/s/")


def test_a_run_is_resumed_with_its_data_sets(run: Path, folder: Path) -> None:
    earlier = json.loads((run / "config.json").read_text())
    again = replace(settings_of(RestorationConfig, earlier, run), resume=True, steps=3)
    assert again.corpus == folder / "corpus.toml"
    resumed = pretrain.prepare(again, earlier)
    lines = list(pretrain.introduce(resumed))
    resumed.loader.close()
    assert resumed.state is not None
    how = f"dali-cr splits --corpus {folder / 'corpus.toml'}"
    assert f"split      none, so there are no test cases; make a split with {how} and give it as --split" in lines
    brains = "brains: 4 cases; MR; CC-BY-4.0; weight 3, 75 % of the samples; normalize zscore; spacing of the files"
    assert f"data set   {brains}" in lines
    cts = "cts: 3 cases; CT; weight 1, 25 % of the samples; normalize window 0 400"
    assert any(line.startswith(f"data set   {cts}") for line in lines)
    (folder / "other.toml").write_text(CORPUS.replace("weight = 3", "weight = 2"))
    with pytest.raises(ValueError, match=r"resume: expected weight 3 for brains, as before, got 2"):
        pretrain.prepare(replace(again, corpus=folder / "other.toml"), earlier)


def test_a_split_of_a_corpus_keeps_equal_names_apart(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus, out = folder / "alike.toml", folder / "splits.json"
    corpus.write_text('[datasets.a]\npath = "a/images"\n[datasets.b]\npath = "b/images"\n')
    assert splits.command_line(["--corpus", str(corpus), "-o", str(out)]) == 0
    assert "7 subjects, 7 cases" in capsys.readouterr().out
    train = load_split(out).train
    run = pretrain.prepare(settings(folder, corpus=corpus, split=out, out=folder / "part"))
    run.loader.close()
    assert {case.name.removesuffix(".nii.gz") for case in run.index} == train
    with pytest.raises(SystemExit):
        splits.command_line(["--corpus", str(corpus), str(folder / "a"), "-o", str(folder / "other.json")])


def test_fine_tuning_follows_one_data_set(tmp_path: Path) -> None:
    about = {
        "recipe": {
            "normalize": {"brains": "zscore", "cts": ["window", 0, 400]},
            "spacing": {"brains": None, "cts": [2, 1, 1]},
        },
        "datasets": [{"name": "brains"}, {"name": "cts"}],
    }
    init = Init(tmp_path, {}, {**about, "crop": (16, 16, 16)}, ())
    config = Segment(data=(tmp_path,), labels=tmp_path, out=tmp_path / "out", init=str(tmp_path))
    view = replace(config, like="cts").view(init)
    assert (view.normalize, view.spacing) == (("window", 0, 400), (2, 1, 1))
    assert replace(config, like="brains").view(init).spacing is None
    typed = replace(config, normalize="percentile", spacing="own").view(init)
    assert (typed.normalize, typed.spacing) == ("percentile", None)
    with pytest.raises(ValueError, match="normalize: expected --like with one of the data sets brains, cts"):
        config.view(init)
    with pytest.raises(ValueError, match="like: expected one of the data sets brains, cts, got ct"):
        replace(config, like="ct").view(init)
    with pytest.raises(ValueError, match="like: expected an --init run of several data sets, got cts"):
        replace(config, init="random", like="cts").view(None)


def test_equal_values_are_one(tmp_path: Path) -> None:
    tables = {"a": {"path": "x"}, "b": {"index": "y.json", "spacing": "own"}}
    (tmp_path / "corpus.json").write_text(json.dumps({"datasets": tables}))
    corpus = read_corpus(tmp_path / "corpus.json")
    assert corpus.weights is None
    assert (corpus.values("normalize", "zscore"), corpus.values("spacing", None)) == ("zscore", None)
    assert corpus.values("spacing", (1, 1, 1)) == {"a": (1, 1, 1), "b": None}
    assert corpus.datasets["b"].index == tmp_path / "y.json"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected one table .* got none"),
        ("[a]\npath = 'x'", r"expected one table \[datasets.NAME\] .* got a"),
        ("[datasets.a]\n", "a in .*: expected path or index, got neither"),
        ("[datasets.a]\npath = 'x'\nweigth = 1", "expected the keys path, .*, got 'weigth'"),
        ("[datasets.a]\npath = 'x'\nweight = 1\n[datasets.b]\npath = 'y'", "b in .* has none"),
        ("[datasets.a]\npath = 'x'\nweight = '2'", "a in .*: weight: expected a finite number of at least 0, got '2'"),
        ("[datasets.a]\npath = 'x'\nweight = 0", "expected a weight above 0"),
        ("[datasets.a]\npath = 'x'\nnormalize = 'z'", "a in .*: normalize: expected zscore"),
        ("[datasets.a]\npath = 3", "a in .*"),
        ("[datasets.'a/b']\npath = 'x'", "without '/'"),
        ("datasets = ", "cannot be read"),
    ],
)
def test_what_is_no_corpus(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "corpus.toml").write_text(text)
    with pytest.raises(ValueError, match=f"corpus: .*{message}"):
        read_corpus(tmp_path / "corpus.toml")


def test_what_does_not_go_with_a_corpus(folder: Path) -> None:
    with pytest.raises(ValueError, match="corpus: expected no --pattern with --corpus, got both"):
        settings(folder, pattern=("*.nii",))
    (folder / "views.toml").write_text(CORPUS.replace('["window", 0, 400]', '"zscore"'))
    with pytest.raises(ValueError, match="expected percentile or a window"):
        pretrain.SETTINGS["pcrlv2"](corpus=folder / "views.toml", out=folder / "v")
