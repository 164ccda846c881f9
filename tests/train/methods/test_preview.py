"""The picture of a pre-training run: a row for each kind of slice, with errors in the target's range."""

from pathlib import Path

import numpy as np
from PIL import Image

from train.methods.preview import draw_restored


def test_errors_are_brightest_at_half_of_the_targets_range(tmp_path: Path) -> None:
    target = np.zeros((2, 96, 100), np.float32)
    target[:, 0] = 4
    restored = target.copy()
    restored[1] += 2
    draw_restored({"restored": restored, "target": target}, tmp_path / "preview.png", "upper")
    picture = np.asarray(Image.open(tmp_path / "preview.png"))
    assert picture.shape == (3 * 96, 2 * 100, 3)
    assert picture[96 + 50, [50, 150]].tolist() == [[0, 0, 0]] * 2
    assert picture[50, [50, 150]].tolist() == [[0, 0, 0], [128, 128, 128]]
    dark, bright = picture[2 * 96 + 50, [50, 150]].sum(-1)
    assert dark < 10 < 500 < bright
