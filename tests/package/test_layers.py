"""Test the structure of the code: layers, no import cycles, sizes of folders and modules."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = ("dali_cr", "train", "benchmarks")
MOST_MODULES, MOST_LINES = 12, 420

LAYERS = {
    "dali_cr": (
        ("__main__",),
        ("tools",),
        ("__init__",),
        ("loader", "fn"),
        ("pipeline",),
        ("read", "plan"),
        ("recipe",),
        ("index", "ops"),
        ("volume", "rng", "extras"),
        ("system",),
    ),
    "train": (
        ("recipes",),
        ("result", "study", "baseline"),
        ("finetune", "pretrain", "predict", "overlay", "report", "splits", "linear"),
        ("tasks", "methods", "export"),
        ("nnunet",),
        ("data", "networks"),
        ("start",),
        ("run",),
        ("optim",),
        ("output",),
    ),
}
"""Folders and top-level modules from the highest layer to the lowest; a layer imports only from lower ones."""

ACROSS = {"dali_cr": {"dali_cr"}, "train": {"train", "dali_cr"}, "benchmarks": set(CODE)}
"""Top-level folders that each top-level folder may import."""


def name_of(path: Path) -> str:
    """Return a file's dotted name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


FILES = {name_of(path): path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))}


def resolve(node: ast.ImportFrom, name: str) -> str:
    """Return the absolute name of the module in `from … import`."""
    if not node.level:
        return node.module or ""
    base = name.split(".")[: -node.level]
    return ".".join([*base, *([node.module] if node.module else [])])


def imports(name: str) -> Iterator[str]:
    """Yield the project's modules that a module imports, anywhere in its file."""
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = resolve(node, name)
            found = [f"{base}.{alias.name}" for alias in node.names]
            found = [one if one in FILES or f"{one}.__init__" in FILES else base for one in found]
        else:
            continue
        for one in found:
            target = f"{one}.__init__" if f"{one}.__init__" in FILES else one
            if target in FILES and target != name:
                yield target


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    """Return the modules that each module imports."""
    return {name: set(imports(name)) for name in FILES}


def room(name: str) -> str:
    """Return the folder of a module, or its name at the top level, as listed in `LAYERS`."""
    return name.split(".")[1]


def layer(name: str) -> int:
    """Return the number of a module's layer, 0 for the highest."""
    layers = LAYERS[name.split(".")[0]]
    found = [number for number, members in enumerate(layers) if room(name) in members]
    assert found, f"{name} is in no layer: add its room to LAYERS"
    return found[0]


def test_imports_are_found(graph: dict[str, set[str]]) -> None:
    assert "dali_cr.pipeline.recipes" in graph["dali_cr.loader"]
    assert "train.run.config.data" in graph["train.methods.config"]
    assert sum(map(len, graph.values())) > 300


def test_modules_import_only_from_lower_layers(graph: dict[str, set[str]]) -> None:
    for name, targets in graph.items():
        own = name.split(".")[0]
        for target in targets:
            other = target.split(".")[0]
            assert other in ACROSS[own], f"{name} imports {target}"
            if own != other or own not in LAYERS or room(name) == room(target):
                continue
            assert layer(name) < layer(target), f"{name} imports {target}, which is not in a lower layer"


def test_methods_do_not_import_one_another(graph: dict[str, set[str]]) -> None:
    for name, targets in graph.items():
        if name.startswith("train.methods.") and not name.startswith("train.methods.pcrlv2."):
            assert not {target for target in targets if target.startswith("train.methods.pcrlv2.")}, name


def test_nothing_imports_recipes_and_recipes_do_not_import_one_another(graph: dict[str, set[str]]) -> None:
    for name, targets in graph.items():
        for target in targets:
            if target.startswith("train.recipes."):
                assert name.startswith("train.recipes."), f"{name} imports {target}"
                assert target.count(".") == 2 or target.rpartition(".")[0] == name.rpartition(".")[0], name


def test_no_cycle(graph: dict[str, set[str]]) -> None:
    done: set[str] = set()

    def follow(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a cycle: {' -> '.join([*path[path.index(name) :], name])}"
        if name not in done:
            for target in graph[name]:
                follow(target, (*path, name))
            done.add(name)

    for name in graph:
        follow(name, ())


def test_no_folder_has_too_many_modules() -> None:
    for folder in {path.parent for path in FILES.values()}:
        modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= MOST_MODULES, f"{folder.relative_to(ROOT)}: {len(modules)} modules"


def test_no_module_is_too_long() -> None:
    lines = {name: len(path.read_text().splitlines()) for name, path in FILES.items()}
    most = {name: 500 if name.count(".") == 1 and name.startswith("train.") else MOST_LINES for name in FILES}
    assert {name: count for name, count in lines.items() if count > most[name]} == {}


def test_each_folder_has_a_docstring_in_its_init_and_no_code() -> None:
    for name, path in FILES.items():
        if path.name == "__init__.py" and name != "dali_cr.__init__":
            (only,) = ast.parse(path.read_text()).body
            assert isinstance(only, ast.Expr), f"{name} holds more than its docstring"
    rooms = {path.parent for path in FILES.values()} - {ROOT / folder for folder in CODE}
    assert all((folder / "__init__.py").is_file() for folder in rooms)
