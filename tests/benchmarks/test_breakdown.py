"""The breakdown on tiny volumes: every stage is found and timed. No time is asserted."""

import json
from dataclasses import replace
from pathlib import Path

import nvidia.dali
import pytest

from benchmarks import loader
from benchmarks.measure import breakdown
from benchmarks.measure.breakdown import STAGES, Stage
from benchmarks.report import __main__ as report
from benchmarks.workloads.workload import WORKLOADS
from tests.cuda_on_cpu.host import compiler


@pytest.mark.parametrize("device", ["cpu", "emulated", "emulated --no-kernels"])
def test_stages(device: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    if device == "emulated" and compiler() is None:
        pytest.skip("needs a C++ compiler")
    monkeypatch.setitem(WORKLOADS, "a", replace(WORKLOADS["a"], shape=(32, 28, 24), patch=(4, 5, 6), iterations=5))
    before = nvidia.dali.Pipeline.run
    sizes = ["--crops", "16", "--batches", "2", "3", "--volumes", "2", "--count", "12", "--repeats", "2"]
    places = ["--folder", str(tmp_path / "volumes"), "--out", str(tmp_path / "out.json")]
    assert loader.main(["--breakdown", "--device", *device.split(), *sizes, *places]) == 0
    assert nvidia.dali.Pipeline.run is before
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["kind"] == "breakdown"
    assert [row["batch_size"] for row in found["rows"]] == [2, 3]
    for row in found["rows"]:
        assert list(row["stages"]) == list(STAGES)
        absent = {name for name, stage in row["stages"].items() if "absent" in stage}
        # On a GPU the volumes are kept there: nothing is read any more.
        assert absent == ({"records", "function"} if device == "cpu" else {"read"})
        assert row["stages"]["run"]["calls"]["median"] == 1 or device == "cpu"  # there it runs ahead
        assert row["bare"]["wall_s"]["median"] > 0
        assert row["interpreter"]["late"]["p95_s"] >= row["interpreter"]["late"]["median_s"]
    table = report.markdown(report.newest([found]))
    assert "|  | 16³, B 2 | 16³, B 3 |" in table
    assert "| run: Pipeline.run in total | " in table
    text = capsys.readouterr().out
    assert f"16^3, B 2, {device.replace(' --', ', ').replace('no-', 'no ')}" in text
    assert "absent: not called" in text


def test_a_stage_without_its_functions_is_absent() -> None:
    stages = {
        "moved": Stage("", ("dali_cr.plan.crops.planner:CropPlanner.no_such", "dali_cr.no_such:function")),
        "kept": Stage("", ("dali_cr.no_such:function", "json:dumps")),
    }
    whole = json.dumps
    with breakdown.installed(stages) as timers:
        assert timers.absent == {
            "moved": "no dali_cr.plan.crops.planner:CropPlanner.no_such or dali_cr.no_such:function"
        }
        json.dumps(1)
        timers.on = True
        assert json.dumps([2]) == "[2]"
        (call,) = timers.take()
        assert (call.stage, timers.calls) == ("kept", [])
        assert call.wall > 0
    assert json.dumps is whole


def test_calls_add_up_by_stage() -> None:
    calls = [breakdown.Spent("read", wall, 0.25, thread) for wall, thread in ((1.0, 1), (2.0, 2), (3.0, 2))]
    assert breakdown.add_up(calls, 2) == {"read": {"wall_s": 3.0, "cpu_s": 0.375, "calls": 1.5, "threads": 2}}


def test_the_report_shows_the_newest_row_of_each_kernel() -> None:
    """A row that a newer result also has is shown once; a row of a removed operation is not shown."""

    def result(*ops: str) -> dict:
        rest = {"dtype": "<i2", "edge": 64, "batch": 8, "iterations": 0, "patch": 0}
        return {"kind": "kernels", "environment": {"machine": "m"}, "rows": [{"op": op, **rest} for op in ops]}

    kept = report.kernel_rows([result("decode"), result("swap", "traced", "blur"), result("decode", "blur")])
    assert [[row["op"] for row in one["rows"]] for one in kept] == [["swap"], ["decode", "blur"]]
