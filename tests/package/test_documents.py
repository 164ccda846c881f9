"""The documents: links lead somewhere, commands can be parsed, the README's table is that of the results."""

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

import dali_cr
from benchmarks import breakdown, kernels, loader, training
from benchmarks.measure.results import read_results
from benchmarks.report import __main__ as report
from benchmarks.report.summary import summary
from dali_cr.__main__ import _parser
from docs import build
from tests.package.test_packaging import PROJECT, ROOT
from train import baseline, export, finetune, overlay, predict, pretrain, result, splits
from train.data import medmnist
from train.start.command import read_arguments
from train.study import __main__ as study
from train.study import carry

DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "*/README.md", "benchmarks/results/*.md", "train/studies/*/*.md")
    for path in ROOT.glob(pattern)
)
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
SETTINGS = {
    "baseline": baseline.BaselineConfig,
    "export": export.ExportConfig,
    "overlay": overlay.OverlayConfig,
    "predict": predict.PredictConfig,
    "result": result.ResultConfig,
    "splits": splits.SplitsConfig,
    "study": study.StudyConfig,
    "study.carry": carry.CarryConfig,
    "data.medmnist": medmnist.MedmnistConfig,
}
PARSERS = {
    "loader": lambda rest: breakdown.parse(rest[1:]) if rest[:1] == ["--breakdown"] else loader.parse(rest),
    "kernels": kernels.parse,
    "training": training.parse,
}


def prose(text: str) -> str:
    """Return a document without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """Return what a link to a heading of a document may end on, as GitHub names them."""
    headings = re.findall(r"^#+ +(.+?) *$", prose(path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(path: Path) -> Iterator[str]:
    """Yield the targets of a document's links and pictures that are not on the web."""
    text = re.sub(r"`[^`\n]*`", "", prose(path.read_text()))
    yield from (link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", link))


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    for link in links(ROOT / name):
        place, _, anchor = unquote(link).partition("#")
        target = (ROOT / name).parent / place if place else ROOT / name
        assert target.exists(), f"{name}: {link}"
        assert not anchor or anchor in anchors(target), f"{name}: {link}"


def test_links_are_found() -> None:
    assert "train/README.md#pcrlv2" in set(links(ROOT / "README.md"))
    assert {"pcrlv2", "the-picture-of-boxes"} <= anchors(ROOT / "train" / "README.md")


def commands(text: str) -> list[list[str]]:
    """Return the words of the commands of this project in a document's blocks of code."""
    blocks = "".join(re.findall(r"^```(?:bash|console)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    lines = blocks.replace("\\\n", " ").splitlines()
    ours = r"(?:\$ )?((?:make|dali-cr|python -m (?:dali_cr|train|benchmarks|tests)\b).*)"
    return [shlex.split(found[1], comments=True) for line in lines if (found := re.fullmatch(ours, line))]


def parse(words: list[str]) -> object:
    """Read a command's words as the command would; SystemExit or ValueError where it would refuse them."""
    if words[0] == "make":
        targets = re.findall(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
        return None
    package, _, name = words[2].partition(".") if words[0] == "python" else ("dali-cr", "", words[1])
    rest = words[3:] if words[0] == "python" else words[2:]
    if package in ("benchmarks", "tests"):
        assert (ROOT / package / f"{name.replace('.', '/')}.py").exists() or (ROOT / package / name).is_dir()
        return PARSERS[name](rest) if name in PARSERS else None
    if name == "finetune":
        return read_arguments(finetune.TASKS[rest[0]], name, rest[1:])
    if name == "pretrain":
        return pretrain.read_settings([*rest, "--data", "data/"] if "--resume" in rest else rest)
    if name in SETTINGS:
        return read_arguments(SETTINGS[name], name, rest)
    return _parser().parse_args([name, *rest] if name else rest)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_can_be_parsed(name: str) -> None:
    for words in commands((ROOT / name).read_text()):
        try:
            parse(words)
        except (SystemExit, ValueError) as error:
            raise AssertionError(f"{name}: {shlex.join(words)}: {error}") from error


def test_commands_are_found_and_wrong_ones_noticed() -> None:
    found = commands((ROOT / "train" / "README.md").read_text())
    assert len(found) > 20
    assert ["dali-cr", "pretrain", "--out", "runs/first", "--resume"] in found
    for wrong in ("dali-cr splits data/ --into a.json", "dali-cr scan", "dali-cr finetune segment --data x/ --out y/"):
        with pytest.raises(SystemExit):
            parse(wrong.split())


def names(text: str) -> set[str]:
    """Return the dotted names of this project in a document or a module."""
    return set(re.findall(r"`((?:dali_cr|train|benchmarks|tests)(?:\.\w+)+)`", text)) - {"train.py"}


def exists(name: str) -> bool:
    """Return whether a dotted name is a module, or occurs in the module or class that it belongs to."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:count])
        module = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if path.is_dir() or module.exists():
            text = module.read_text() if module.exists() else ""
            return all(re.search(rf"\b{part}\b", text) for part in parts[count : count + 1])
    return False


def test_every_module_and_function_in_the_text_exists() -> None:
    modules = (path for folder in ("dali_cr", "train", "benchmarks", "docs") for path in (ROOT / folder).rglob("*.py"))
    paths = [*modules, *(path for path in DOCUMENTS if "results" not in path.parts and path.stem != "CHANGELOG")]
    found = {(path.relative_to(ROOT).as_posix(), name) for path in paths for name in names(path.read_text())}
    assert ("dali_cr/recipe/views.py", "dali_cr.ops.jitter.jitter_ref") in found
    installed = {"dali_cr.train"}
    assert not {(path, name) for path, name in found if name not in installed and not exists(name)}
    assert not exists("dali_cr.ops.record.Rescale")
    assert not exists("dali_cr.ops.contrast.jitter_ref")


def test_the_readme_has_the_table_of_the_results() -> None:
    text = summary(report.newest(read_results()))
    assert f"<!-- benchmarks -->\n\n{text}\n<!-- /benchmarks -->" in (ROOT / "README.md").read_text(), (
        "expected the newest results; run python -m benchmarks.report"
    )


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_a_front_page_is_short(name: str) -> None:
    assert len((ROOT / name).read_text().splitlines()) <= 150


def test_the_citation_is_of_this_version() -> None:
    text = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {dali_cr.__version__}\n" in text
    assert [f"\n  - name: {author['name']}\n" in text for author in PROJECT["authors"]] == [True]


def test_the_reference_is_of_modules_that_there_are() -> None:
    assert all(importlib.import_module(name).__doc__ for name in build.MODULES)
    with pytest.raises(SystemExit):
        build.main(["--help"])
    assert build.as_markdown("A.\n\n::\n\n    b\n\n=== ==\nc   d\n=== ==\n") == (
        "A.\n\n\n    b\n\n```\n=== ==\nc   d\n=== ==\n```\n"
    )
