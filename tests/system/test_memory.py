"""Test the memory that a process may use: the smallest of the machine's and all cgroup limits."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dali_cr
from dali_cr.index.values import frames
from dali_cr.system import memory as machine_memory
from dali_cr.system.memory import group_limits, physical_memory, usable_memory
from dali_cr.volume.geometry import VolumeError
from dali_cr.volume.reader import check_plausible
from tests.helpers.volumes import write_nifti


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Return a function that creates control groups: make(lines of /proc/self/cgroup, {file: content})."""

    def make(lines, files):
        (tmp_path / "cgroup").write_text("".join(f"{line}\n" for line in lines))
        for name, content in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")
        group_limits.cache_clear()

    monkeypatch.setattr(machine_memory, "_OF_THIS_PROCESS", tmp_path / "cgroup")
    monkeypatch.setattr(machine_memory, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__)
    yield make
    group_limits.cache_clear()


V1 = ["12:cpu,cpuacct:/", "4:memory:/docker/abc", "1:name=systemd:/memory"]


@pytest.mark.parametrize(
    ("lines", "files", "wanted"),
    [
        (["0::/"], {"memory.max": "max"}, 4096000),
        (["0::/"], {"memory.max": 700000}, 700000),
        (["0::/a/b"], {"memory.max": "max", "a/memory.max": 500000, "a/b/memory.max": 600000}, 500000),
        (["0::/../../not/here"], {"memory.max": 800000}, 800000),
        (V1, {"memory/memory.limit_in_bytes": 2**63 - 4096}, 4096000),
        (V1, {"memory/docker/abc/memory.limit_in_bytes": 300000}, 300000),
        (V1, {"memory/memory.limit_in_bytes": 200000}, 200000),
        ([*V1, "0::/s"], {"memory/memory.limit_in_bytes": 9999999, "unified/s/memory.max": 100000}, 100000),
        (["0::/"], {"memory.max": 9999999}, 4096000),
        ([], {}, 4096000),
    ],
)
def test_the_least_limit_counts(groups, lines, files, wanted):
    groups(lines, files)
    assert (usable_memory(), physical_memory()) == (wanted, 4096000)


def test_no_control_groups_at_all(monkeypatch, tmp_path):
    monkeypatch.setattr(machine_memory, "_OF_THIS_PROCESS", tmp_path / "none")
    group_limits.cache_clear()
    assert usable_memory() == physical_memory()
    group_limits.cache_clear()


def test_a_volume_beyond_the_containers_memory_is_refused_by_name(groups, tmp_path):
    groups(["0::/"], {"memory.max": 500000})
    check_plausible(tmp_path / "x.nii.gz", 500000, 500000)
    with pytest.raises(VolumeError, match=r"x\.nii\.gz: .* declares 500001 bytes, the container has 500000 bytes of"):
        check_plausible(tmp_path / "x.nii.gz", 500001, 500000)


@given(st.text("/.ab", max_size=12))
def test_no_path_of_a_group_is_an_error(path):
    list(machine_memory._up(machine_memory._GROUPS, path, "memory.max"))


def test_a_volume_that_cannot_be_measured_is_refused_by_name_and_the_others_are_not(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for name, edge in (("small.nii.gz", 8), ("large.nii.gz", 48), ("large.nii", 48)):
        write_nifti(tmp_path / name, rng.integers(0, 900, (edge, edge, edge)), dtype="<i2")
    # Enough for the mask of the large one (a byte per voxel), but not for its content of two bytes per voxel.
    monkeypatch.setattr(frames, "usable_memory", lambda: frames.bytes_at_start() + 2 * 48**3)
    index = dali_cr.scan(tmp_path, progress=False)
    assert [case.name for case in index.cases] == ["large.nii", "small.nii.gz"]
    assert [problem.path for problem in index.problems] == ["large.nii.gz"]
    assert "measuring it needs at least" in index.problems[0].reason
