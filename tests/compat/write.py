"""Write index, loader states and runs of this release, for the tests of later releases.

``python -m tests.compat.write`` creates a folder named after the version; an existing folder is an error, because such
folders never change. Run it in a clean checkout of the released commit. Volumes are not saved: `write_volumes` creates
them again.

=================  ==================================================================================================
``index.json``     an index
``loaders.json``   for each recipe a loader's state, and the hash of the samples that come next
``NAME/``          a run: checkpoint, weights, settings
``runs.json``      for each run its command, and hashes of what a resumed one begins with
=================  ==================================================================================================
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import tyro

import dali_cr
from tests.helpers.frozen import SINGLE, digest, frozen_index, write_frozen
from train import finetune, pretrain
from train.networks.weights import read_weights
from train.tasks.config.segment import Segment

FILES = {name: SINGLE[name] for name in ("a.nii", "b.nii", "c.nii", "e.nii")}
LABELS = {name: replace(file, dtype="|u1", slope=1.0, intercept=0.0, classes=3) for name, file in FILES.items()}

RECIPES: dict[str, dali_cr.Restoration | dali_cr.Views] = {
    "restoration": dali_cr.Restoration(crop=(12, 14, 16), swap=dali_cr.Swap(iterations=9, patch=(2, 5))),
    "views": dali_cr.Views(
        shape=(8, 16, 16),
        sizes=((12, 18, 16), (8, 16, 16)),
        local_shape=(8, 8, 8),
        local_sizes=((4, 6, 6), (8, 8, 8)),
        locals=2,
        swap=dali_cr.Swap(iterations=5, patch=(2, 2, 4)),
        normalize="percentile",
    ),
}
SEED, DONE, NEXT = 3, 2, 2
"""Numbers of batches of 3: delivered before the state, and hashed after it."""

_COMMON = "--data {data}/images --index {data}/index.json --out {out} --device cpu --threads 1 --log-every 1 "
COMMANDS = {
    "restoration": _COMMON + "--crop 8 16 16 --iterations 6 --patch 2 4 --batch-size 2 --filters 1 --steps 2 "
    "--held-out 0.25 --evaluate-samples 2",
    "pcrlv2": "--recipe pcrlv2 "
    + _COMMON
    + "--dims 2 --crop 1 16 16 --sizes 1 16 16 1 12 14 --local-crop 1 8 8 --local-sizes 1 8 8 1 6 6 --locals 2 "
    "--iterations 6 --patch 1 2 4 --batch-size 2 --filters 2 --steps 2 --held-out 0.25 --evaluate-samples 2",
    "segment": "segment "
    + _COMMON
    + "--labels {data}/labels --crop 8 16 16 --batch-size 2 --filters 1 --steps 2 --fractions 0.5 0.25 0.25",
}
"""Arguments of `train.pretrain` or `train.finetune` for small runs."""
_KEPT = ("checkpoint.pt", "config.json", "encoder.safetensors", "index.json", "metrics.jsonl", "model.safetensors")


def write_volumes(folder: Path) -> None:
    """Write images and labels, with the modification times in the index."""
    write_frozen(folder / "images", FILES)
    write_frozen(folder / "labels", LABELS)


def words_of(command: str, data: Path, out: Path, *more: str) -> list[str]:
    """Return settings as command-line arguments."""
    return [*command.format(data=data, out=out).split(), *more]


def run_command(words: Sequence[str]) -> int:
    """Run a command; return its exit code."""
    return (finetune if words[0] == "segment" else pretrain).command_line(words)


def prepare(words: Sequence[str]) -> Any:
    """Return the run of a command before its next step."""
    if words[0] == "segment":
        config = tyro.cli(Segment, args=words[1:], config=(tyro.conf.FlagCreatePairsOff,))
        return finetune.prepare(config, json.loads((config.out / "config.json").read_text()))
    return pretrain.begin(pretrain.read_settings(words))[0]


def describe(run: Any) -> dict[str, Any]:
    """Return steps done and the hashes of weights, optimiser state and next batch of a resumed run."""
    module, batches = (run.method.module, run.loader) if hasattr(run, "method") else (run.module, run.batches)
    with getattr(batches, "loader", batches):
        batch = next(batches.stream())
    optimizer = run.state["optimizer"]["state"]
    return {
        "step": run.state["step"],
        "weights": hash_tensors(module.state_dict()),
        "optimizer": hash_tensors(
            {f"{n} {name}": value for n, own in optimizer.items() for name, value in own.items()}
        ),
        "batch": digest(*(tensor.numpy() for name, tensor in batch.items() if name != "case")),
    }


def hash_tensors(tensors: dict[str, Any]) -> str:
    """Return the hash of named tensors; other values are skipped."""
    found = {name: value for name, value in tensors.items() if isinstance(value, torch.Tensor)}
    return digest(*(part for name in sorted(found) for part in (list(name.encode()), found[name].numpy())))


def hash_files(folder: Path) -> dict[str, str]:
    """Return the hash of each file of weights."""
    return {path.name: hash_tensors(read_weights(path)[0]) for path in sorted(folder.glob("*.safetensors"))}


def keep(run: Path, target: Path) -> None:
    """Copy the files of a run, with compressed checkpoints."""
    target.mkdir(parents=True)
    for path in map(run.joinpath, _KEPT):
        if path.suffix == ".pt":
            (target / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
        elif path.exists():
            shutil.copy(path, target)


def take_out(kept: Path, run: Path) -> None:
    """Restore a run from its saved files."""
    run.mkdir()
    for path in kept.iterdir():
        if path.suffix == ".gz":
            (run / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        else:
            shutil.copy(path, run)


def open_loader(index: dali_cr.Index, recipe: dali_cr.Restoration | dali_cr.Views) -> dali_cr.Loader:
    return dali_cr.Loader(index, recipe, batch_size=3, device="cpu", seed=SEED, threads=1, rank=0, world_size=1)


def hash_next(loader: dali_cr.Loader) -> str:
    """Return the hash of the next batches."""
    batches = (batch for _, batch in zip(range(NEXT), loader.stream(), strict=False))
    return digest(*(tensor.numpy() for batch in batches for name, tensor in batch.items() if name != "case"))


def write_loaders(index: dali_cr.Index) -> dict[str, Any]:
    """Return a state for each recipe, and the hash of the batches after it."""
    found = {}
    for name, recipe in RECIPES.items():
        with open_loader(index, recipe) as loader:
            batches = loader.stream()
            for _ in range(DONE):
                next(batches)
            found[name] = {"state": loader.state_dict(), "next": hash_next(loader)}
    return found


def main() -> int:
    """Write the folder of this version; return the exit code."""
    target = Path(__file__).with_name(dali_cr.__version__)
    if target.exists():
        print(f"{target} is there, and what was released is not changed", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        index = frozen_index(data / "images", FILES)
        write_volumes(data)
        index.save(data / "index.json")
        runs = {}
        for name, command in COMMANDS.items():
            out = Path(temporary) / name
            assert run_command(words_of(command, data, out)) == 0
            keep(out, target / name)
            resumed = prepare(words_of(command, data, out, "--resume", "--steps", "4"))
            runs[name] = {"command": command, **describe(resumed), "files": hash_files(out)}
        (target / "index.json").write_bytes((data / "index.json").read_bytes())
        texts = {"loaders.json": write_loaders(index), "runs.json": runs}
        for file, content in texts.items():
            (target / file).write_text(json.dumps(content, indent=2) + "\n")
        for path in target.rglob("*.json"):
            path.write_text(path.read_text().replace(temporary, "/frozen"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
