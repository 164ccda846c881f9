"""Test the `pip install` lines of READMEs and messages, and the wheel with its requirements only."""

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from tests.helpers.environments import build, link_required, make_environment
from tests.helpers.volumes import write_nifti
from tests.package.test_packaging import PROJECT, ROOT

DOCUMENTS = ["README.md", "*/README.md", "constraints.txt"]
CODE = ["dali_cr/**/*.py", "train/**/*.py", "benchmarks/**/*.py"]
TAKES_A_VALUE = {"-c", "--constraint", "-r", "--requirement", "--extra-index-url", "--index-url", "-i"}


def targets_of_commands(text: str) -> Iterator[str]:
    """Yield the requirements and paths of each `pip install` line of a document."""
    for command in re.findall(r"\bpip install +(.+)", text):
        words = iter(shlex.split(command, comments=True))
        for word in words:
            if word in TAKES_A_VALUE:
                next(words)
            elif not word.startswith("-"):
                yield word


def targets_of_messages(text: str) -> Iterator[str]:
    """Yield the first requirement or path after each `pip install` in a message, and other quoted ones."""
    yield from re.findall(r"""\bpip install +["']?((?!-)[^"'\s`{]+)["' ]""", text)
    yield from re.findall(r"""["']((?:dali-cr|\.)\[[^"'{]+\])["']""", text)


def check(target: str) -> None:
    """Check that pip accepts a target, and that its extras exist in this project."""
    local = re.fullmatch(r"\.(\[.*\])?", target)
    wanted = Requirement(f"{PROJECT['name']}{local[1] or ''}" if local else target)
    if wanted.url is not None and not re.match(r"[a-z+]+://", wanted.url):
        raise InvalidRequirement(f"{target}: pip wants a URL after the @, got {wanted.url}")
    if canonicalize_name(wanted.name) == PROJECT["name"]:
        assert local, f"{target}: it is on no index, expected the path of a checkout"
        assert wanted.extras <= set(PROJECT["optional-dependencies"]), target


def found(patterns: list[str], targets: Callable[[str], Iterator[str]]) -> set[tuple[str, str]]:
    """Return files with their install targets."""
    paths = [path for pattern in patterns for path in ROOT.glob(pattern)]
    return {(path.relative_to(ROOT).as_posix(), target) for path in paths for target in targets(path.read_text())}


def test_every_install_line_can_be_installed() -> None:
    lines = found(DOCUMENTS, targets_of_commands)
    assert {("README.md", ".[cu13,train]"), ("benchmarks/README.md", ".[cu12,train,bench]")} <= lines
    messages = found(DOCUMENTS + CODE, targets_of_messages)
    assert {".[cu12]", ".[cu13]", ".[train]", "."} <= {target for _, target in messages}
    for _, target in sorted(lines | messages):
        check(target)


@pytest.mark.parametrize("line", ['"dali-cr[cu13] @ ."', '".[cu99]"', "'dali-cr[train]'", '".[cu13 train]"'])
def test_wrong_install_lines_are_noticed(line: str) -> None:
    (target,) = targets_of_commands(f"pip install {line}      # a remark")
    with pytest.raises((InvalidRequirement, AssertionError)):
        check(target)


@pytest.fixture(scope="module")
def empty_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment with only the wheel and its requirements."""
    folder = tmp_path_factory.mktemp("environment")
    required = link_required(PROJECT["dependencies"], folder / "required")
    return make_environment(folder / "env", build(ROOT, "wheel", folder / "wheel"), visible=required)


def test_the_wheel_alone_imports_scans_and_swaps(empty_environment: Path, tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(0, 300, (9, 8, 7))
    for i in range(2):
        write_nifti(tmp_path / "data" / f"{i}.nii.gz", numbers)
    program = """
import sys, numpy, dali_cr
assert dali_cr.__file__.startswith(sys.prefix), dali_cr.__file__
index = dali_cr.scan("data", progress=False)
assert len(index) == 2 and not index.problems, index.problems
image, swaps = numpy.arange(8).reshape(1, 1, 8), [[[0, 0, 0], [0, 0, 5], [1, 1, 3]]]
assert (dali_cr.unswap_patches(dali_cr.swap_patches(image, swaps), swaps) == image).all()
for module in ("torch", "matplotlib", "nvidia", "pytest"):
    try:
        __import__(module)
    except ImportError:
        continue
    raise AssertionError(f"{module} is there")
"""
    done = subprocess.run([empty_environment, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    command = [empty_environment, "-m", "dali_cr", "scan", "data"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2" in done.stdout
