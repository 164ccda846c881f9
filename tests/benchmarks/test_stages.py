"""Stages: each passes once per commit, all results are kept, and an interrupted run continues."""

import ast
import importlib
import json
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.measure.stages import Stage, run_stages
from tests.helpers.prefork import start_parent

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def python(text: str) -> tuple[str, ...]:
    return ("python", "-c", text)


def test_statuses_and_going_on(tmp_path: Path) -> None:
    stages = [
        Stage("good", python(f"open({str(tmp_path / 'ran')!r}, 'a').write('x'); print('it works')")),
        Stage("bad", python("raise SystemExit(3)")),
        Stage("slow", python("import time; time.sleep(60)"), 0.3),
        Stage("absent", ("no-such-program-here",)),
    ]
    found = run_stages("gpu-try", stages, tmp_path)["stages"]
    assert {name: stage["status"] for name, stage in found.items()} == {
        "good": "passed",
        "bad": "failed",
        "slow": "over time",
        "absent": "missing",
    }
    assert "it works" in found["good"]["output"]
    run_stages("gpu-try", stages[:2], tmp_path)
    assert (tmp_path / "ran").read_text() == "x"
    kept = json.loads((tmp_path / "gpu-try.json").read_text())
    assert kept["stages"]["good"]["seconds"] > 0


def test_a_group_runs_side_by_side(tmp_path: Path) -> None:
    """Two stages each wait for a file that the other one writes."""
    meet = "import sys, time, pathlib; pathlib.Path(sys.argv[1]).touch()\n"
    meet += "while not pathlib.Path(sys.argv[2]).exists(): time.sleep(0.01)"
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    stages = [
        Stage("first", ("python", "-c", meet, one, two), 60, group="both"),
        Stage("second", ("python", "-c", meet, two, one), 60, group="both"),
    ]
    found = run_stages("gpu-try", stages, tmp_path)["stages"]
    assert {stage["status"] for stage in found.values()} == {"passed"}


def test_what_does_not_fit_in_the_budget_is_named(tmp_path: Path) -> None:
    stages = [
        Stage("large", python("raise SystemExit('never begun')"), needs=1000),
        Stage("small", ("true",), needs=1),
        Stage("endless", ("sleep", "600")),
        Stage("late", python("raise SystemExit('never begun')")),
    ]
    found = run_stages("gpu-try", stages, tmp_path, budget=2)["stages"]
    statuses = {"large": "not run", "small": "passed", "endless": "over time", "late": "not run"}
    assert {name: stage["status"] for name, stage in found.items()} == statuses
    assert found["large"]["output"] == "needs about 1000 s, 2 s of the budget are left"


def test_a_stage_is_ended_with_what_it_started(tmp_path: Path) -> None:
    command = ("sh", "-c", "sleep 600 & echo $!; wait")
    found = run_stages("gpu-try", [Stage("parent", command, 1)], tmp_path)["stages"]["parent"]
    assert found["status"] == "over time"
    # A killed process is not gone at once.
    state, deadline = Path(f"/proc/{int(found['output'])}/stat"), time.monotonic() + 60
    while time.monotonic() < deadline and is_alive(state):
        time.sleep(0.01)
    assert not is_alive(state)


def is_alive(state: Path) -> bool:
    try:
        return state.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_another_commit_runs_all_again(tmp_path: Path) -> None:
    stages = [Stage("good", python(f"open({str(tmp_path / 'ran')!r}, 'a').write('x')"))]
    run_stages("gpu-try", stages, tmp_path)
    path = tmp_path / "gpu-try.json"
    kept = json.loads(path.read_text())
    kept["environment"]["commit"] = "of yesterday"
    path.write_text(json.dumps(kept))
    run_stages("gpu-try", stages, tmp_path)
    assert (tmp_path / "ran").read_text() == "xx"


@pytest.mark.parametrize("command", ["check", "bench", "study"])
def test_the_commands_of_the_stages_exist(command: str, tmp_path: Path) -> None:
    """The command of each stage accepts its options."""
    for stage in gpu.stages_of(command, tmp_path):
        words = list(stage.command[stage.command.index("python") :])
        if words[2] in ("pytest", "tests.manual.every_kernel"):
            continue
        if words[2].startswith("benchmarks."):
            module = "benchmarks.breakdown" if "--breakdown" in words else words[2]
            options = [word for word in words[3:] if word != "--breakdown"]
            assert importlib.import_module(module).parse(options).device == "cuda"
            continue
        asked = start_parent().run([*words[1:], "--help"])
        assert asked.returncode == 0, asked.stderr


def test_the_tests_for_a_gpu_are_found() -> None:
    found = gpu.gpu_tests()
    assert {"tests/gpu/test_loader.py", "tests/gpu/test_kernels.py", "tests/package/test_golden.py"} <= set(found)
    assert "tests/benchmarks/test_stages.py" not in found


def test_the_tests_for_a_gpu_need_no_packages_of_other_tests() -> None:
    """Collecting the tests needs only what `make gpu-check` installs: the package with the extras train and dev."""
    extras = {name: set(map(gpu.Requirement, lines)) for name, lines in _extras().items()}
    installed = {one.name for name in ("", "cu13", "train", "dev") for one in extras[name]}
    others = {one.name for name in extras for one in extras[name]} - installed
    distributions = metadata.packages_distributions()
    assert "torchdata" in others
    seen, files = set(), ["tests/conftest.py", *gpu.gpu_tests()]
    while files:
        seen.add(file := files.pop())
        for name in _imports(gpu._ROOT / file):
            helper = f"{name.replace('.', '/')}.py"
            if (gpu._ROOT / helper).is_file() and name.startswith("tests.") and helper not in seen:
                files.append(helper)
            needed = set(distributions.get(name.partition(".")[0], ()))
            assert not needed & others, f"{file} imports {name}: import it in the test that needs it"
    assert "tests/helpers/recipes.py" in seen


def _imports(path: Path) -> list[str]:
    """Return the modules that a file imports at its top level."""
    found = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found += [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [str(node.module), *(f"{node.module}.{one.name}" for one in node.names)]
    return found


def _extras() -> dict[str, list[str]]:
    """Return the dependencies of pyproject.toml by extra; those of the package under ""."""
    project = tomllib.loads((gpu._ROOT / "pyproject.toml").read_text())["project"]
    return {"": project["dependencies"], **project["optional-dependencies"]}


def test_warnings_are_errors_only_with_the_tested_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = dict(
        line.partition(";")[0].strip().split("==")
        for line in (gpu._ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line and ";" not in line
    )
    monkeypatch.setattr(gpu.metadata, "version", lambda name: wanted.get(name) or _absent(name))
    assert gpu.other_versions() == {}
    assert gpu.allowances() == []
    monkeypatch.setitem(wanted, "nibabel", "1.0")
    assert gpu.other_versions() == {"nibabel": "1.0"}
    assert gpu.allowances()[:2] == ["-W", "ignore::DeprecationWarning"]


def _absent(name: str) -> str:
    raise gpu.metadata.PackageNotFoundError(name)


def test_an_unknown_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        gpu.main(["check", "--only", "tests", "nonsense", "--out", str(tmp_path)])
