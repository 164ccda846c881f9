"""Compiled steps and channels-last tensors: the same training up to rounding, and eager if compiling fails."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.helpers.finetuning import classify, run_pretraining, segment
from tests.helpers.runs import stop_at
from train import finetune, pretrain
from train.methods.pcrlv2.config import Pcrlv2Config
from train.methods.pcrlv2.method import Pcrlv2
from train.networks.build import build_network
from train.run import computation
from train.run.checkpoint import restore_state
from train.run.computation import ON_CPU, ON_GPU, Computation, choose_computation

pytestmark = pytest.mark.usefixtures("one_thread", "fresh_compiler")

CPU = torch.device("cpu")
COMPILED = Computation(compiled=True, memory_format="channels-last")


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    yield
    torch.compiler.reset()
    torch.compiler.set_stance("default")


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Compile with AOTAutograd only, and record a name for each graph."""
    from torch._dynamo.backends.debugging import aot_eager

    found: list[str] = []

    def compile(graph: torch.fx.GraphModule, inputs: list[torch.Tensor], **options: Any) -> Any:
        found.append(str(len(found)))
        return aot_eager(graph, inputs, **options)

    monkeypatch.setattr(computation, "BACKEND", compile)
    return found


def refuse(*_: Any) -> None:
    raise RuntimeError("no compiler here\nand more")


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


def test_what_auto_means() -> None:
    assert Computation(compiled=False, memory_format="contiguous") == ON_CPU
    assert choose_computation(CPU, "auto", "auto") == ON_CPU
    assert choose_computation(torch.device("cuda"), "auto", "auto") == ON_GPU
    assert choose_computation(CPU, "on", "channels-last") == COMPILED
    assert choose_computation(torch.device("cuda"), "off", "contiguous") == ON_CPU


def test_a_compiled_run_trains_as_an_eager_one_and_resumes_it(
    data: Path, tmp_path: Path, graphs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    eager: dict[str, Any] = {"steps": 4, "batch_size": 2}
    compiled = {**eager, "compile": "on", "memory_format": "channels-last"}
    run_pretraining(data, tmp_path / "eager", **eager)
    assert not graphs
    run_pretraining(data, tmp_path / "compiled", **compiled)
    assert len(graphs) == 1  # what is measured is not compiled
    with monkeypatch.context() as patch, pytest.raises(pretrain.Stopped):
        stop_at(patch, 2)
        run_pretraining(data, tmp_path / "mixed", **eager)
    run_pretraining(data, tmp_path / "mixed", **compiled, resume=True)
    wanted = weights(tmp_path / "eager")
    for name in ("compiled", "mixed"):
        got = weights(tmp_path / name)
        assert list(got) == list(wanted)
        for key, tensor in wanted.items():
            torch.testing.assert_close(got[key], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("make", [segment, classify])
def test_fine_tuning_is_compiled_too(data: Path, tmp_path: Path, graphs: list[str], make: Any) -> None:
    finetune.main(make(data, tmp_path / "eager"))
    finetune.main(make(data, tmp_path / "compiled", compile="on"))
    assert len(graphs) == 1
    wanted, got = weights(tmp_path / "eager"), weights(tmp_path / "compiled")
    for key, tensor in wanted.items():
        torch.testing.assert_close(got[key], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # of what torch reads itself, where it is silent
def test_levels_of_pcrlv2_are_compiled_once_for_each_size(tmp_path: Path, graphs: list[str]) -> None:
    """Modules are compiled once for any drawn levels: encoder and three decoder levels, global and local views."""
    small: dict[str, Any] = {"crop": (16, 16, 16), "sizes": ((16, 16, 16),), "local_sizes": ((8, 8, 8),), "filters": 2}
    config = Pcrlv2Config(data=(tmp_path,), out=tmp_path, local_crop=(8, 8, 8), locals=2, steps=30, patch=(2,), **small)
    method = Pcrlv2(config, 1)
    names = list(method.module.state_dict())
    COMPILED.compile(method.compiled())
    COMPILED.place(method.module, CPU, 3)
    batch = {"view": torch.randn(3, 2, 1, 16, 16, 16), "target": torch.rand(3, 2, 1, 16, 16, 16)}
    for step in range(1, 31):
        method.losses({**batch, "local": torch.randn(3, 2, 1, 8, 8, 8)}, step)
    assert len(graphs) == 2 * 4
    assert list(method.module.state_dict()) == names


@pytest.mark.parametrize(
    ("name", "dims"),
    [("dynunet", 3), ("dynunet", 2), ("sononet64", 3), ("locnet", 3), ("nsunet", 3), ("nsunet-skips", 3)],
)
def test_every_network_is_one_graph(name: str, dims: int, graphs: list[str]) -> None:
    crop = (16 if dims == 3 else 1, 16, 16) if name != "locnet" else (32, 32, 32)
    module = build_network(name, 1, crop, filters=2, dims=dims).module
    image = torch.randn(2, 1, *crop[3 - dims :])
    wanted = module(image)
    COMPILED.compile([module])
    module = COMPILED.place(module, CPU, dims)
    torch.testing.assert_close(module(image), wanted, rtol=1e-3, atol=1e-3)
    assert len(graphs) == 1


@pytest.mark.parametrize("recipe", ["restoration", "pcrlv2"])
def test_where_compiling_fails_one_line_says_so_and_the_bits_are_those_of_an_eager_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], recipe: str
) -> None:
    monkeypatch.setattr(computation, "BACKEND", refuse)
    line = "--crop 16 16 16 --iterations 4 --patch 2 4 --batch-size 2 --filters 2 --steps 2 --device cpu --threads 1"
    if recipe == "pcrlv2":
        line += " --sizes 16 16 16 --local-crop 8 8 8 --local-sizes 8 8 8 --locals 2 --lr 0.1"
    for name in ("off", "on"):
        words = f"{line} --recipe {recipe} --evaluate-samples 2 --compile {name} --out {tmp_path / name}".split()
        assert pretrain.command_line([*words, "--data", str(data / "images")]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("compile ")]
    assert lines == ["compile    failed, training continues eagerly: RuntimeError: no compiler here"]
    assert (tmp_path / "on/model.safetensors").read_bytes() == (tmp_path / "off/model.safetensors").read_bytes()


def test_errors_of_a_compiled_network_are_no_failure_to_compile() -> None:
    def fail() -> None:
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        COMPILED.call(fail)


def test_an_optimizers_state_takes_the_layout_of_the_weights() -> None:
    module = nn.Conv3d(2, 4, 3)
    state = {"step": 1, "random": [torch.get_rng_state()], "total": {}}
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.randn(1, 2, 4, 4, 4)).sum().backward()
    optimizer.step()
    kept = {**state, "optimizer": optimizer.state_dict()}
    COMPILED.place(module, CPU, 3)
    other = torch.optim.AdamW(module.parameters())
    restore_state(kept, other, None, CPU)
    average, wanted = other.state[module.weight]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"]
    assert average.stride() == module.weight.stride() != wanted.stride()
    assert torch.equal(average, wanted)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of what Inductor imports
@pytest.mark.skipif(not shutil.which("c++"), reason="Inductor needs a C++ compiler, and there is no c++")
def test_inductor_makes_the_same_of_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.InstanceNorm3d(4), nn.LeakyReLU())

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.layers(image)
            return out

    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    # Processes that compile at a time and precompiled headers do not pay for one kernel.
    for name, value in {"compile_threads": 1, "cpp_cache_precompile_headers": False}.items():
        if hasattr(config, name):
            monkeypatch.setattr(config, name, value)
    module, image = COMPILED.place(Block(), CPU, 3), torch.randn(2, 1, 8, 8, 8)
    wanted = module(image)
    COMPILED.compile([module])
    torch.testing.assert_close(COMPILED.call(lambda: module(image)), wanted, rtol=1e-3, atol=1e-4)
    assert any(tmp_path.rglob("*.cpp"))
