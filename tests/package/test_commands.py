"""Test the commands of an installed package: from a wheel, an editable checkout, and with a missing extra."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dali_cr.tools import training
from tests.helpers.environments import all_packages, build, link_required, make_environment
from tests.helpers.finetuning import write_data
from tests.helpers.prefork import start_parent
from tests.package.test_packaging import PROJECT, ROOT

README = (ROOT / "README.md").read_text()
SMALL = "--crop 16 16 16 --patch 2 4 --iterations 4 --filters 2 --steps 10 --batch-size 1 --device cpu"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "wheel", tmp_path_factory.mktemp("built") / "wheel")


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment with all requirements and the wheel."""
    return make_environment(tmp_path_factory.mktemp("wheel") / "env", wheel, visible=all_packages())


@pytest.fixture(scope="module")
def editable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment with all requirements and this checkout, installed editable."""
    return make_environment(tmp_path_factory.mktemp("editable") / "env", "-e", ROOT, visible=all_packages())


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Return a folder with labelled phantoms, and a user's `train.py` and `train/`."""
    write_data(tmp_path)
    (tmp_path / "train.py").write_text("raise SystemExit('the train.py of the working folder was imported')\n")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "pretrain.py").write_text("raise SystemExit('the other train was imported')\n")
    return tmp_path


WITHOUT_PATH = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(python: Path, words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `dali-cr` of an environment in a folder, in a new process."""
    command = [python.parent / "dali-cr", *words.split()]
    return subprocess.run(command, cwd=folder, env=WITHOUT_PATH, capture_output=True, text=True, check=False)


def fork(python: Path, words: str, folder: Path, *imported: str) -> subprocess.CompletedProcess[str]:
    """Run `dali-cr` of an environment in a fork of a process that has some imports."""
    command = [python.parent / "dali-cr", *words.split()]
    return start_parent(python, *imported).run(command, cwd=folder, env=WITHOUT_PATH)


HEAVY = ("torch._dynamo", "torch.utils.tensorboard", "monai.networks.nets", "monai.losses", "nvidia.dali.fn", "tyro")
HEAVY += ("matplotlib.figure",)
"""Requirements of the commands that take long to import; the package itself is imported by each command."""


def report(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """Return the JSON object at the end of the output."""
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_commands_of_the_readme_then_overlay(python: Path, elsewhere: Path) -> None:
    lines = re.findall(r"^dali-cr (\w+ .*?)(?: +#.*)?$", README.partition("## Commands")[2], re.MULTILINE)
    assert [line.split()[0] for line in lines] == ["scan", "splits", "pretrain", "finetune", "predict"]
    scan, splits, pretrain, finetune, predict = lines
    (elsewhere / "images").rename(elsewhere / "data")
    (elsewhere / "labels").rename(elsewhere / "masks")
    shutil.copytree(elsewhere / "data", elsewhere / "new")
    done = run(python, scan, elsewhere)
    assert done.returncode == 0, done.stderr
    assert (elsewhere / "index.json").is_file()
    (elsewhere / "splits.json").unlink()
    assert report(fork(python, splits, elsewhere, *HEAVY))["test"]
    assert report(fork(python, f"{pretrain} --evaluate-samples 1 {SMALL}", elsewhere, *HEAVY))["steps"] == 10
    settings = "--steps 2 --batch-size 2 --evaluate-cases 1 --device cpu"
    assert report(fork(python, f"{finetune} {settings}", elsewhere, *HEAVY))["steps"] == 2
    assert report(fork(python, f"{predict} --device cpu", elsewhere, *HEAVY))["cases"] == 8
    done = fork(python, "overlay predictions --data new --out pictures", elsewhere, *HEAVY)
    assert done.returncode == 0, done.stderr
    assert list((elsewhere / "pictures").iterdir())
    done = fork(python, "export runs/first --out exported", elsewhere, *HEAVY)
    assert done.returncode == 2
    assert "expected a run with --plans" in done.stderr
    done = fork(python, "result runs/first --out kept", elsewhere, *HEAVY)
    assert done.returncode == 0, done.stderr


STUDY = """
[protocol]
budgets = [1]
seeds = [1]
pretrain_seeds = [0]
transfers = ["encoder"]
steps = { converged = 1 }
rates = [1e-3]
tuning = { seed = 0, budget = 1, steps = "converged" }
resamples = 100
[data.bodies]
images = ["images"]
fractions = [0.5, 0.25, 0.25]
options = { crop = [16, 16, 16], filters = 2 }
[tasks.kinds]
kind = "classify"
data = "bodies"
labels = "classes.csv"
options = { columns = "kind", crop = [24, 24, 24], topology = [16, 16, 16] }
[inits.random]
"""


def test_a_study_starts_its_runs(python: Path, elsewhere: Path) -> None:
    (elsewhere / "tiny.toml").write_text(STUDY)
    done = fork(python, "study tiny.toml --data bodies=. --device cpu", elsewhere, *HEAVY)
    assert report(done) == {"results": str(elsewhere / "tiny")}
    assert (elsewhere / "tiny" / "table.md").is_file()


def test_an_editable_installation_has_the_commands_of_its_checkout(editable: Path, elsewhere: Path) -> None:
    words = f"pretrain --data images --out runs/first --evaluate-samples 1 {SMALL}".split()
    done = subprocess.run([editable, "-c", HELP, *words], cwd=elsewhere, capture_output=True, text=True, check=False)
    assert report(done)["steps"] == 10


def test_every_command_has_help(python: Path, elsewhere: Path) -> None:
    done = start_parent(python, *HEAVY).run(["-c", HELP], cwd=elsewhere)
    assert done.returncode == 0, done.stderr


HELP = f"""
import contextlib, io, sys
from dali_cr.__main__ import main
for name in {list(training.COMMANDS)}:
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        try:
            main([name, "--help"])
        except SystemExit as end:
            assert not end.code, (name, end.code)
    assert f"usage: dali-cr {{name}}" in shown.getvalue(), (name, shown.getvalue()[:200])
if sys.argv[1:]:
    sys.exit(main(sys.argv[1:]))
"""
"""Prints the help of every training command, in one process, and runs the command that it is given.

No module imports a train.py of the working folder, although -c puts the folder first on the path.
"""


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment with the core requirements only."""
    folder = tmp_path_factory.mktemp("bare")
    required = link_required(PROJECT["dependencies"], folder / "required")
    return make_environment(folder / "env", wheel, visible=required)


@pytest.mark.parametrize("name", training.COMMANDS)
def test_a_missing_extra_is_named_in_one_line(bare: Path, tmp_path: Path, name: str) -> None:
    in_checkout = start_parent(bare, "numpy", "nibabel").run(["-m", f"train.{name}"], cwd=ROOT)
    for done in (fork(bare, name, tmp_path, "numpy", "nibabel"), in_checkout):
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.splitlines()
        assert "torch, nvidia.dali, tyro" in line
        assert 'pip install ".[cu13,train]"' in line
