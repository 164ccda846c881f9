"""Test caches: the same bytes as without, budgets, and no partly written volumes."""

import errno
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dali_cr
from dali_cr.read import cache as levels
from dali_cr.read.cache import Cache, file_bytes, open_cache, parse_cache
from dali_cr.read.disk_cache import Level
from dali_cr.volume import reader
from tests.helpers.prefork import Forked, start_parent
from tests.helpers.recipes import PAIRS, samples

GB = 10**9


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("gpu:40GB", ("gpu", "", 40 * GB)),
        ("host:1.5GiB", ("host", "", 1.5 * 2**30)),
        ("host:500 MB", ("host", "", 5e8)),
        ("disk:/a/b", ("disk", "/a/b", math.inf)),
        ("disk:/a:b", ("disk", "/a:b", math.inf)),
        ("disk:/a/b:200GB", ("disk", "/a/b", 200 * GB)),
    ],
)
def test_descriptions(text: str, parsed: tuple[str, str, float]) -> None:
    assert parse_cache(text) == parsed


@pytest.mark.parametrize("text", ["", "disk:", "host:", "host:5", "gpu", "ram:5GB", "host:/x:5GB", "host:-5GB"])
def test_refuses_descriptions(text: str) -> None:
    with pytest.raises(ValueError, match="cache: expected 'gpu:40GB'"):
        parse_cache(text)


@pytest.fixture(autouse=True)
def shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace /dev/shm by a folder of the test."""
    folder = tmp_path / "shm"
    folder.mkdir()
    monkeypatch.setattr(levels, "SHARED_MEMORY", folder)
    return folder


def total(index: dali_cr.Index) -> int:
    return sum(file_bytes(v) for case in index.cases for v in case.volumes)


def loader(index: dali_cr.Index, **options: Any) -> dali_cr.Loader:
    return dali_cr.Loader(index, PAIRS, batch_size=3, device="cpu", seed=5, **options)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("kind", ["host", "disk", "both"])
@pytest.mark.parametrize("name", ["mixed_index", "channel_index"])
def test_the_same_bytes_and_within_the_budget(
    name: str, kind: str, share: float, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    index = request.getfixturevalue(name)
    budget = int(total(index) * share)
    host, disk = f"host:{budget}B", f"disk:{tmp_path / 'disk'}:{budget}B"
    cache = {"host": host, "disk": disk, "both": [host, disk]}[kind]
    steps = -(-4 * len(index) // 3)
    with loader(index) as plain:
        wanted = samples(plain, steps)
    with loader(index, cache=cache) as cached:
        assert samples(cached, steps) == wanted
        reports = list(cached.cache_report().values())
    assert (reports[0]["hits"] > 0) == (share > 0)
    for report in reports:
        assert report["bytes"] <= budget
        if share == 1.0:
            assert report["bytes"] == total(index)
    assert list((tmp_path / "shm").iterdir()) == []


def test_a_full_level_serves_what_it_has_without_reading_files(mixed_index: dali_cr.Index, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(mixed_index.root, root, copy_function=shutil.copy2)
    index = replace(mixed_index, root=root)
    with loader(index, cache=f"disk:{tmp_path / 'disk'}", epochs=1) as stream:
        first = samples(stream)
    shutil.rmtree(root)
    with loader(index, cache=f"disk:{tmp_path / 'disk'}", epochs=1) as stream:
        assert samples(stream) == first
        assert stream.cache_report()["disk"]["misses"] == 0


def test_levels_are_filled_from_below(mixed_index: dali_cr.Index, tmp_path: Path) -> None:
    with loader(mixed_index, cache=f"disk:{tmp_path / 'disk'}", epochs=1) as stream:
        samples(stream)
    with loader(mixed_index, cache=["host:1GB", f"disk:{tmp_path / 'disk'}"], epochs=2) as stream:
        samples(stream)
        report = stream.cache_report()
    assert list(report) == ["host", "disk"]
    assert report["host"]["bytes"] == total(mixed_index)
    assert report["disk"]["misses"] == 0


def test_a_miss_without_room_reads_only_the_crop(mixed_index: dali_cr.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    read = reader.read_data

    def spy(path: Path, stop: int, **known: int) -> np.ndarray:
        asked.append(stop)
        return read(path, stop, **known)

    monkeypatch.setattr(reader, "read_data", spy)
    volume = mixed_index.cases[0].volumes[0]
    Cache(()).read(mixed_index.root, volume, 400)
    assert asked == [400]
    with_room = open_cache(["host:1GB"], mixed_index)
    assert len(with_room.read(mixed_index.root, volume, 400)) == file_bytes(volume) == asked[1]
    with_room.close()


def test_a_full_disk_stops_the_filling_and_nothing_else(
    mixed_index: dali_cr.Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with loader(mixed_index, epochs=1) as plain:
        wanted = samples(plain)
    write = dali_cr.read.disk_cache._write
    monkeypatch.setattr(
        dali_cr.read.disk_cache, "_write", lambda *a, **k: fill() if len(list(folder.iterdir())) > 6 else write(*a, **k)
    )
    folder = tmp_path / "disk"

    def fill() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with loader(mixed_index, cache=f"disk:{folder}", epochs=1, threads=1) as stream:
        assert samples(stream) == wanted
        kept = stream.cache_report()["disk"]["bytes"]
    assert "no more volumes are stored" in caplog.text
    assert "No space left" in caplog.text
    assert 0 < kept < total(mixed_index)
    assert not list(folder.glob("*.part"))


def test_a_file_of_another_size_is_not_served(tmp_path: Path) -> None:
    level = Level("disk", tmp_path / "disk", math.inf)
    level.put("a" * 64, np.arange(100, dtype=np.uint8))
    os.truncate(tmp_path / "disk" / ("a" * 64), 50)
    assert level.get("a" * 64, 100) is None
    level.close()


def test_refuses_more_host_memory_than_there_is(mixed_index: dali_cr.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    small = os.statvfs_result((4096, 4096, 10, 2, 2, 10, 10, 10, 0, 255))
    monkeypatch.setattr(levels.os, "statvfs", lambda _: small)
    with pytest.raises(ValueError, match=r"got 0\.00 GB; .*--shm-size"):
        loader(mixed_index, cache="host:1GB")


def test_refuses_a_gpu_level_on_a_cpu(mixed_index: dali_cr.Index) -> None:
    with pytest.raises(ValueError, match="a 'gpu' level needs a GPU"):
        loader(mixed_index, cache="gpu:1GB")


def test_partial_files_of_killed_processes_are_removed(mixed_index: dali_cr.Index, shared_memory: Path) -> None:
    stale = shared_memory / f"dali_cr-{os.getuid()}-0123456789abcdef"
    stale.mkdir()
    (stale / "lock").touch()
    (stale / ("b" * 64)).write_bytes(b"x" * 1000)
    first = open_cache(["host:1GB"], mixed_index)
    assert not stale.exists()
    second = open_cache(["host:1GB"], mixed_index)
    first.close()
    assert second.levels[0].folder.exists()
    second.close()
    assert list(shared_memory.iterdir()) == []


FILLER = """
import sys, dali_cr
from pathlib import Path
from tests.read.test_cache import loader
from tests.helpers.recipes import samples
index = dali_cr.Index.load(sys.argv[1])
print("ready", flush=True)
with loader(index, cache="disk:" + sys.argv[2], epochs=int(sys.argv[3]), threads=2) as stream:
    for batch in stream:
        for i, n in enumerate(batch["sample"].tolist()):
            print(n, hash(batch["input"][i].numpy().tobytes()), flush=True)
"""


def start(index_file: Path, folder: Path, epochs: int) -> Forked:
    command = [sys.executable, "-c", FILLER, index_file, folder, epochs]
    return start_parent().popen(command, stdout=subprocess.PIPE)  # forks of one process hash alike


def test_processes_share_a_disk_and_may_be_killed(mixed_index: dali_cr.Index, tmp_path: Path) -> None:
    """Kill one process repeatedly while it fills the cache; two others fill and read all the time."""
    mixed_index.save(tmp_path / "index.json")
    folder = tmp_path / "disk"
    alone = start(tmp_path / "index.json", tmp_path / "other", 2)
    wanted = set(alone.communicate(timeout=120)[0].splitlines()[1:])
    sharing = [start(tmp_path / "index.json", folder, 2) for _ in range(2)]
    for attempt in range(3):
        victim = start(tmp_path / "index.json", folder, 2)
        assert victim.stdout is not None
        assert victim.stdout.readline() == "ready\n"
        time.sleep(0.05 * attempt)
        victim.send_signal(signal.SIGKILL)
        assert set(victim.communicate(timeout=60)[0].splitlines()[:-1]) <= wanted
    for process in sharing:
        assert set(process.communicate(timeout=120)[0].splitlines()[1:]) == wanted
    last = start(tmp_path / "index.json", folder, 2)
    assert set(last.communicate(timeout=120)[0].splitlines()[1:]) == wanted
    assert not list(folder.glob("*.part"))
    kept = {path.name: path.stat().st_size for path in folder.iterdir() if len(path.name) == 64}
    assert kept == {v.sha256: file_bytes(v) for case in mixed_index.cases for v in case.volumes}
    with Level("disk", folder, math.inf).folder.joinpath("ledger").open() as ledger:
        assert int(ledger.read()) == sum(kept.values())


def test_killed_while_writing_leaves_no_name(tmp_path: Path) -> None:
    """Check that a partly written volume has no final name and is removed by the next process alone with the folder."""
    program = (
        "import sys, os, signal, numpy as np\n"
        "from pathlib import Path\n"
        "from dali_cr.read import disk_cache as level\n"
        "level._write = lambda d, data, durable: (os.write(d, data[:10]), os.kill(os.getpid(), signal.SIGKILL))\n"
        "level.Level('disk', Path(sys.argv[1]), 1e9).put('c' * 64, np.zeros(100, np.uint8))\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path / "disk")], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert [p.name for p in (tmp_path / "disk").glob("c*")] == ["c" * 64 + ".part"]
    level = Level("disk", tmp_path / "disk", 1e9)
    assert level.get("c" * 64, 100) is None
    assert list((tmp_path / "disk").glob("c*")) == []
    level.put("c" * 64, np.zeros(100, np.uint8))
    assert level.get("c" * 64, 100) is not None
    assert level.report()["bytes"] == 100
    level.close()


def test_more_volumes_than_open_files(tmp_path: Path) -> None:
    """Check that a level keeps fewer memory maps open than the process may have file descriptors."""
    program = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "import numpy as np\n"
        "from pathlib import Path\n"
        "from dali_cr.read.disk_cache import Level\n"
        "level, held = Level('disk', Path(sys.argv[1]), 1e9), []\n"
        "for i in range(200):\n"
        "    level.put(f'{i:064x}', np.full(100, i, np.uint8))\n"
        "for _ in range(2):\n"
        "    assert all(level.get(f'{i:064x}', 100)[7] == i for i in range(200))\n"
        "level.close()\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "disk")], check=True, timeout=60)
