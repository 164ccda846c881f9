"""Write small folders of the layouts of published data sets."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from train.recipes.brats2018.prepare import CHANNELS
from train.recipes.fetal_planes.prepare import PLANES

TRAIN, TEST = range(1, 9), range(9, 12)
"""Patients of fetal planes."""

_HEADER = "Image_name;Patient_num;Plane;Brain_plane;Operator;US_Machine;Train \n"


def write_brats(folder: Path, high: int = 6, low: int = 4) -> Path:
    """Write cases with the three labels; the first high-grade patient has two scans."""
    random = np.random.default_rng(0)
    cases = [("HGG", f"Brats18_TCIA01_{number}_1") for number in range(100, 100 + high)]
    cases += [("HGG", "Brats18_TCIA01_100_2"), *(("LGG", f"Brats18_2013_{number}_1") for number in range(low))]
    for grade, case in cases:
        (folder / grade / case).mkdir(parents=True)
        labels = np.zeros((20, 22, 18), np.uint8)
        for value, edge in ((2, 4), (1, 6), (4, 7)):
            labels[edge:-edge, edge:-edge, edge:-edge] = value
        for kind in (*CHANNELS, "seg"):
            image = labels if kind == "seg" else (random.normal(90, 5, labels.shape) + 20 * labels).astype(np.int16)
            save(image, folder / grade / case / f"{case}_{kind}.nii.gz")
    return folder


def save(image: np.ndarray, path: Path, shift: float = 0.0) -> None:
    """Write a volume; `shift` moves it along the first axis, in mm."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[0, 3] = shift
    nib.save(nib.Nifti1Image(image, affine), path)


def write_fetal_planes(folder: Path) -> Path:
    """Write two images a patient, of different sizes and planes, the third of them in colour."""
    (folder / "Images").mkdir(parents=True)
    rows, random = _HEADER, np.random.default_rng(0)
    for patient in (*TRAIN, *TEST):
        for number in (0, 1):
            name = f"Patient{patient:05}_Plane{number + 1}_1_of_2"
            pixels = random.integers(0, 255, (60 + patient, 70 + number), dtype=np.uint8)
            image = Image.fromarray(pixels)
            image = image.convert("RGB") if (patient, number) == (2, 0) else image
            image.save(folder / "Images" / f"{name}.png")
            plane = PLANES[(2 * patient + number) % 6]
            rows += f"{name};{patient};{plane};Not A Brain;Op. 1;Voluson E6;{int(patient in TRAIN)} \n"
    (folder / "FETAL_PLANES_DB_data.csv").write_text(rows)
    return folder
