"""Run property tests and damaged files with random inputs: ``python -m tests.manual.explore --seconds 60``.

Failures are saved as examples, to be fixed and committed: arguments that fail a property test become an ``@example``,
and files that are read wrongly are copied to `tests.manual.fuzz.KEPT`, which a test reads. A failing brick store is
reported by seed and number, from which `tests.manual.fuzz_stores` creates it again.
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
"""Number of damaged files between two rounds of property tests."""


def modules() -> list[Path]:
    """Return the test modules with property tests."""
    return sorted(path for path in (ROOT / "tests").rglob("test_*.py") if has_property_tests(path.read_text()))


def has_property_tests(text: str) -> bool:
    """Return whether a module has a function under ``@given``."""
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    return any(ast.unparse(decorator).startswith("given(") for one in functions for decorator in one.decorator_list)


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a Python module in the project's folder."""
    command = [sys.executable, "-m", *words]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def explore_module(path: Path) -> bool:
    """Run a module's property tests once with random inputs; return whether they pass."""
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
    """Apply Hypothesis' patch with examples to the module."""
    applied = subprocess.run(["git", "apply", str(patch)], cwd=ROOT, capture_output=True, text=True, check=False)
    if applied.returncode:
        print(f"the examples could not be written, {applied.stderr.strip()}; add them by hand:\n{patch.read_text()}")
        return
    names = re.compile(r"^from hypothesis import (?=.*\bgiven\b)(?!.*\bexample\b)", re.MULTILINE)
    path.write_text(names.sub("from hypothesis import example, ", path.read_text()))
    run("ruff", "format", "--quiet", str(path))
    print(f"{path.relative_to(ROOT)}: the failing arguments are kept as @example")


FUZZERS = ("tests.manual.fuzz", "tests.manual.fuzz_stores")
"""Modules that read damaged files."""


def explore_files(fuzzer: str, seed: int) -> bool:
    """Read some damaged files; return whether all were read correctly or refused."""
    done = run(fuzzer, "--seed", str(seed), "--count", str(CASES))
    if done.returncode:
        print(done.stdout + done.stderr)
    return done.returncode == 0


def main() -> int:
    """Run tests until the time is over; return 1 after a failure."""
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
            # From now on the saved example would fail first, and no other input would be tested.
            found += 1
            left.remove(chosen_step)
    print(f"{rounds} rounds of {CASES} damaged files or a module's property tests: {found or 'nothing'} found")
    return int(found > 0)


if __name__ == "__main__":
    raise SystemExit(main())
