"""Test the contents of wheel and sdist, imports of the package, and requirements of the project file."""

import ast
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.helpers.environments import build

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest requires it if Python has no tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    with zipfile.ZipFile(build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))) as archive:
        yield archive


def test_wheel_holds_one_importable_name(wheel):
    names = {name.partition("/")[0] for name in wheel.namelist()}
    assert {name for name in names if not re.fullmatch(r"dali_cr-[\d.]+\.dist-info", name)} == {"dali_cr"}
    assert len(names) == 2


def test_wheel_holds_every_kernel_and_every_module_and_nothing_else(wheel):
    kernels = {f"dali_cr/_cuda/{path.name}": path for path in (ROOT / "kernels").glob("*.cu*")}
    modules = {str(path.relative_to(ROOT)): path for path in (ROOT / "dali_cr").rglob("*.py")}
    training = {f"dali_cr/{path.relative_to(ROOT)}": path for path in (ROOT / "train").rglob("*.py")}
    assert kernels
    assert training
    wanted = {**kernels, **modules, **training, "dali_cr/py.typed": ROOT / "dali_cr" / "py.typed"}
    for name, path in wanted.items():
        assert wheel.read(name) == path.read_bytes()
    readme = {"dali_cr/_cuda/README.md"}
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} - readme == set(wanted)


def test_wheel_carries_the_licence(wheel):
    licences = [name for name in wheel.namelist() if name.endswith("dist-info/licenses/LICENSE")]
    assert b"Apache License" in wheel.read(licences[0])


def test_sdist_rebuilds_the_same_wheel(wheel, tmp_path):
    with tarfile.open(build(ROOT, "sdist", tmp_path / "sdist")) as archive:
        if sys.version_info >= (3, 12):
            archive.extractall(tmp_path, filter="data")
        else:
            archive.extractall(tmp_path)
    (unpacked,) = tmp_path.glob("dali_cr-*")
    with zipfile.ZipFile(build(unpacked, "wheel", tmp_path / "again")) as again:
        assert sorted(again.namelist()) == sorted(wheel.namelist())


def test_kernels_are_found_in_a_wheel_and_in_a_checkout(wheel, tmp_path):
    wheel.extractall(tmp_path)
    code = "from dali_cr.ops.gpu import launch; print(launch.__file__); print(launch.cuda_source('swap.cu'))"
    for root in (tmp_path, ROOT):
        task = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
        module, _, text = task.stdout.partition("\n")
        assert module == str(root / "dali_cr" / "ops" / "gpu" / "launch.py"), task.stderr
        assert (ROOT / "kernels" / "swap.cu").read_text() in text


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def test_library_never_imports_what_is_not_installed():
    for path in (ROOT / "dali_cr").rglob("*.py"):
        roots = {name.partition(".")[0] for name in imports(path)}
        assert not roots & {"train", "benchmarks", "tests", "kernels"}, path


@pytest.mark.parametrize("folder", ["kernels", "train", "benchmarks", "tests"])
def test_folders_that_share_a_name_with_a_published_package_are_no_packages(folder):
    assert not (ROOT / folder / "__init__.py").exists()


def test_kernels_folder_holds_no_python():
    assert not list((ROOT / "kernels").rglob("*.py"))


def test_every_requirement_has_a_lower_bound():
    groups = {"core": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    expected = {"core", "cu12", "cu13", "train", "formats", "bench", "nnunet", "integration", "docs", "dev"}
    assert set(groups) == expected
    for group, requirements in groups.items():
        for requirement in requirements:
            assert re.fullmatch(r"[\w-]+>=[\d.]+( *;.*)?", requirement), f"{group}: {requirement}"


def test_constraints_name_every_requirement_and_allow_it():
    pinned = re.findall(r"^([\w-]+)[=>]=", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    assert {re.split("[>=;]", requirement)[0] for group in groups for requirement in group} == set(pinned)
