"""Data in a known layout are split, trained on and predicted without a pattern."""

import json
import shutil
from pathlib import Path

import pytest

import dali_cr
from tests.helpers.finetuning import run_pretraining, segment, write_data
from train import finetune, predict, splits

PLACES = {
    "nnunet": ("imagesTr/P_{0}_0000", "imagesTr/P_{0}_0001"),
    "decathlon": ("imagesTr/P_{0}",),
    "bids": ("sub-{0}/anat/sub-{0}_FLAIR", "sub-{0}/anat/sub-{0}_T1w"),
}
CASES = {"nnunet": "P_{0}", "decathlon": "P_{0}", "bids": "sub-{0}"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("made"), count=5)


def lay_out(data: Path, folder: Path, layout: str) -> Path:
    """Copy the images of `data` to a layout, and the labels to labelsTr, by case."""
    for number, image in enumerate(sorted((data / "images").iterdir())):
        label = folder / "labels" / f"{CASES[layout].format(number)}.nii.gz"
        for path, source in [(label, data / "labels" / image.name)] + [
            (folder / "data" / f"{place.format(number)}.nii.gz", image) for place in PLACES[layout]
        ]:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, path)
    return folder


@pytest.mark.parametrize("layout", PLACES)
def test_no_pattern_is_typed(data: Path, tmp_path: Path, layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = lay_out(data, tmp_path, layout)
    images, split = folder / "data", folder / "splits.json"
    splits.main(splits.SplitsConfig(data=(images,), out=split, fractions=(0.4, 0.2, 0.4)))
    names = json.loads(split.read_text())
    everyone = {CASES[layout].format(number) for number in range(5)}
    assert {dali_cr.scan(images, progress=False).cases[n].name for n in range(5)} == everyone
    assert {name for part in ("train", "val", "test") for name in names[part]} == everyone
    run_pretraining(folder, folder / "pre", data=(images,), split=split)
    config = segment(folder, folder / "run", data=(images,), split=split, init=str(folder / "pre"), names=None, steps=1)
    finetune.main(config)
    shutil.rmtree(folder / "labels")
    done = predict.main(
        predict.PredictConfig(run=folder / "run", data=(images,), split=split, out=folder / "out", device="cpu")
    )
    assert done["cases"] == 2
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("layout ")]
    assert len(told) == 3
    assert {line.split()[1] for line in told} == {"nnunet:" if layout == "decathlon" else f"{layout}:"}


def test_a_csv_file_is_data_too(data: Path, tmp_path: Path) -> None:
    rows = [f"{path},P_{number}" for number, path in enumerate(sorted((data / "images").iterdir()))]
    table = tmp_path / "files.csv"
    table.write_text("\n".join(["path,case", *rows]))
    split = tmp_path / "splits.json"
    splits.main(splits.SplitsConfig(data=(table,), out=split, fractions=(0.4, 0.2, 0.4)))
    run_pretraining(tmp_path, tmp_path / "run", data=(table,), split=split)
    index = dali_cr.Index.load(tmp_path / "run" / "index.json")
    assert {case.name for case in index.cases} <= {f"P_{number}" for number in range(5)}
    assert index.layout == "csv"
    dali_cr.scan(table, progress=False).save(tmp_path / "index.json")
    run_pretraining(tmp_path, tmp_path / "again", data=(table,), index=tmp_path / "index.json", split=split)
