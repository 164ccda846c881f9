"""Data options of a training run: stored, filled in for new data, and compared."""

from dataclasses import replace
from pathlib import Path

import pytest

import dali_cr
from train.predict import PredictConfig
from train.start.trained import Trained, check_channels, compare_channels, describe_data, fill_in


def index_of(layout: str, *names: str) -> dali_cr.Index:
    """Return an index with names of channels and a layout only."""
    volumes = tuple(range(max(1, len(names))))
    case = dali_cr.index.volumes.Case("a", volumes)  # type: ignore[arg-type] - the volumes are not looked at
    return dali_cr.Index(Path(), (case,), channel_names=names, layout=layout)


@pytest.fixture
def config(tmp_path: Path) -> PredictConfig:
    return PredictConfig(run=tmp_path / "run", data=(tmp_path,), out=tmp_path / "out")


@pytest.mark.parametrize(
    ("layout", "names", "kept"),
    [
        ("nnunet", ("T2", "ADC"), "nnunet"),
        ("bids", ("T1w", "T2w"), "bids"),
        ("nnunet", (), "auto"),
        ("files", (), "auto"),
    ],
)
def test_a_recognised_layout_of_channels_is_kept(
    config: PredictConfig, layout: str, names: tuple[str, ...], kept: str
) -> None:
    trained = describe_data(config, index_of(layout, *names))
    assert trained.options["layout"] == kept
    assert fill_in(config, trained).layout == kept
    assert fill_in(replace(config, layout="files"), trained).layout == "files"
    assert fill_in(replace(config, pattern=("*.nii",)), trained).layout == "auto"
    assert fill_in(replace(config, data=(Path("files.csv"),)), trained).layout == "auto"


def test_numbers_of_nnunet_stand_for_its_names() -> None:
    trained = Trained({"layout": "nnunet", "channels": []}, ("T2", "ADC"))
    check_channels(index_of("nnunet", "0000", "0001"), trained, 2)
    check_channels(index_of("nnunet", "T2", "ADC"), trained, 2)
    for names in (("0001", "0000"), ("ADC", "T2"), ("0000", "0002")):
        with pytest.raises(ValueError, match="expected T2, ADC, in the order of the training"):
            check_channels(index_of("nnunet", *names), trained, 2)
    for other in (Trained({"layout": "nnunet", "channels": ["ADC", "T2"]}, ("ADC", "T2")), Trained({}, ("T2", "ADC"))):
        with pytest.raises(ValueError, match="got 0000, 0001"):
            check_channels(index_of("nnunet", "0000", "0001"), other, 2)


def test_channels_of_a_pretraining_are_compared() -> None:
    trained = Trained({}, ("t1", "flair"))
    assert compare_channels(index_of("pattern", "t1", "flair"), trained) == ""
    assert compare_channels(index_of("pattern"), trained) == ""
    assert compare_channels(index_of("pattern", "t1", "flair"), Trained({})) == ""
    assert "t1, flair in the pre-training, T1w, FLAIR here" in compare_channels(
        index_of("bids", "T1w", "FLAIR"), trained
    )
    with pytest.raises(ValueError, match="t1, flair in the pre-training, flair, t1 here; give --channels"):
        compare_channels(index_of("pattern", "flair", "t1"), trained)
