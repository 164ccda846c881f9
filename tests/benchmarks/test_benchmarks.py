"""The benchmarks on tiny volumes: every command runs and reports correct results. No time is asserted."""

import itertools
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

import dali_cr
from benchmarks import kernels, loader, training
from benchmarks.contenders import numpy_loop as plain
from benchmarks.contenders import roster
from benchmarks.contenders.feed import Job
from benchmarks.measure import accelerator, process, results, usage
from benchmarks.measure.clock import HostClock
from benchmarks.operations import raw, swap
from benchmarks.operations.subject import Case
from benchmarks.report import __main__ as report
from benchmarks.workloads import verdict
from benchmarks.workloads.volumes import find_volumes
from benchmarks.workloads.workload import WORKLOADS, Workload, intensity
from dali_cr.read.normalize import rescale_of
from tests.helpers.prefork import start_parent
from train.run import computation

TINY = Workload(
    name="a",
    about="24×28×32 int16 → 16³",
    shape=(32, 28, 24),
    modality="mr",
    crop=(16, 16, 16),
    patch=(4, 5, 6),
    iterations=5,
    batch_size=2,
)
CONTENDERS = ["igzip", "igzip-needed", "ours-reader", "ours-loader", "ours-host", "plain"]
CONTENDERS += ["torchio", "monai"]


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    monkeypatch.setitem(WORKLOADS, "a", TINY)
    return [
        "--workload",
        "a",
        "--volumes",
        "2",
        "--folder",
        str(tmp_path / "volumes"),
        "--out",
        str(tmp_path / "out.json"),
    ]


@pytest.fixture(scope="module", autouse=True)
def forks():
    """Start the processes of contenders as forks of one that has their imports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "subprocess", SimpleNamespace(Popen=start_parent().popen, PIPE=subprocess.PIPE))
        yield


@pytest.fixture(scope="module")
def result_folder(tmp_path_factory):
    """Minimal results of a loader run and of kernel rows."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(WORKLOADS, "a", TINY)
        arguments = ["--workload", "a", "--volumes", "2", "--folder", str(folder / "volumes"), "--workers", "1"]
        arguments += ["--repeats", "1", "--seconds", "0", "--out", str(folder / "loader.json"), "--only", *CONTENDERS]
        assert loader.main(arguments) == 0
        patch.setattr(kernels, "_SHARE", 0.0)
        assert kernels.main(["--edges", "32", "--batches", "2", "--out", str(folder / "kernels.json")]) == 0
    return folder


def rows_of(path):
    found = json.loads(path.read_text(), parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))
    assert found["format"] == results.FORMAT
    assert {"cpu", "cores", "memory_bytes", "gpu", "driver", "versions", "commit", "date"} <= set(found["environment"])
    return found, found["rows"]


def test_loader_measures_everybody_who_is_there(result_folder):
    found, rows = rows_of(result_folder / "loader.json")
    assert [row["contender"] for row in rows] == CONTENDERS
    assert found["data"]["voxel_bytes"] == 2 * 2 * math.prod(TINY.shape)
    assert found["command"].startswith("python -m benchmarks.loader --workload a")
    for row in rows:
        if "missing" in row:
            assert row["contender"] == "torchio"
            assert row["missing"] == "torchio is not installed"
            continue
        (run,) = row["runs"]
        assert run["pairs"] >= 2 * TINY.batch_size
        assert min(run[name] for name in ("seconds", "pairs_per_s", "resident_bytes", "peak_bytes")) > 0
        assert row["summary"]["pairs_per_s"]["median"] == run["pairs_per_s"]
        assert (row["verdict"] is None) == (row["role"] == "limit")
        if row["contender"].startswith("ours") or row["contender"] == "plain":
            assert row["verdict"]["swap"], row["verdict"]
    cached = next(row["runs"][0]["report"]["cache"] for row in rows if row["contender"] == "ours-host")
    assert sum(level["hits"] for level in cached.values()) > 0


IMAGES = Workload(
    name="e",
    about="60×50 PNG → 32×24",
    shape=(1, 50, 60),
    modality="mr",
    crop=(1, 24, 32),
    patch=((1, 1), (2, 6), (2, 6)),
    iterations=5,
    batch_size=2,
    files="png",
)


def test_images_are_measured_by_who_reads_them(monkeypatch, tmp_path):
    monkeypatch.setitem(WORKLOADS, "e", IMAGES)
    out = tmp_path / "out.json"
    arguments = ["--workload", "e", "--volumes", "3", "--folder", str(tmp_path / "data"), "--workers", "1"]
    arguments += ["--repeats", "1", "--seconds", "0", "--out", str(out)]
    assert loader.main([*arguments, "--only", "pil", "ours-loader", "plain", "pil-loader"]) == 0
    found, rows = rows_of(out)
    assert [row["contender"] for row in rows] == ["pil", "ours-loader", "pil-loader"]
    assert found["data"]["shapes"] == [[1, 50, 60]]
    assert [row["verdict"] and row["verdict"]["verdict"] for row in rows] == [None, "true swap", "true swap"]
    assert Workload.from_json(found["workload"]) == IMAGES
    assert report.main(["--results", str(tmp_path), "--readme", str(tmp_path / "none.md")]) in (0, 1)


def test_pillow_and_the_loader_see_the_same_pixels(tmp_path):
    """The targets are the same crops of the same files with the same normalisation."""
    from benchmarks.contenders.pillow_loader import PilLoader

    whole = replace(IMAGES, crop=IMAGES.shape)
    index = find_volumes(whole, 1, None, tmp_path)
    index.save(tmp_path / "index.json")
    job = Job("pil-loader", whole, tmp_path / "index.json", 0, (0,), 0.0, "cpu", 0, tmp_path)
    _, (input, target) = next(PilLoader(job).batches())
    with dali_cr.Loader(index, whole.recipe, batch_size=1, device="cpu") as ours:
        np.testing.assert_allclose(target[0], next(iter(ours))["target"][0], atol=1e-6)
    assert sorted(input[0].ravel()) == sorted(target[0].ravel())


def test_nothing_tells_where_it_lay(result_folder):
    for path in result_folder.glob("*.json"):
        assert str(result_folder) not in path.read_text()


def test_a_contender_that_fails_is_named(tiny, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(roster.ROSTER, "plain", replace(roster.ROSTER["plain"], label="renamed"))
    broken = lambda jobs: ((job, RuntimeError(f"{job.contender}: broke")) for job in jobs)  # noqa: E731
    monkeypatch.setattr(loader, "run_each", broken)
    assert loader.main([*tiny, "--workers", "1", "--repeats", "1", "--only", "plain"]) == 1
    _, (row,) = rows_of(tmp_path / "out.json")
    assert row["failure"] == "plain: broke"
    assert "failed: plain: broke" in capsys.readouterr().out


def test_a_loader_without_caches_is_named(monkeypatch):
    monkeypatch.setattr(dali_cr, "Loader", lambda index, recipe, *, batch_size: None, raising=False)
    assert "no cache" in roster.ROSTER["ours-host"].missing("cpu")
    assert roster.ROSTER["ours-loader"].missing("cpu") is None


def test_every_repeat_lets_everybody_take_turns(tiny, tmp_path):
    options = loader.parse([*tiny, "--workers", "0", "1", "--repeats", "2", "--only", "igzip", "ours-loader", "plain"])
    index = find_volumes(TINY, 1, None, tmp_path)
    jobs = loader.plan(index, {}, TINY, options, tmp_path)
    turn = [("igzip", 0), ("plain", 0), ("igzip", 1), ("ours-loader", 1), ("plain", 1)]
    assert [(job.contender, job.workers) for job in jobs] == turn * 2
    assert [job.seed for job in jobs] == [0] * 5 + [1] * 5
    assert len({job.scratch for job in jobs}) == 10
    assert Job.from_json(json.loads(json.dumps(jobs[0].to_json()))) == jobs[0]


def test_on_a_gpu_ours_share_a_process(tiny, tmp_path):
    names = ["ours-loader", "ours-gpu", "plain"]
    options = loader.parse([*tiny, "--device", "cuda", "--workers", "1", "2", "--repeats", "2", "--only", *names])
    jobs = loader.plan(find_volumes(TINY, 1, None, tmp_path), {}, TINY, options, tmp_path)
    groups = [[(job.contender, job.workers, job.seed) for job in group] for group in loader.in_processes(jobs)]
    ours = [[("ours-loader", w, 0), ("ours-gpu", w, 0), ("ours-loader", w, 1), ("ours-gpu", w, 1)] for w in (1, 2)]
    plain = [[("plain", w, seed)] for seed in (0, 1) for w in (1, 2)]
    assert groups == [ours[0], plain[0], ours[1], *plain[1:]]


def test_several_jobs_in_one_process(tmp_path):
    """A failing job does not affect the others; the memory of jobs that share a process is not reported."""
    index = find_volumes(TINY, 2, None, tmp_path)
    index.save(tmp_path / "index.json")
    good = Job("ours-reader", TINY, tmp_path / "index.json", 1, (0,), 0.0, "cpu", 0, tmp_path)
    cores = tuple(sorted(os.sched_getaffinity(0))[:1])
    jobs = [replace(job, cores=cores) for job in (good, replace(good, index=tmp_path / "none.json"), good)]
    found = list(process.run_each(jobs))
    assert [job for job, _ in found] == jobs
    assert isinstance(found[1][1], RuntimeError)
    assert "none.json" in str(found[1][1])
    for _, numbers in (found[0], found[2]):
        assert numbers["pairs_per_s"] > 0
        assert numbers["resident_bytes"] is numbers["peak_bytes"] is None
    with pytest.raises(RuntimeError, match=r"none\.json"):
        process.run(jobs[1])


@pytest.mark.parametrize(("most", "wanted"), [(1, [0, 1]), (2, [0, 1, 2]), (6, [0, 1, 2, 4, 6]), (8, [0, 1, 2, 4, 8])])
def test_workers_double_up_to_the_cores(most, wanted):
    assert loader.default_workers(most) == wanted


def test_volumes_are_made_once(tmp_path):
    first = find_volumes(TINY, 2, None, tmp_path)
    (tmp_path / "mr-32x28x24" / "phantom_001.nii.gz").unlink()
    assert find_volumes(TINY, 2, None, tmp_path).cases[0].volumes[0].mtime_ns == first.cases[0].volumes[0].mtime_ns
    assert {volume.orientation for case in first.cases for volume in case.volumes} == {"RAS"}


def test_volumes_that_do_not_fit_are_refused(tmp_path):
    find_volumes(TINY, 1, None, tmp_path)
    with pytest.raises(ValueError, match=r"expected volumes of at least \(64, 16, 16\)"):
        find_volumes(replace(TINY, crop=(64, 16, 16)), 1, tmp_path)


@pytest.mark.parametrize("normalize", ["zscore", ("window", -160.0, 240.0)])
def test_everybody_normalises_as_the_library_does(tmp_path, normalize):
    volume = find_volumes(TINY, 1, None, tmp_path).cases[0].volumes[0]
    ours, theirs = rescale_of(volume, normalize), intensity(volume, normalize)
    raw = np.array([-2000.0, 0.0, 37.0, 900.0])
    want = np.clip(raw * ours.scale + ours.shift, ours.low, ours.high)
    stored = raw * volume.geometry.slope + volume.geometry.intercept
    got = np.clip((stored - theirs.centre) / theirs.width, theirs.low, theirs.high)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def swapped_with_overlap(volume, trial):
    """Swap overlapping pairs, as several public implementations do."""
    rng = np.random.default_rng(trial)
    for _ in range(20):
        a = rng.integers(0, np.array(volume.shape) - 5)
        b = np.minimum(a + rng.integers(1, 4, 3), np.array(volume.shape) - 6)
        first, second = (tuple(slice(o, o + 6) for o in origin) for origin in (a, b))
        kept = volume[first].copy()
        volume[first] = volume[second].copy()
        volume[second] = kept
    return volume


def shuffled(volume, trial):
    box = volume[4:12, 4:12, 4:12]
    box[...] = np.random.default_rng(trial).permutation(box.ravel()).reshape(box.shape)
    return volume


@pytest.mark.parametrize(
    ("corrupt", "said"),
    [
        (lambda v, n: plain.swap(v, (4, 5, 6), 30, np.random.default_rng(n)), "true swap"),
        (swapped_with_overlap, "swap is not a permutation (4 of 4 outputs)"),
        (shuffled, "not a swap: shuffles voxels"),
    ],
    ids=["swap", "overlap", "shuffle"],
)
def test_verdict(corrupt, said):
    found = verdict.judge(corrupt, (20, 21, 22), trials=4)
    assert found["verdict"] == said
    assert found["swap"] == (said == "true swap")


def judged(place, tmp_path, workload):
    """Return the verdict on a contender, as in its own process."""
    index = find_volumes(TINY, 1, None, tmp_path)
    index.save(tmp_path / "index.json")
    job = Job("any", workload, tmp_path / "index.json", 0, (0,), 0.0, "cpu", 0, tmp_path)
    feed = replace(roster.ROSTER["plain"], place=place).open(job)
    return verdict.judge(feed.corruption(), workload.crop)


def test_monai_shuffle_is_no_swap(tmp_path):
    pytest.importorskip("monai")
    found = judged("monai_loader:Monai", tmp_path, TINY)
    assert found["verdict"] == "not a swap: shuffles voxels"
    assert found["permutations"] == found["trials"]


@pytest.mark.skipif(find_spec("torchio") is None, reason="needs torchio")
@pytest.mark.filterwarnings("default")
def test_torchio_swap_is_no_permutation(tmp_path):
    found = judged("torchio_loader:TorchIO", tmp_path, replace(TINY, crop=(32,) * 3, patch=(15,) * 3, iterations=100))
    assert found["verdict"].startswith("swap is not a permutation")


def test_kernel_rows_have_numbers(result_folder):
    found, rows = rows_of(result_folder / "kernels.json")
    assert len(rows) == 41
    assert found["not_run"] == []
    for row in rows:
        assert row["gate"] == "passed"
        assert row["summary"]["seconds"]["median"] > 0
        assert row["must_move_bytes"] > 0
        assert ("torchio_seconds" in row) == (
            row["op"] == "swap" and row["dtype"] == "<f4" and find_spec("torchio") is not None
        )


CASES = [
    Case("decode", ">i2", 8, 2),
    Case("decode", "<f8", 8, 1),
    Case("decode_twice", "<f4", 8, 2),
    Case("decode_half", "<i2", 8, 2),
    Case("draw_swaps", "<i4", 8, 2, 10, 4),
    Case("draw_disjoint", "<i4", 16, 2, 4, 8),
    Case("draw_blocks", "<i4", 16, 2, 6, 8),
    Case("erase", "<f2", 8, 2, 10, 4),
    Case("swap", "<f2", 8, 2, 10, 4),
    Case("swap", "<f4", 8, 3, 10, 3),
    Case("restore", "<i2", 8, 2, 10, 4),
    Case("gather", ">i2", 8, 2),
    Case("blur", "<f4", 8, 2),
    Case("noise", "<f4", 8, 2),
    Case("gamma", "<f4", 8, 2),
    Case("contrast", "<f4", 8, 2),
    Case("jitter", "<f4", 8, 2),
    Case("zscore", "<f4", 8, 2),
    Case("standardize", "<f4", 8, 2),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.op}{case.dtype[1:]}")
def test_gate_passes_the_kernels(cuda_on_cpu, monkeypatch, case):
    """Rows of the GPU benchmark, with kernels compiled for the host."""
    monkeypatch.setattr(kernels, "_SHARE", 0.0)
    clock = HostClock()
    clock.arrays = cuda_on_cpu.arrays
    row = kernels.measure(case, clock, seed=0)
    assert row["gate"] == "passed"
    assert row["summary"]["reference_seconds"]["median"] > 0


def off_by_one(array, swaps):
    array[0, 0, 0, 0, 0] += 1


def test_gate_refuses_a_wrong_kernel(cuda_on_cpu, monkeypatch):
    clock = HostClock()
    clock.arrays = cuda_on_cpu.arrays
    right = swap.swap_in_place

    def wrong(array, swaps):
        right(array, swaps)
        off_by_one(array, swaps)

    monkeypatch.setattr(swap, "swap_in_place", wrong)
    row = kernels.measure(Case("swap", "<f4", 8, 1, 3, 2), clock, seed=0)
    assert row["gate"].startswith("wrong: ")
    assert "seconds" not in row


@pytest.mark.parametrize("op", ["swap", "decode", "restore"])
def test_wrong_kernel_gets_no_number_and_fails_the_command(monkeypatch, tmp_path, op):
    if op == "swap":
        monkeypatch.setattr(swap, "swap_in_place_ref", lambda array, swaps: array.fill(0))
    else:
        monkeypatch.setattr(raw, "decode_channel", lambda raw, rescale, out: out.fill(0))
    out = tmp_path / "kernels.json"
    assert kernels.main(["--edges", "16", "--batches", "1", "--ops", op, "--out", str(out)]) == 1
    _, rows = rows_of(out)
    assert rows
    for row in rows:
        assert row["gate"].startswith("wrong: ")
        assert not {"seconds", "summary", "times_copy"} & set(row)


def test_kernels_end_with_their_budget(tmp_path, capsys):
    out = tmp_path / "kernels.json"
    assert kernels.main(["--edges", "16", "--batches", "1", "--budget", "0", "--out", str(out)]) == 0
    found, rows = rows_of(out)
    assert rows == []
    assert len(found["not_run"]) > 10
    assert "were not run" in capsys.readouterr().err


def test_training_compares_computations_and_a_kept_batch(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(computation, "BACKEND", "aot_eager")
    arguments = [*tiny, "--filters", "2", "--batch", "1", "--repeats", "1", "--seconds", "0"]
    assert training.main([*arguments, "--compile", "off", "on", "--layout", "channels-last"]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["kind"], found["batch_size"]) == ("training", 1)
    assert [(row["compiled"], row["layout"]) for row in found["rows"]] == [
        (False, "channels-last"),
        (True, "channels-last"),
    ]
    for row in found["rows"]:
        assert row["ratios"] == [row["steps_per_s"]["loader"][0] / row["steps_per_s"]["kept"][0]]
    assert "compiled, channels-last: steps/s" in capsys.readouterr().out


def test_a_network_that_cannot_be_compiled_has_no_rate(tiny, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(computation, "BACKEND", fail)
    assert training.main([*tiny, "--filters", "2", "--batch", "1", "--compile", "on"]) == 0
    (row,) = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert "no compiler here" in row["missing"]
    assert set(row) == {"compiled", "layout", "missing"}


def test_emulation_searches_each_path(tiny, tmp_path):
    arguments = [*tiny, "--emulate", "2", "--paths", "ours-loader", "ours-gpu", "--seconds", "0"]
    assert training.main(arguments) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    cold, gpu = found["rows"]
    assert set(cold["at"]) == {"2 ms", "1.3 x batch / igzip", "1.3 x batch / igzip-needed"}
    assert all(0 < at["utilisation"] <= 1 for at in cold["at"].values())
    assert gpu["missing"] == "needs --device cuda"


def test_shortest_step_is_found(monkeypatch):
    """A loader that needs 10 ms per batch for any step time reaches 0.98 at 490 ms."""
    monkeypatch.setattr(accelerator, "flat_out", lambda batches, seconds: 0.01)
    monkeypatch.setattr(accelerator, "utilisation", lambda batches, step, seconds: step / (step + 0.01))
    lines = []
    monkeypatch.setattr(accelerator, "_LIMIT", 64)
    found = accelerator.shortest_step(itertools.repeat(None), 0.0, lines.append)
    assert 0.49 <= found["shortest_step_s"] <= 0.49 * 1.06
    assert len(lines) == 1 + len(found["curve"])
    monkeypatch.setattr(accelerator, "_LIMIT", 8)
    assert accelerator.shortest_step(itertools.repeat(None), 0.0, lines.append)["shortest_step_s"] is None


def test_report_makes_tables_and_pictures(result_folder, tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- benchmarks -->\nold\n<!-- /benchmarks -->\nafter\n")
    arguments = ["--results", str(result_folder), "--readme", str(readme)]
    assert report.main(arguments) == 0
    table = capsys.readouterr().out
    assert "| dali-cr, Loader | **" in table
    assert ("| TorchIO, DataLoader | – |" in table) == (find_spec("torchio") is None)
    assert "not a swap: shuffles voxels" in table
    assert "| restore | int16 | 32³ | 2 |" in table
    text = readme.read_text()
    assert text.startswith("before\n<!-- benchmarks -->\n\n| ")
    ours = next(row for row in rows_of(result_folder / "loader.json")[1] if row["contender"] == "ours-loader")
    rate = ours["summary"]["pairs_per_s"]["median"]
    assert f" | {rate:.0f} | " in text or f" | {rate:.1f} | " in text
    assert (result_folder / "README.md").read_text().endswith(table.strip() + "\n")
    assert text.endswith("<!-- /benchmarks -->\nafter\n")
    assert "old" not in text
    pictures = {name: (result_folder / name).read_bytes() for name in ("throughput.svg", "limit.svg")}
    assert all(picture.startswith(b"<?xml") for picture in pictures.values())
    assert report.main(arguments) == 0
    assert readme.read_text() == text
    assert pictures == {name: (result_folder / name).read_bytes() for name in pictures}


def test_report_of_nothing_says_what_to_do(tmp_path, capsys):
    assert report.main(["--results", str(tmp_path), "--readme", str(tmp_path / "README.md")]) == 1
    assert "benchmarks.loader first" in capsys.readouterr().err


def test_report_refuses_what_is_no_result(tmp_path):
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match=r"other\.json: expected a benchmark result"):
        results.read_results(tmp_path)


def test_report_refuses_one_marker(tmp_path):
    (tmp_path / "README.md").write_text("<!-- benchmarks -->")
    with pytest.raises(ValueError, match="only one of them"):
        report.rewrite(tmp_path / "README.md", "table")


def test_only_the_newest_counts(result_folder):
    first, *_ = results.read_results(result_folder)
    later = {**first, "environment": {**first["environment"], "date": "9999-01-01T00:00:00+00:00"}}
    assert report.newest([first, later]) == [later]


def test_results_are_named_by_machine(result_folder):
    result = json.loads((result_folder / "loader.json").read_text())
    result["environment"].update(machine="h200", date="2026-01-02T03:04:05+00:00")
    assert results.result_path(result, "a").name == "loader-h200-a-20260102-0304.json"


def test_usage_counts_children():
    before, code = usage.cpu_seconds(), "import sys; x = bytearray(50_000_000); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        assert child.pid in usage.family()
        assert usage.peak_bytes() > 0
        child.communicate(b"")
    assert usage.cpu_seconds() > before
    assert child.pid not in usage.family()


def test_help_has_groups_and_defaults(capsys):
    for command in (loader, kernels, training):
        with pytest.raises(SystemExit):
            command.main(["--help"])
        shown = " ".join(capsys.readouterr().out.split())
        assert "duration and output:" in shown
        assert "default: in benchmarks/results" in shown
        assert "None" not in shown
    assert "workload (default: d)" in shown
