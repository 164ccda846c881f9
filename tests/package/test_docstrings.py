"""Test the examples in docstrings of the library and of training."""

import doctest
import importlib
from pathlib import Path

import pytest

import dali_cr

ROOT = Path(__file__).resolve().parents[2]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for folder in ("dali_cr", "train")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if ">>>" in path.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), extraglobs={"dali_cr": dali_cr})
    assert result.failed == 0
    assert result.attempted > 0


def test_there_are_examples() -> None:
    for package, least in (("dali_cr.", 13), ("train.", 25)):
        assert sum(name.startswith(package) for name in MODULES) >= least
