"""Test that the code and its documents use standard terms."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("dali_cr", "kernels", "train", "benchmarks", "README.md", "CONTRIBUTING.md")
SUFFIXES = (".py", ".cu", ".cuh", ".md")

TERMS = {
    r"\binflat(e|es|ed|er|ing)\b": "decompress",
    r"\bdisordered\b": "input",
    r"\bheld( at|=)|(?-i:\bHELD\b)": "clamped",
    r"\bknown to be good\b": "Must be valid; not checked",
    r"\bstands? outside\b": "padding value",
    r'"""Refuse ': "Raise ValueError unless",
    r"(?<!\bstandard )\bdeviations?\b": "standard deviation; std",
    r"\bleft out\b": "excluded; dropped",
    r"\bwalls\b": "box faces",
    r"\btaken over\b": "transferred",
    r"\bguess|\bwithout looking\b": "baseline",
    r"\bidling\b": "identity",
    r"\blongest gradient\b": "gradient clipping norm",
    r"\bworkshop\b": "RunQueue",
    r"\b(nobody|anybody|whoever|so many|as far as it goes)\b": "a plain sentence",
}
"""Words to avoid, with the standard term."""

KEPT = {
    "dali_cr/index/values/measure.py": {"deviation"},
    "dali_cr/index/values/statistics.py": {"deviation"},  # key of saved indexes
    "dali_cr/index/corpus/quality.py": {"deviation"},
    "dali_cr/read/normalize.py": {"deviation"},
    "benchmarks/workloads/workload.py": {"deviation"},
    "train/report/keys.py": {"guess"},  # keys of files of version 0.1.0
    "train/tasks/localize.py": {"guess"},  # key of saved weights
}
"""Words that files keep, because a saved file or a quoted paper has them."""


def tracked_files() -> list[str]:
    """Return the tracked source and documentation files of the folders."""
    command = ["git", "-C", str(ROOT), "ls-files", "--", *FOLDERS]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode:  # in an sdist
        return [str(path.relative_to(ROOT)) for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*"))]
    return listed.stdout.split()


def find_words(text: str) -> list[tuple[str, str]]:
    """Return words to avoid and the standard terms; a word may be divided between two lines."""
    prose = re.sub(r"\s+(?:(?:#|//)\s+)?", " ", text)
    return [(found[0], term) for words, term in TERMS.items() for found in re.finditer(words, prose, re.IGNORECASE)]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('"""Refuse a wrong shape."""', 1),
        ("# the standard\n# deviation", 0),
        ("// mean and\n// deviation", 1),
        ("sources held at the edges of held-out cases", 1),
        ("left\n    out", 1),
    ],
)
def test_words_are_found(text: str, count: int) -> None:
    assert len(find_words(text)) == count


def test_terms_are_standard() -> None:
    files = [name for name in tracked_files() if name.endswith(SUFFIXES) and (ROOT / name).is_file()]
    assert len(files) > 100
    problems = [
        f"{name}: {word!r}; write {term}"
        for name in files
        for word, term in find_words((ROOT / name).read_text())
        if word not in KEPT.get(name, ())
    ]
    assert not problems, "\n".join(problems)
