"""Test the examples in docstrings."""

import doctest
import importlib
import pkgutil

import pytest

import dali_cr

MODULES = ["dali_cr"] + [
    module.name
    for module in pkgutil.walk_packages(dali_cr.__path__, "dali_cr.")
    if not module.name.endswith("__main__") and "_cuda" not in module.name
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), extraglobs={"dali_cr": dali_cr})
    assert result.failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(found) >= 13
