"""Every option of a training command has a help text that starts with its group."""

import dataclasses
import itertools
import re

import pytest
import tyro

from train import export, finetune, overlay, predict, pretrain, result, splits
from train.data import medmnist
from train.recipes.brats2018 import prepare as brats2018
from train.recipes.chestxray14 import prepare as chestxray14
from train.recipes.chexpert import prepare as chexpert
from train.recipes.lits import prepare as lits
from train.study import __main__ as study

GROUPS = {
    *("Data", "Labels", "Output", "Network", "Initialisation", "Sampling", "Intensities", "Augmentation", "Views"),
    *("Pretext", "Loss", "Training", "Optimiser", "Evaluation", "Hardware", "Split"),
}

SETTINGS = [
    *pretrain.SETTINGS.values(),
    *finetune.TASKS.values(),
    *export.FORMATS.values(),
    *(predict.PredictConfig, overlay.OverlayConfig, splits.SplitsConfig, result.ResultConfig, medmnist.MedmnistConfig),
    *(study.StudyConfig, *(recipe.PrepareConfig for recipe in (brats2018, chestxray14, chexpert, lits))),
]


ENTRY = re.compile(r"[ │] (\S.*?)(?: {2,}(\S.*))?")
"""An option in the help, with its text if that is on the same line."""


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_the_help_of_every_option_starts_with_its_group(settings, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit, match="0"):
        tyro.cli(settings, args=["--help"], config=(tyro.conf.FlagCreatePairsOff,))
    lines = capsys.readouterr().out.splitlines()
    shown = []
    for line, following in itertools.pairwise(lines):
        if entry := ENTRY.fullmatch(line.rstrip(" │")):
            shown.append((entry[1], entry[2] or following.strip(" │")))
    options = [(option, text) for option, text in shown if option != "-h, --help"]
    assert len(options) == sum(field.init for field in dataclasses.fields(settings))
    assert [(option, text) for option, text in options if text.partition(":")[0] not in GROUPS] == []
