"""Files that a scan accepts work in every later command, with the same values and under any name."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import dali_cr
from dali_cr.index.layout.dataset_json import Pair
from dali_cr.tools import preview
from tests.helpers.finetuning import run_pretraining, segment
from tests.helpers.volumes import write_nifti
from train import finetune, overlay, predict
from train.data.labels import by_listed_pairs, find_label_files, read_labels
from train.data.masks import write_mask
from train.data.volumes import read_case

pytestmark = pytest.mark.usefixtures("one_thread")
SHAPE = (9, 8, 7)


def at_byte_348(content: bytes) -> bytes:
    head = bytearray(content[:348])
    order = "<" if content[:4] == np.array(348, "<i4").tobytes() else ">"
    head[108:112] = np.array(348, f"{order}f4").tobytes()
    return bytes(head) + content[352:]


KINDS = {
    "plain.nii": bytes,
    "packed.nii.gz": gzip.compress,
    "plain_called.nii.gz": bytes,
    "packed_called.nii": gzip.compress,
    "at_348.nii": at_byte_348,
    "at_348_packed.nii": lambda content: gzip.compress(at_byte_348(content)),
    "two_members.nii.gz": lambda content: gzip.compress(content[:500]) + gzip.compress(content[500:]),
}


def write_kind(folder: Path, name: str, numbers: np.ndarray, **options) -> Path:
    """Write a file of one of `KINDS`."""
    folder.mkdir(parents=True, exist_ok=True)
    content = write_nifti(folder / "source.nii", numbers, **options).read_bytes()
    (folder / "source.nii").unlink()
    (folder / name).write_bytes(KINDS[name](content))
    return folder / name


@pytest.fixture(params=KINDS)
def name(request):
    return request.param


@pytest.fixture
def numbers():
    return np.random.default_rng(0).integers(0, 500, SHAPE)


def test_scan_loader_preview_and_training_read_the_same_values(tmp_path, name, numbers):
    path = write_kind(tmp_path / "data", name, numbers, orientation="PIR", slope=0.5, intercept=-3)
    index = dali_cr.scan(tmp_path / "data", progress=False)
    assert [case.name for case in index.cases] == [name]
    wanted = (numbers * 0.5 - 3).astype(np.float32).transpose(2, 1, 0)
    np.testing.assert_array_equal(dali_cr.read_volume(path)[0], wanted)
    np.testing.assert_array_equal(read_case(index.root, index.cases[0], None)[0], wanted)
    swap = dali_cr.Swap(0)
    recipe = dali_cr.Restoration(crop=wanted.shape, swap=swap, flips=(), normalize=None, foreground=0)
    for cache in ((), ("host:1MB",), (f"disk:{tmp_path / 'cache'}",)):
        with dali_cr.Loader(index, recipe, batch_size=1, device="cpu", cache=cache) as loader:
            np.testing.assert_array_equal(next(iter(loader))["target"][0, 0].numpy(), wanted)
    preview.draw_preview(index, recipe, 0, [0], tmp_path / "preview.png")
    assert (tmp_path / "preview.png").stat().st_size > 1000


def test_labels_may_be_of_any_kind(tmp_path, name, numbers):
    write_kind(tmp_path / "images", name, numbers, orientation="RAS")
    path = write_kind(tmp_path / "labels", name, numbers % 4, orientation="ILA")
    case = dali_cr.scan(tmp_path / "images", progress=False).cases[0]
    np.testing.assert_array_equal(read_labels(path, case), (numbers % 4).transpose(2, 1, 0))


def test_masks_of_every_kind_lie_on_the_image(tmp_path, name, numbers):
    """The mask of an unusual file equals that of the same data as written by nibabel."""
    labels = np.random.default_rng(1).integers(0, 256, SHAPE[::-1]).astype(np.uint8)
    masks = []
    for kind in ("plain.nii", name):
        write_kind(tmp_path / kind, kind, numbers, orientation="ASL", spacing=(0.5, 0.6, 2.0))
        index = dali_cr.scan(tmp_path / kind, progress=False)
        masks.append(nib.load(write_mask(labels, index.root, index.cases[0], tmp_path / "out" / kind)))
    for mask in masks:
        np.testing.assert_array_equal(nib.as_closest_canonical(mask).get_fdata().transpose(2, 1, 0), labels)
        np.testing.assert_array_equal(mask.affine, nib.load(tmp_path / "plain.nii" / "plain.nii").affine)
    assert masks[0].header == masks[1].header


def test_a_mask_is_read_back_as_a_label_of_its_image(tmp_path, name, numbers):
    write_kind(tmp_path / "data", name, numbers, orientation="PIR")
    index = dali_cr.scan(tmp_path / "data", progress=False)
    labels = np.random.default_rng(1).integers(0, 256, SHAPE[::-1]).astype(np.uint8)
    written = write_mask(labels, index.root, index.cases[0], tmp_path / "out")
    np.testing.assert_array_equal(read_labels(written, index.cases[0]), labels)


def test_every_training_command_takes_them(data, tmp_path):
    """From previews to masks and overlays, with images and labels of all kinds in one folder."""
    folder = tmp_path / "data"
    for place in ("images", "labels"):
        (folder / place).mkdir(parents=True)
        for number, path in enumerate(sorted((data / place).iterdir())):
            content = path.read_bytes()
            content = gzip.decompress(content) if path.suffix == ".gz" else content
            (folder / place / path.name).write_bytes(list(KINDS.values())[number % len(KINDS)](content))
    for name in ("splits.json", "names.json"):
        (folder / name).write_bytes((data / name).read_bytes())
    run_pretraining(folder, tmp_path / "pretrained")
    finetune.main(segment(folder, tmp_path / "run", init=str(tmp_path / "pretrained")))
    settings = {"data": (folder / "images",), "split": folder / "splits.json", "device": "cpu"}
    report = predict.main(predict.PredictConfig(run=tmp_path / "run", out=tmp_path / "masks", part="train", **settings))
    where = {"predictions": tmp_path / "masks", "out": tmp_path / "drawn", "labels": folder / "labels"}
    drawn = overlay.main(overlay.OverlayConfig(part="train", **where, **settings))
    masks = sorted((tmp_path / "masks").glob("*.nii.gz"))
    assert report["cases"] == drawn["pictures"] == drawn["targets"] == len(masks) == 4
    for path in masks:
        image = nib.load(data / "images" / path.name)
        np.testing.assert_array_equal(nib.load(path).affine, image.affine)
        assert nib.load(path).shape == image.shape


def test_every_training_command_takes_brick_stores(data, tmp_path):
    """With packed images and labels and a CSV file of boxes, masks equal those of the originals byte for byte."""
    dali_cr.pack(data, tmp_path / "packed", progress=False)
    for name in ("splits.json", "names.json"):
        (tmp_path / "packed" / name).write_bytes((data / name).read_bytes())
    masks, pictures = [], []
    for folder, out in ((data, tmp_path / "plain out"), (tmp_path / "packed", tmp_path / "packed out")):
        run_pretraining(folder, out / "pretrained")
        finetune.main(segment(folder, out / "run", init=str(out / "pretrained")))
        settings = {"data": (folder / "images",), "split": folder / "splits.json", "device": "cpu"}
        predict.main(predict.PredictConfig(run=out / "run", out=out / "masks", part="train", **settings))
        overlay.main(overlay.OverlayConfig(predictions=out / "masks", out=out / "drawn", part="train", **settings))
        masks.append({path.name: gzip.decompress(path.read_bytes()) for path in (out / "masks").glob("*.nii.gz")})
        pictures.append(sorted(path.name for path in (out / "drawn").glob("*.png")))
    assert len(masks[0]) == 4
    assert masks[0] == masks[1]
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("orientation", ["RAS", "PIR", "LSA"])
def test_masks_and_labels_of_a_store_are_those_of_its_original(tmp_path, numbers, orientation):
    options = {"orientation": orientation, "spacing": (0.5, 0.6, 2.0)}
    write_nifti(tmp_path / "plain" / "images" / "a.nii.gz", numbers, slope=0.5, **options)
    write_nifti(tmp_path / "plain" / "labels" / "a.nii.gz", numbers % 4, **options)
    dali_cr.pack(tmp_path / "plain", tmp_path / "packed", progress=False)
    labels = np.random.default_rng(1).integers(0, 256, SHAPE[::-1]).astype(np.uint8)
    written = []
    for name in ("plain", "packed"):
        index = dali_cr.scan(tmp_path / name / "images", progress=False)
        (files,) = (find_label_files(tmp_path / name / "labels", ("*.nii.gz",)),)
        np.testing.assert_array_equal(read_labels(files["a.nii.gz"], index.cases[0]), (numbers % 4).transpose(2, 1, 0))
        mask = write_mask(labels, index.root, index.cases[0], tmp_path / "out" / name)
        assert mask.name == "a.nii.gz"
        written.append(gzip.decompress(mask.read_bytes()))
    assert written[0] == written[1]
    index = dali_cr.scan(tmp_path / "packed" / "images", progress=False)
    pairs = [Pair((tmp_path / "packed/images/a.nii.gz",), tmp_path / "packed/labels/a.nii.gz")]
    assert list(by_listed_pairs({"other": files["a.nii.gz"]}, index, pairs)) == ["a.nii.gz"]
