"""Try the property tests and the damaged files on random input: ``python -m tests.manual.explore --seconds 60``.

What is found is kept as an explicit example, to be fixed and committed: arguments that fail a property test become an
``@example`` above it, files that are read wrongly go to `tests.manual.fuzz.KEPT`, where a test reads them from then on.
A damaged brick store that fails is named by its seed and number, from which `tests.manual.fuzz_stores` makes it again.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CASES = 500
"""Damaged files between two property tests' turns."""


def modules() -> list[Path]:
    """Return the test modules with property tests."""
    return sorted(path for path in (ROOT / "tests").rglob("test_*.py") if has_property_tests(path.read_text()))


def has_property_tests(text: str) -> bool:
    """Tell whether a module's text has a function under ``@given``."""
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    return any(ast.unparse(decorator).startswith("given(") for one in functions for decorator in one.decorator_list)


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a Python module in the project's folder."""
    command = [sys.executable, "-m", *words]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def explore_module(path: Path) -> bool:
    """Try a module's property tests once, on random input; return whether they pass."""
    storage = ROOT / ".hypothesis"
    storage.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=storage) as folder:
        options = ["-q", "-m", "hypothesis and not gpu", "--hypothesis-profile", "explore"]
        done = run("pytest", *options, str(path), HYPOTHESIS_STORAGE_DIRECTORY=folder)
        if done.returncode == 0:
            return True
        print(done.stdout + done.stderr)
        patches = sorted(Path(folder).rglob("*.patch"))
        for patch in patches:
            keep_examples(path, patch)
        if not patches:
            print(f"{path.relative_to(ROOT)}: no example to keep; see the output above")
    return False


def keep_examples(path: Path, patch: Path) -> None:
    """Write the examples of a patch, which Hypothesis made, into the module."""
    applied = subprocess.run(["git", "apply", str(patch)], cwd=ROOT, capture_output=True, text=True, check=False)
    if applied.returncode:
        print(f"the examples could not be written, {applied.stderr.strip()}; add them by hand:\n{patch.read_text()}")
        return
    names = re.compile(r"^from hypothesis import (?=.*\bgiven\b)(?!.*\bexample\b)", re.MULTILINE)
    path.write_text(names.sub("from hypothesis import example, ", path.read_text()))
    run("ruff", "format", "--quiet", str(path))
    print(f"{path.relative_to(ROOT)}: the failing arguments are kept as @example")


FUZZERS = ("tests.manual.fuzz", "tests.manual.fuzz_stores")
"""Modules that try damaged files."""


def explore_files(fuzzer: str, seed: int) -> bool:
    """Try some damaged files; return whether all were read rightly or refused."""
    done = run(fuzzer, "--seed", str(seed), "--count", str(CASES))
    if done.returncode:
        print(done.stdout + done.stderr)
    return done.returncode == 0


def main() -> int:
    """Explore until the time is used; return 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.manual.explore", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("modules", nargs="*", type=Path, help="test modules; all with property tests by default")
    chosen = parser.parse_args()
    end = time.monotonic() + chosen.seconds
    left: list[Path | str] = [path.resolve() for path in chosen.modules] or [*modules(), *FUZZERS]
    random.shuffle(left)
    rounds = found = 0
    for step in itertools.count():
        if not left or time.monotonic() >= end:
            break
        chosen_step = left[step % len(left)]
        rounds += 1
        is_module = isinstance(chosen_step, Path)
        passed = explore_module(chosen_step) if is_module else explore_files(chosen_step, random.getrandbits(63))
        if not passed:
            # The kept example would fail first from now on, and nothing else be tried.
            found += 1
            left.remove(chosen_step)
    print(f"{rounds} rounds of {CASES} damaged files or a module's property tests: {found or 'nothing'} found")
    return int(found > 0)


if __name__ == "__main__":
    raise SystemExit(main())
