"""Test PNG and JPEG: the pixels that Pillow decodes, one voxel thick; errors for unsupported and damaged files."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

import dali_cr
from dali_cr.pipeline import graph as graphs
from dali_cr.read.gpu_cache import Arena
from dali_cr.volume import reader
from tests.helpers.png import png
from tests.helpers.recipes import content, finished, outputs_of, raw
from tests.helpers.volumes import DATA

RECIPE = dali_cr.Restoration(crop=(1, 24, 40), swap=dali_cr.Swap(8, (2, 6)), flips=("H", "W"), foreground=0.5)


def pixels(seed: int = 0, shape: tuple[int, ...] = (30, 44), top: int = 256) -> np.ndarray:
    """Return a smooth image with noise and a background."""
    rng = np.random.default_rng(seed)
    y, x = (np.linspace(-1, 1, n) for n in shape[:2])
    waves = 0.5 + 0.3 * np.sin(3 * y)[:, None] * np.cos(5 * x) + rng.normal(0, 0.04, shape[:2])
    picture = np.where(y[:, None] ** 2 + x**2 < 0.9, np.clip(waves, 0.05, 1), 0)
    if len(shape) == 3:
        picture = picture[:, :, None] * np.linspace(0.5, 1, shape[2])
    return (picture * (top - 1)).astype(np.uint8 if top <= 256 else np.uint16)


def write(path: Path, array: np.ndarray, mode: str | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    (picture if mode is None else picture.convert(mode)).save(path, **options)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dali_cr.Index:
    """Return grey images of several shapes, types and orientations."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(4):
        write(folder / f"{i}.png", pixels(i, (30 + i, 44 - 3 * i)))
        write(folder / f"deep{i}.png", pixels(i, (22 + i, 50), top=60000))
        exif = Image.Exif()
        exif[0x0112] = 2 * i + 1
        write(folder / f"{i}.jpg", pixels(i, (41, 33 + i)), quality=95, exif=exif)
    return dali_cr.scan(folder, ["*.png", "*.jpg"], progress=False)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> dali_cr.Index:
    folder = tmp_path_factory.mktemp("colours")
    for i in range(5):
        write(folder / f"{i}.{'jpeg' if i % 2 else 'png'}", pixels(i, (30 + i, 44 - i, 3)))
    return dali_cr.scan(folder, ["**/*.png", "**/*.jpeg"], progress=False)


@pytest.mark.parametrize("name", ["pictures", "colours"])
def test_pixels_are_as_displayed(name: str, request: pytest.FixtureRequest) -> None:
    index = request.getfixturevalue(name)
    assert not index.problems
    for case in index.cases:
        with Image.open(index.root / case.name) as picture:
            shown = np.asarray(ImageOps.exif_transpose(picture))
        planes = shown.reshape(*shown.shape[:2], -1).transpose(2, 0, 1)[:, None]
        assert case.shape == planes.shape[1:]
        assert len(case.volumes) == len(planes)
        read = dali_cr.read_volume(index.root / case.name)
        np.testing.assert_array_equal(read, planes.astype(np.float32), strict=True)
        for volume, plane in zip(case.volumes, planes, strict=True):
            assert (volume.dtype, volume.orientation, volume.spacing) == (str(plane.dtype), "XYZ", (1.0, 1.0, 1.0))
            assert (volume.statistics.minimum, volume.statistics.maximum) == (plane.min(), plane.max())
            np.testing.assert_array_equal(volume.occupied[1], (plane[0] != 0).any(1))
            np.testing.assert_array_equal(volume.occupied[2], (plane[0] != 0).any(0))


@pytest.mark.parametrize("turned", range(1, 9))
def test_every_orientation_of_a_jpeg(tmp_path: Path, turned: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turned
    path = write(tmp_path / "p.jpg", pixels(1, (21, 34)), exif=exif)
    with Image.open(path) as picture:
        shown = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(dali_cr.read_volume(path)[0, 0], shown.astype(np.float32))
    assert dali_cr.scan(tmp_path, "*.jpg", progress=False).cases[0].shape == (1, *shown.shape)


@pytest.mark.parametrize("name", ["pictures", "colours"])
@pytest.mark.parametrize("crop", [(1, 24, 40), (1, 9, 60)], ids=str)
def test_raw_and_finished_samples_agree(name: str, crop: tuple[int, int, int], request: pytest.FixtureRequest) -> None:
    index, recipe = request.getfixturevalue(name), replace(RECIPE, crop=crop)
    ours, theirs = (kind(index, recipe, 2, 5) for kind in (finished, raw))
    for k in range(5):
        assert content(ours, k) == content(theirs, k)
        _, target, numbers = ours.batch(k).values()
        for i, plan in enumerate(ours.planner.plan(numbers)):
            volume = index.cases[plan.case].volumes[-1]
            values = dali_cr.read_volume(index.root / plan.path)[-1, 0]
            scaled = np.clip((values - volume.statistics.mean) / volume.statistics.deviation, -5, 5)
            row, column = plan.origin[1] + 60, plan.origin[2] + 60
            cut = np.pad(scaled, 60)[row : row + crop[1], column : column + crop[2]]
            by_hand = cut[tuple(slice(None, None, -1 if f else 1) for f in plan.flips[1:])]
            np.testing.assert_allclose(target[i, -1, 0], by_hand, atol=2e-6)
    ours.close()
    theirs.close()


@pytest.mark.parametrize("name", ["pictures", "colours"])
@pytest.mark.parametrize("arena", [False, True], ids=["boxes", "arena"])
def test_the_kernels_agree(cuda_on_cpu: Any, name: str, arena: bool, request: pytest.FixtureRequest) -> None:
    index = request.getfixturevalue(name)
    source = raw(index, RECIPE, 3, 4, arena=Arena(1e6, index) if arena else None)
    wanted = outputs_of(dali_cr.restoration_pipeline(index, RECIPE, 4, "cpu", 3), 8)
    assert outputs_of(graphs.build_pipeline(source, "cpu", prefetch=1), 8) == wanted
    assert not source.arena or source.arena.hits > 0
    source.close()


def test_the_stream_is_the_same_from_caches(pictures: dali_cr.Index, tmp_path: Path) -> None:
    def stream(steps: int, **options: Any) -> tuple[dict[int, bytes], dict]:
        with dali_cr.Loader(pictures, RECIPE, device="cpu", seed=1, dims=2, **options) as loader:
            got = {}
            for _, batch in zip(range(steps), loader.stream(), strict=False):
                for i, number in enumerate(batch["sample"].tolist()):
                    assert batch["target"].shape[1:] == (1, 24, 40)
                    got[number] = batch["target"][i].numpy().tobytes() + batch["input"][i].numpy().tobytes()
            return got, loader.cache_report()

    plain, _ = stream(48, batch_size=1, threads=1)
    for level in (f"disk:{tmp_path}", "host:1GB"):
        kept, report = stream(12, batch_size=4, threads=3, cache=level)
        assert kept == plain
        (counted,) = report.values()
        assert counted["bytes"] == sum(v.geometry.data_bytes for case in pictures.cases for v in case.volumes)
        assert counted["hits"] > counted["misses"] > 0


def test_the_default_pattern_ignores_images(tmp_path: Path) -> None:
    write(tmp_path / "p.png", pixels())
    with pytest.raises(FileNotFoundError, match=r"got 1 .png; for images give a pattern"):
        dali_cr.scan(tmp_path, progress=False)
    assert len(dali_cr.scan(tmp_path, "**/*.png", progress=False)) == 1


def test_masks_are_excluded(tmp_path: Path) -> None:
    for i in range(3):
        picture = pixels(i)
        write(tmp_path / "images" / f"{i}.png", picture)
        write(tmp_path / "masks" / f"{i}.png", (picture > 0).astype(np.uint8) * 255)
        Image.fromarray(picture > 0).save(tmp_path / "images" / f"{i}_Annotation.png")  # 1 bit
    index = dali_cr.scan(tmp_path, "**/*.png", progress=False)
    assert [case.name for case in index.cases] == [f"images/{i}.png" for i in range(3)]
    assert {p.reason.split(":")[0] for p in index.problems} == {"looks like a label"}
    one_bit = dali_cr.read_volume(tmp_path / "images" / "0_Annotation.png")
    np.testing.assert_array_equal(one_bit[0, 0], (pixels(0) > 0) * 255.0)


def test_opaque_alpha_is_dropped(tmp_path: Path) -> None:
    for mode, channels in (("LA", 1), ("RGBA", 3)):
        path = write(tmp_path / "p.png", pixels(), mode)
        assert dali_cr.read_volume(path).shape == (channels, 1, 30, 44)
        np.testing.assert_array_equal(dali_cr.read_volume(path)[0, 0], pixels())


def see_through(path: Path) -> None:
    picture = Image.fromarray(pixels()).convert("RGBA")
    picture.putpixel((3, 4), (1, 2, 3, 254))
    picture.save(path)


def animation(path: Path) -> None:
    frames = [Image.fromarray(pixels(i)) for i in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


REFUSED = {
    "p.png": [
        ("transparent pixels", see_through),
        ("transparent colour", lambda p: write(p, pixels(), transparency=7)),
        ("a palette", lambda p: write(p, pixels(), "P")),
        ("animated", animation),
        ("16 bits per channel", lambda p: p.write_bytes(png(4, 4, 16, 2, (b"\0" + bytes(range(24))) * 4))),
        ("16 bits per channel", lambda p: p.write_bytes(png(4, 4, 16, 4, (b"\0" + bytes(range(16))) * 4))),
        ("expected PNG, as its suffix says, got JPEG", lambda p: write(p, pixels(), format="JPEG")),
        ("expected PNG, as its suffix says, got another format", lambda p: p.write_bytes(b"BM not a picture")),
        ("empty file", lambda p: p.touch()),
        ("PNG that cannot be read|damaged PNG", lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n")),
        ("constant: every finite voxel is 7", lambda p: write(p, np.full((9, 9), 7, np.uint8))),
        ("more than .* packed bytes can hold", lambda p: p.write_bytes(png(100_000, 100_000, 8, 0, b"\0" * 99))),
        ("damaged PNG|PNG that cannot be read", lambda p: p.write_bytes(png(0, 5, 8, 0, b"\0" * 9))),
        ("damaged PNG|PNG that cannot be read", lambda p: p.write_bytes(png(40, 50, 8, 0, b"\0" * 99))),
    ],
    "p.jpg": [
        ("CMYK", lambda p: write(p, pixels(), "CMYK")),
        ("expected JPEG, as its suffix says, got PNG", lambda p: write(p, pixels(), format="PNG")),
        ("JPEG that cannot be read", lambda p: p.write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))),
    ],
}


@pytest.mark.parametrize(
    ("name", "reason", "make"),
    [(name, reason, make) for name, kinds in REFUSED.items() for reason, make in kinds],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refuses_by_name(tmp_path: Path, name: str, reason: str, make: Any) -> None:
    make(tmp_path / name)
    index = dali_cr.scan(tmp_path, "*", progress=False)
    assert not index.cases
    assert [problem.path for problem in index.problems] == [name]
    assert re.search(reason, index.problems[0].reason), index.problems[0].reason


def test_a_bomb_is_refused_before_memory_is_allocated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test zeros compressed 1000 : 1, whose header is right; a machine without enough memory refuses them."""
    path = tmp_path / "p.png"
    path.write_bytes(png(8000, 8000, 8, 0, bytes(8001 * 8000)))
    pages = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(reader.os, "sysconf", pages.__getitem__)
    with pytest.raises(dali_cr.VolumeError, match="declares 64000000 bytes, this machine has 4096000 bytes of memory"):
        reader.read_whole(path, 64_000_000)


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_truncated(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"p.{kind}", pixels())
    content = path.read_bytes()
    for keep in (*range(9, len(content) - 16, 41), len(content) - 14):
        path.write_bytes(content[:keep])
        (problem,) = dali_cr.scan(tmp_path, "*", progress=False).problems
        assert "PNG" in problem.reason or "JPEG" in problem.reason


def test_flipped_bits_of_a_png_are_found(tmp_path: Path) -> None:
    """Test flipped bits anywhere, because each chunk has a checksum; bytes after the end of the image are not read."""
    path = write(tmp_path / "p.png", pixels())
    content = path.read_bytes()
    for place in range(0, len(content) - 12, 17):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        index = dali_cr.scan(tmp_path, "*", progress=False)
        assert len(index.problems) == 1, place


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_noise_in_a_file_is_refused_or_read(tmp_path: Path, kind: str) -> None:
    """Check that any bytes result in an image or a VolumeError."""
    rng = np.random.default_rng(0)
    path = write(tmp_path / f"p.{kind}", pixels())
    content = path.read_bytes()
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 6)):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(dali_cr.VolumeError):
            assert dali_cr.read_volume(path).dtype == np.float32


def test_a_long_preamble(tmp_path: Path) -> None:
    """Test a JPEG with long metadata before the image."""
    buffer = io.BytesIO()
    Image.fromarray(pixels()).save(buffer, "JPEG", icc_profile=bytes(200_000))
    (tmp_path / "p.jpg").write_bytes(buffer.getvalue())
    assert dali_cr.scan(tmp_path, "*.jpg", progress=False).cases[0].shape == (1, 30, 44)


def test_changed_since_the_scan(pictures: dali_cr.Index, tmp_path: Path) -> None:
    volume = pictures.cases[0].volumes[0]
    (tmp_path / volume.path).write_bytes((pictures.root / volume.path).read_bytes())
    source = finished(replace(pictures, root=tmp_path, cases=pictures.cases[:1]), RECIPE, 0, 1)
    with pytest.raises(dali_cr.VolumeError, match="changed since the scan"):
        source.batch(0)
    source.close()
    with pytest.raises(dali_cr.VolumeError, match="changed since its header was read: 9999999 bytes then"):
        reader.read_data(pictures.root / volume.path, 9_999_999)


@pytest.mark.parametrize("name", ["p.png", "deep.png", "rgb.png", "alpha.png", "p.jpg"])
def test_a_part_is_the_beginning_of_the_whole(tmp_path: Path, name: str) -> None:
    picture = pixels(2, (30, 44, 3) if name == "rgb.png" else (30, 44), 60000 if name == "deep.png" else 256)
    path = write(tmp_path / name, picture, "LA" if name == "alpha.png" else None)
    size = reader.read_header(path)[0].data_bytes
    whole = reader.read_whole(path, size)[0].tobytes()
    for stop in range(1, size + 1, 97):
        part = reader.read_data(path, stop).tobytes()
        assert stop <= len(part) <= size
        assert part == whole[: len(part)]
    assert (len(reader.read_data(path, size // 2)) == size // 2) == (name in ("p.png", "deep.png", "alpha.png"))


def test_interlaced(tmp_path: Path) -> None:
    """Test an image in seven passes, where no row is complete before the last pass."""
    picture, rows = pixels(2, (21, 18)), b""
    steps = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    for y, x, down, right in steps:
        rows += b"".join(b"\0" + row.tobytes() for row in picture[y::down, x::right])
    (tmp_path / "p.png").write_bytes(png(18, 21, 8, 0, rows, interlace=1))
    np.testing.assert_array_equal(dali_cr.read_volume(tmp_path / "p.png")[0, 0], picture)
    np.testing.assert_array_equal(reader.read_data(tmp_path / "p.png", 50)[:50], picture.ravel()[:50])


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bits_are_spread(tmp_path: Path, depth: int) -> None:
    numbers = np.random.default_rng(depth).integers(0, 2**depth, (11, 13))
    bits = numbers[:, :, None] >> np.arange(depth)[::-1] & 1
    rows = b"".join(b"\0" + np.packbits(row.ravel()).tobytes() for row in bits)
    (tmp_path / "p.png").write_bytes(png(13, 11, depth, 0, rows))
    spread = numbers * (255 // (2**depth - 1))
    np.testing.assert_array_equal(dali_cr.read_volume(tmp_path / "p.png")[0, 0], spread)
    np.testing.assert_array_equal(reader.read_data(tmp_path / "p.png", 50)[:50], spread.ravel()[:50])


def test_several_files_a_case(tmp_path: Path) -> None:
    for case in "ab":
        for i, channel in enumerate(("flow", "grey")):
            write(tmp_path / case / f"{channel}.png", pixels(i))
    index = dali_cr.scan(tmp_path, "{case}/{channel}.png", progress=False)
    assert (index.channels, index.channel_names) == (2, ("flow", "grey"))


@pytest.mark.skipif(not (DATA / "hc18_fetal_head").is_dir(), reason="needs the fetal heads")
def test_real_ultrasound_and_its_masks() -> None:
    index = dali_cr.scan(DATA / "hc18_fetal_head", "**/*.png", progress=False)
    assert {case.name.split("/")[0] for case in index.cases} == {"images", "originals"}
    aside = {problem.path: problem.reason for problem in index.problems}
    assert {path.split("/")[0] for path in aside if not path.endswith("_Annotation.png")} == {"masks"}
    assert all(reason.startswith("looks like a label") for reason in aside.values())


@pytest.mark.skipif(not (DATA / "mednist_subset").is_dir(), reason="needs MedNIST")
def test_real_jpegs() -> None:
    index = dali_cr.scan(DATA / "mednist_subset", "Hand/*.jpeg", progress=False)
    assert len(index) + len(index.problems) == 300
    assert {case.shape for case in index.cases} == {(1, 64, 64)}
    assert all(problem.reason.startswith("constant") for problem in index.problems)
