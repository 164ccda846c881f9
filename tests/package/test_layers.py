"""Who may import whom: layers one way, no cycle, folders and modules of a size that can be read."""

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
        ("result", "study"),
        ("finetune", "pretrain", "predict", "overlay", "report"),
        ("tasks", "methods", "splits", "export"),
        ("nnunet",),
        ("data", "networks"),
        ("start",),
        ("run",),
        ("optim",),
        ("output",),
    ),
}
"""Rooms and top-level modules from the highest layer to the lowest; a layer imports only from those below it."""

ACROSS = {"dali_cr": {"dali_cr"}, "train": {"train", "dali_cr"}, "benchmarks": set(CODE)}
"""From a top-level folder to those that it may import."""


def name_of(path: Path) -> str:
    """Return a file's dotted name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


FILES = {name_of(path): path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))}


def resolve(node: ast.ImportFrom, name: str) -> str:
    """Return the absolute name of what an import is from."""
    if not node.level:
        return node.module or ""
    base = name.split(".")[: -node.level]
    return ".".join([*base, *([node.module] if node.module else [])])


def imports(name: str) -> Iterator[str]:
    """Yield the modules of the project that a module imports, anywhere in its file."""
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


GRAPH = {name: set(imports(name)) for name in FILES}


def room(name: str) -> str:
    """Return the part of a module's name that has a layer: its room, or its own name at the top level."""
    return name.split(".")[1]


def layer(name: str) -> int:
    """Return the number of a module's layer, 0 for the highest."""
    layers = LAYERS[name.split(".")[0]]
    found = [number for number, members in enumerate(layers) if room(name) in members]
    assert found, f"{name} is in no layer: add its room to LAYERS"
    return found[0]


def test_the_graph_is_seen() -> None:
    assert "dali_cr.pipeline.graph" in GRAPH["dali_cr.loader"]
    assert "train.run.config" in GRAPH["train.methods.config"]
    assert sum(map(len, GRAPH.values())) > 300


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_module_imports_only_from_lower_layers(name: str) -> None:
    own = name.split(".")[0]
    for target in GRAPH[name]:
        other = target.split(".")[0]
        assert other in ACROSS[own], f"{name} imports {target}"
        if own != other or own not in LAYERS or room(name) == room(target):
            continue
        assert layer(name) < layer(target), f"{name} imports {target}, which is not in a lower layer"


def test_methods_do_not_import_one_another() -> None:
    for name, targets in GRAPH.items():
        if name.startswith("train.methods.") and not name.startswith("train.methods.pcrlv2."):
            assert not {target for target in targets if target.startswith("train.methods.pcrlv2.")}, name


def test_no_cycle() -> None:
    done: set[str] = set()

    def follow(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a cycle: {' -> '.join([*path[path.index(name) :], name])}"
        if name not in done:
            for target in GRAPH[name]:
                follow(target, (*path, name))
            done.add(name)

    for name in GRAPH:
        follow(name, ())


def test_no_room_has_too_many_modules() -> None:
    for folder in {path.parent for path in FILES.values()}:
        modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= MOST_MODULES, f"{folder.relative_to(ROOT)}: {len(modules)} modules"


@pytest.mark.parametrize("name", sorted(FILES))
def test_no_module_is_too_long(name: str) -> None:
    most = 500 if name.count(".") == 1 and name.startswith("train.") else MOST_LINES
    assert len(FILES[name].read_text().splitlines()) <= most


def test_a_room_is_described_in_its_init_and_only_there() -> None:
    for name, path in FILES.items():
        if path.name == "__init__.py" and name != "dali_cr.__init__":
            (only,) = ast.parse(path.read_text()).body
            assert isinstance(only, ast.Expr), f"{name} holds more than its docstring"
    rooms = {path.parent for path in FILES.values()} - {ROOT / folder for folder in CODE}
    assert all((folder / "__init__.py").is_file() for folder in rooms)
