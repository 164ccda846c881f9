"""Test warnings for questionable settings: mostly padded crops, windows that clip, constant volumes."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dali_cr
from dali_cr import DataWarning
from dali_cr.__main__ import main
from dali_cr.index.report import describe
from dali_cr.index.values.statistics import LEVELS
from dali_cr.pipeline.advice import _padding, warn_of_clipping, warnings_as_lines, without_constant
from dali_cr.tools import preview
from tests.helpers.finetuning import localize, segment
from tests.helpers.volumes import write_nifti
from train import finetune, pretrain

pytestmark = pytest.mark.usefixtures("one_thread")
SWAP = dali_cr.Swap(2, 2)


def write(folder: Path, shapes, low=0, high=900) -> dali_cr.Index:
    """Write noise between two values, along x, y, z, and scan it."""
    for number, shape in enumerate(shapes):
        write_nifti(folder / f"{number}.nii", np.random.default_rng(number).integers(low, high, shape))
    return dali_cr.scan(folder, progress=False)


def caught(work) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        work()
    return [str(one.message) for one in found if issubclass(one.category, DataWarning)]


@given(st.lists(st.tuples(*[st.integers(1, 30)] * 3), min_size=1, max_size=7), st.tuples(*[st.integers(1, 30)] * 3))
def test_the_share_of_padding(shapes, crop):
    larger = [any(edge > length for edge, length in zip(crop, shape, strict=True)) for shape in shapes]
    said = _padding(shapes, [crop])
    assert bool(said) == (2 * sum(larger) > len(shapes))
    if said:
        held = [np.zeros(shape)[: crop[0], : crop[1], : crop[2]].size for shape in shapes]
        share = 100 * (1 - np.mean(held) / np.prod(crop))
        assert f"exceed {sum(larger)} of {len(shapes)} volumes" in said
        assert f": {share:.3g} % of a crop is padding" in said


def test_a_loader_warns_once_of_crops_larger_than_most_volumes(tmp_path):
    index = write(tmp_path, [(36, 50, 35)] * 3 + [(70, 70, 70)])

    def build(crop, index=index, **options):
        recipe = dali_cr.Restoration(crop=crop, swap=SWAP, **options)
        return caught(lambda: dali_cr.Loader(index, recipe, batch_size=1, device="cpu").close())

    assert build((35, 50, 36)) == []
    assert build((64, 64, 64)) == [
        "crop: 64 × 64 × 64 voxels exceed 3 of 4 volumes (median 35 × 50 × 36): 57 % of a crop is padding; "
        "use a smaller crop"
    ]
    assert build((64, 64, 64), spacing=(0.5, 0.5, 0.5)) == []
    assert build((1, 64, 64), slices=dali_cr.Slices("H"))[0].startswith("crop: 1 × 64 × 64 voxels exceed 3 of 4")
    assert build((1, 35, 36), slices=dali_cr.Slices("H")) == []
    assert build((64, 64, 64), dali_cr.Index(index.root, index.cases[2:])) == []


def test_views_are_warned_of_by_the_sizes_of_their_boxes(tmp_path):
    index = write(tmp_path, [(40, 40, 20)])
    some = caught(lambda: dali_cr.restoration_pipeline(index, dali_cr.Views(), 1, "cpu"))
    assert len(some) == 1
    assert "exceed 1 of 1 volumes (median 20 × 40 × 40)" in some[0]


def test_the_warning_has_the_line_of_the_loader(tmp_path):
    index = write(tmp_path, [(6, 6, 6)])
    with pytest.warns(DataWarning) as found:
        dali_cr.Loader(index, dali_cr.Restoration(crop=(8, 8, 8), swap=SWAP), batch_size=1, device="cpu").close()
    assert found[0].filename == __file__


@pytest.mark.parametrize(("low", "high"), [(0, 900), (-1000, 1), (5, 6 + 200)])
def test_percentiles_and_clipped_share_of_noise(tmp_path, low, high):
    index = write(tmp_path, [(40, 30, 20)], low, high)
    volume = index.cases[0].volumes[0]
    values = dali_cr.read_volume(tmp_path / "0.nii")[0].ravel()
    np.testing.assert_allclose(volume.statistics.percentiles, np.percentile(values, LEVELS), rtol=1e-6)
    statistics = volume.statistics
    assert (statistics.low, statistics.high) == (statistics.percentiles[1], statistics.percentiles[-2])
    for window in ((low - 10, high + 10), (low + 50, high - 30), (low + 150, low + 160), (high + 1, high + 2)):
        wanted = np.mean((values < window[0]) | (values > window[1]))
        assert statistics.clipped(*window) == pytest.approx(wanted, abs=0.02)


@given(st.lists(st.integers(-50, 50), min_size=30, max_size=200), st.integers(-60, 60), st.integers(1, 60))
def test_clipped_share_of_few_and_repeated_values(tmp_path_factory, values, low, width):
    """Check that the share, interpolated between two percentiles, is wrong by at most their distance."""
    from dali_cr.index.values.measure import measure
    from dali_cr.volume.nifti import HEADER_BYTES, parse_header

    raw = np.array([*values, 51, 52], np.int16)
    path = write_nifti(tmp_path_factory.getbasetemp() / "few.nii", raw.reshape(-1, 1, 1))
    geometry, _ = parse_header(path, path.read_bytes()[:HEADER_BYTES])
    statistics, foreground, _ = measure(path, raw, geometry)
    inside = raw if statistics.background is None else raw[raw != statistics.background]
    wanted = np.mean((inside < low) | (inside > low + width))
    assert statistics.clipped(low, low + width) == pytest.approx(wanted, abs=0.11 + 2 / len(inside))
    assert foreground.any()


def test_a_negative_slope_turns_the_percentiles(tmp_path):
    numbers = np.random.default_rng(0).integers(0, 900, (20, 16, 12))
    write_nifti(tmp_path / "v.nii", numbers, slope=-2.0, intercept=5.0)
    statistics = dali_cr.scan(tmp_path, progress=False).cases[0].volumes[0].statistics
    np.testing.assert_allclose(statistics.percentiles, np.percentile(5.0 - 2.0 * numbers, LEVELS), rtol=1e-6, atol=1e-9)


def test_scan_prints_percentiles_and_what_a_window_clips(tmp_path, capsys):
    index = write(tmp_path, [(20, 20, 20)], -1000, 1000)
    values = dali_cr.read_volume(tmp_path / "0.nii")
    (line,) = [line for line in describe(index).splitlines() if line.startswith("foreground")]
    wanted = [f"{q:g} %: {np.percentile(values, q):.4g}" for q in (0.5, 5, 50, 95, 99.5)]
    assert line.split(maxsplit=1)[1] == ", ".join(wanted)
    assert main(["scan", str(tmp_path), "--window", "-160", "240"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("window")]
    assert line.startswith("window       -160 to 240 clips ")
    assert float(line.split()[5]) == pytest.approx(80, abs=1)
    assert main(["scan", str(tmp_path), "--window", "240", "-160"]) == 2


def test_each_channel_has_separate_percentiles(channel_index):
    lines = describe(channel_index).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("foreground"))
    assert lines[first].split(maxsplit=1)[1].startswith("a: 0.5 %: ")
    assert lines[first + 1].strip().startswith("b: 0.5 %: ")
    assert " to " in lines[first]


def test_a_window_that_clips_most_is_warned_of(tmp_path):
    index = write(tmp_path, [(20, 20, 20)] * 2, -1000, 1000)
    (said,) = caught(lambda: warn_of_clipping(index, ("window", -160.0, 240.0)))
    assert said.startswith("window: -160 to 240 clips ")
    for other in (("window", -900.0, 900.0), "zscore", "percentile", None):
        assert caught(lambda other=other: warn_of_clipping(index, other)) == []


@pytest.fixture
def with_constant(tmp_path):
    """Return a folder of two volumes of noise and one of constant foreground."""
    write(tmp_path / "data", [(20, 20, 20)] * 2)
    numbers = np.zeros((21, 20, 20))  # on another grid, else it would be detected as a label
    numbers[5:9, 5:9, 5:9] = 700
    write_nifti(tmp_path / "data" / "constant.nii", numbers)
    return tmp_path / "data"


def test_a_preview_excludes_constant_volumes(with_constant, tmp_path, capsys):
    out = tmp_path / "preview.png"
    arguments = ["preview", str(with_constant), "-o", str(out), "--crop", "16", "16", "16", "--patch", "2", "4"]
    assert main(arguments) == 0
    assert out.exists()
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == (
        "warning    1 of 3 cases excluded, because their foreground is constant and 'zscore' cannot scale it: "
        "constant.nii; for a loader, exclude them or normalize with a window"
    )
    assert printed[1:] == [str(out)]
    # A window scales any volume: none is excluded, but most of the noise is clipped.
    assert main([*arguments, "--normalize", "window", "-900", "90"]) == 0
    printed = capsys.readouterr().out
    assert "excluded" not in printed
    assert "clips" in printed
    assert main([*arguments, "--recipe", "pcrlv2", "--normalize", "percentile"]) == 0
    assert "1 of 3 cases excluded" in capsys.readouterr().out


def test_a_preview_of_constant_volumes_alone_is_refused(with_constant, tmp_path, capsys):
    for name in ("0.nii", "1.nii"):
        (with_constant / name).unlink()
    assert main(["preview", str(with_constant), "-o", str(tmp_path / "preview.png")]) == 2
    assert "its foreground is constant" in capsys.readouterr().err
    assert without_constant(dali_cr.scan(with_constant, progress=False), None).cases


def test_previews_warn_of_padding(tmp_path):
    index = write(tmp_path, [(6, 6, 6)])
    recipe = dali_cr.Restoration(crop=(8, 8, 8), swap=SWAP)
    assert len(caught(lambda: preview.draw_preview(index, recipe, 0, [0], tmp_path / "a.png"))) == 1


def test_lines_are_printed_once_and_other_warnings_are_shown_as_usual(capsys):
    def warn():
        with warnings_as_lines():
            for text in ("too large\x1b[31m", "too large\x1b[31m"):
                warnings.warn(text, DataWarning, stacklevel=1)
            warnings.warn("another", UserWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="another"):
        warn()
    assert capsys.readouterr().out == "warning    too large\\x1b[31m\n"


def test_pretraining_prints_one_line(tmp_path, capsys):
    """Check that only the training cases are reported, not the validation cases."""
    write(tmp_path / "data", [(12, 14, 10)] * 3)
    words = ["--data", tmp_path / "data", "--out", tmp_path / "run", "--crop", "16", "16", "16", "--filters", "2"]
    words += ["--steps", "2", "--batch-size", "1", "--patch", "2", "4", "--iterations", "2", "--evaluate-samples", "1"]
    assert pretrain.command_line([*map(str, words), "--device", "cpu"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert "crop: 16 × 16 × 16 voxels exceed 2 of 2 volumes (median 10 × 14 × 12): 59 % of a crop is padding" in line


@pytest.mark.parametrize(("task", "lines"), [(segment, 1), (localize, 0)])
def test_fine_tuning_prints_it_where_the_crop_may_be_smaller(data, tmp_path, monkeypatch, capsys, task, lines):
    """A task on whole volumes needs a crop as large as the largest volume."""
    monkeypatch.setattr(finetune.tyro.extras, "subcommand_cli_from_dict", lambda *_, **__: task(
        data, tmp_path / "run", crop=(32, 32, 32), steps=1
    ))  # fmt: skip
    assert finetune.command_line([]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len([line for line in printed if line.startswith("warning    crop: 32 × 32 × 32")]) == lines


def test_a_loader_warns_of_a_window_that_clips_most(tmp_path: Path) -> None:
    index = write(tmp_path, [(9, 9, 9)] * 3)

    def build(low: float, high: float) -> list[str]:
        recipe = dali_cr.Restoration((8, 8, 8), SWAP, normalize=("window", low, high))
        return caught(lambda: dali_cr.Loader(index, recipe, batch_size=1, device="cpu").close())

    assert build(0, 900) == []
    (warning,) = build(1e5, 2e5)
    assert "clips 100 % of the foreground" in warning
