"""The loops that are tested are the loops that the library's guide prints, and the README's example runs."""

import re
from pathlib import Path

import pytest
import torch

from dali_cr.tools.phantom_files import write_phantoms

ROOT = Path(__file__).resolve().parents[2]


def python_blocks(name: str) -> list[str]:
    """Return the Python of a document."""
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)


def test_the_guide_prints_what_is_tested() -> None:
    printed = python_blocks("dali_cr/README.md")
    scripts = [path for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("test_")]
    assert len(scripts) == 6
    for script in scripts:
        assert script.read_text() in printed, f"{script.name} is not printed as it is"
        assert len(script.read_text().splitlines()) <= 22


def test_the_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = python_blocks("README.md")
    assert len([line for line in example.splitlines() if line.strip()]) == 12
    for there, here in (('"cuda"', '"cpu"'), ("(64, 64, 64)", "(16, 16, 16)"), ("(4, 16)", "(2, 4)")):
        assert there in example
        example = example.replace(there, here)
    write_phantoms(tmp_path, count=3, shape=(20, 22, 24))
    (tmp_path / "images").rename(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    names["loader"].close()  # type: ignore[attr-defined]
    loss = names["loss"]
    assert isinstance(loss, torch.Tensor)
    assert loss.isfinite()
