"""Test `doctor`: a line for each check, with advice on failures."""

import importlib
import importlib.metadata
import os
import resource
import types
from pathlib import Path

import pytest

from dali_cr.__main__ import main
from dali_cr.tools import doctor
from dali_cr.tools.checks import gpu, machine
from dali_cr.tools.checks.finding import check_package


def states(text: str) -> dict[str, str]:
    """Return the state of each finding."""
    return {line[:14].strip(): line[15:22].strip() for line in text.splitlines() if not line.startswith(" ")}


def fake(monkeypatch: pytest.MonkeyPatch, name: str, module: object) -> None:
    """Replace a module by another one, or by an exception on import."""
    really = importlib.import_module

    def load(wanted: str, package: str | None = None) -> object:
        if wanted == name and isinstance(module, Exception):
            raise module
        return module if wanted == name else really(wanted, package)

    monkeypatch.setattr(importlib, "import_module", load)


def test_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    found = states(capsys.readouterr().out)
    assert {
        found[name] for name in ("python", "dali-cr", "numpy", "nibabel", "isal", "brick stores", "torch", "DALI")
    } == {"ok"}
    assert found["CPU samples"] == "ok"
    assert set(found) >= {"CuPy", "GPU", "/dev/shm", "open files", "cores"}
    assert set(found.values()) <= {"ok", "missing", "wrong"}


def test_without_dali(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake(monkeypatch, "nvidia.dali", ModuleNotFoundError("No module named 'nvidia.dali'"))
    fake(monkeypatch, "nvidia.dali.fn", ModuleNotFoundError("No module named 'nvidia.dali'"))
    monkeypatch.setattr(doctor, "_make_batch", lambda device: importlib.import_module("nvidia.dali").__name__)
    assert main(["doctor"]) == 2
    captured = capsys.readouterr()
    assert states(captured.out)["DALI"] == "missing"
    assert states(captured.out)["CPU samples"] == "wrong"
    assert 'pip install ".[cu13]"' in captured.out
    assert captured.err.startswith("dali-cr: doctor: ")


def test_a_package_that_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, "isal", ImportError("libisal.so: cannot open"))
    found = check_package("isal")
    assert (found.state, found.text) == ("wrong", "cannot be imported: libisal.so: cannot open")
    assert found.advice


def test_the_version_of_a_package_is_its_own_or_that_of_its_distribution() -> None:
    assert check_package("google_crc32c").text == importlib.metadata.version("google-crc32c")
    assert check_package("base64").text == "unknown version"


@pytest.mark.parametrize(
    ("built", "driver", "state"),
    [
        ("12.6", (12, 4), "ok"),
        ("12.6", (13, 0), "ok"),
        ("13.0", (12, 8), "wrong"),
        ("13.0", None, "ok"),
        (None, None, "ok"),
        (None, (12, 8), "wrong"),
        (None, (13, 0), "wrong"),
    ],
)
def test_torch_against_the_driver(
    monkeypatch: pytest.MonkeyPatch, built: str | None, driver: tuple[int, int] | None, state: str
) -> None:
    torch = types.SimpleNamespace(__version__="2.9", version=types.SimpleNamespace(cuda=built))
    fake(monkeypatch, "torch", torch)
    found = gpu._torch(driver)
    assert found.state == state
    assert bool(found.advice) == (state == "wrong")
    assert ("whl/cu126" in found.advice) == (state == "wrong" and driver == (12, 8))


def test_an_old_dali(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, "nvidia.dali", types.SimpleNamespace(__version__="1.53.0"))
    assert gpu._dali().state == "wrong"
    fake(monkeypatch, "nvidia.dali", types.SimpleNamespace(__version__="2.10.0"))
    assert gpu._dali().state == "ok"


def test_small_shared_memory_few_files_few_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    small = types.SimpleNamespace(f_frsize=4096, f_blocks=16384, f_bavail=16384)
    monkeypatch.setattr(os, "statvfs", lambda path: small)
    assert "--shm-size" in machine._shared_memory().advice
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 4096))
    assert machine._open_files().advice == "ulimit -n 4096 before starting"
    monkeypatch.setattr(machine.Path, "read_text", lambda path: "150000 100000")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(16))
    assert machine._cores().state == "wrong"
    assert "only 1.5 at a time" in machine._cores().text


def test_a_missing_gpu_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    found = gpu._gpu(None)
    assert (found.state, found.text) == ("missing", "no NVIDIA driver")
    assert 'device="cpu"' in found.advice


def test_kernels_compile() -> None:
    pytest.importorskip("cupy")
    assert "compiles decode_volume" in gpu._compile()


def test_compiled_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    assert str(machine._compiled()).split() == [
        "compiled",
        "code",
        "ok",
        "cached",
        "in",
        f"{tmp_path}/cache/dali-cr",
    ]
    (tmp_path / "cache").write_text("")
    assert machine._compiled().state == "wrong"
    assert "NUMBA_CACHE_DIR" in machine._compiled().advice


@pytest.mark.parametrize(("library", "message"), [("lz4", "reading is slower"), ("deflate", "is not in isal")])
def test_c_functions_that_wheels_no_longer_have(library: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getattr(machine, library).C_FUNCTION, "exists", lambda: False)
    finding = machine._bricks()
    assert finding.state == "wrong"
    assert message in finding.text
    assert "constraints.txt" in finding.advice
