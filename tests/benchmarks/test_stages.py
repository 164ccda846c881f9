"""Stages: each runs once a commit, whatever becomes of it is kept, and a cut run goes on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.measure.stages import Stage, run_stages


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
    """Every option that a stage gives is known to the command it runs."""
    for stage in gpu.stages_of(command, tmp_path):
        words = list(stage.command[stage.command.index("python") :])
        if words[2] in ("pytest", "tests.manual.every_kernel"):
            continue
        asked = subprocess.run([sys.executable, *words[1:], "--help"], capture_output=True, text=True, check=False)
        assert asked.returncode == 0, asked.stderr


def test_an_unknown_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        gpu.main(["check", "--only", "tests", "nonsense", "--out", str(tmp_path)])
