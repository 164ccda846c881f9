"""Several processes: the same weights as with one, the same bytes when resumed, and errors in all processes."""

import json
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from dali_cr.tools.phantom_files import write_phantoms
from tests.helpers.prefork import ENVIRONMENT, ROOT, start_parent
from tests.helpers.runs import metrics, run_ranks, run_to_its_end, steps_done, timeless
from train.run import ranks

STEPS = 8
LINE = f"--crop 16 16 16 --iterations 6 --patch 2 4 --batch-size 4 --steps {STEPS} --lr 3e-3 --threads 1 --device cpu"
EVERY = "--checkpoint-every 3 --log-every 1 --evaluate-every 4 --evaluate-samples 3"
VIEWS = "--recipe pcrlv2 --sizes 16 16 16 16 20 20 --local-crop 8 8 8 --local-sizes 8 8 8 --locals 2 --filters 2"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_phantoms(folder, count=5, shape=(20, 24, 22))
    return folder / "images"


def command(data, out, words):
    words = f"-m train.pretrain {LINE} {EVERY} {words}".split()
    return [sys.executable, *words, "--data", str(data), "--out", str(out)]


def under_torchrun(data, out, words):
    python, *words = command(data, out, words)
    return [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words]


def test_two_processes_train_what_one_does(data, tmp_path):
    # Two batches of two samples make the step that one of four does.
    words = "--filters 4 --batch-size 2 --accumulate 2"
    ranks = run_ranks(command(data, tmp_path / "2", words))
    for done in (run_to_its_end(command(data, tmp_path / "1", "--filters 4")), ranks[0]):
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1])["steps"] == STEPS
        assert done.stdout.count('"restoration_gain"') == 1
    # The first speaks for all.
    assert (ranks[1].returncode, ranks[1].stdout) == (0, ""), ranks[1].stderr
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("1", "2"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-5)
    for name in ("loss", "identity_loss", "restoration_gain"):
        wanted, got = ([line[name] for line in metrics(tmp_path / folder) if name in line] for folder in ("1", "2"))
        assert got == pytest.approx(wanted, rel=1e-3)


def test_two_processes_that_were_stopped_and_resumed_have_the_same_bytes(data, tmp_path):
    """With unused heads: PCRLv2 draws other levels in each step."""
    for whole in run_ranks(command(data, tmp_path / "whole", VIEWS)):
        assert whole.returncode == 0, whole.stderr
    out, started = tmp_path / "stopped", under_torchrun(data, tmp_path / "stopped", VIEWS)
    with subprocess.Popen(started, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE) as running:
        while steps_done(out) < 2 and running.poll() is None:
            time.sleep(0.01)
        running.send_signal(signal.SIGTERM)
        errors = running.communicate(timeout=900)[1].decode()
    # Each has heard the signal at another step; they agreed on one.
    assert "stopped by SIGTERM" in errors
    kept = torch.load(out / "checkpoint.pt", weights_only=True)
    assert 2 <= kept["step"] == steps_done(out) < STEPS
    for resumed in run_ranks(command(data, out, f"{VIEWS} --resume")):
        assert resumed.returncode == 0, resumed.stderr
    for name in ("model.safetensors", "encoder.safetensors"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), f"after step {kept['step']}"
    assert timeless(out) == timeless(tmp_path / "whole")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--filters 4 --batch-size 3", "--batch-size: expected a multiple of the 2 processes, got 3"),
        (f"{VIEWS} --batch-size 2", "--batch-size: expected at least 2 samples for each of the 2 processes"),
    ],
)
def test_a_batch_that_cannot_be_shared_is_refused_by_all(data, tmp_path, words, says):
    first, second = run_ranks(command(data, tmp_path / "run", words))
    assert first.returncode == second.returncode == 2
    assert says in first.stderr
    assert "another process raised an error" in second.stderr
    assert "train/pretrain.py" not in first.stderr + second.stderr
    assert not (tmp_path / "run").exists()


def test_one_process_needs_no_others():
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.grad = torch.arange(3.0)
    ranks.average_gradients([parameter])
    assert parameter.grad.tolist() == [0, 1, 2]
    assert (ranks.count(), ranks.is_first(), ranks.share(3)) == (1, True, 3)
    assert (ranks.largest(3), ranks.mean([1.0, 2.0])) == (3, [1.0, 2.0])
    assert ranks.first_then_others(lambda other: other) is False


PROGRAM = """
import sys, torch, torch.distributed as dist, dali_cr
from types import SimpleNamespace
from train.run.computation import ON_CPU
from train.run.loop import Loop
from train.run.progress import Progress

store, rank, what = sys.argv[1], int(sys.argv[2]), sys.argv[3]
dist.init_process_group('gloo', init_method='file://' + store, rank=rank, world_size=2)

class Record:
    measured = set()
    def write(self, *_, **__): pass
    def sync(self): pass

class Run:
    config = SimpleNamespace(steps=9, step_samples=2, accumulate=1, lr=0.1, warmup=0, clip=0)
    config.schedule_options = {'schedule': 'cosine'}
    config.checkpoint_every, config.log_every, config.evaluation_interval = 4, 2, 100
    device, state, computation = torch.device('cpu'), None, ON_CPU
    loader = SimpleNamespace(skipped={}, next_sample=0)
    average, frozen, last_step_learns = None, None, True
    module = torch.nn.Identity()
    weight = torch.nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([weight])

    def stream(self):
        for number in range(9):
            if (rank, number, what) == (1, 2, 'file'):
                raise dali_cr.VolumeError('b.nii', 'gone')
            yield {'sample': torch.tensor([number])}

    def losses(self, step, _):
        return {'loss': self.weight * float('nan' if (rank, step, what) == (1, 6, 'loss') else 1)}

    def measure(self, *_): pass
    def save(self, progress): print('saved', progress.step)

try:
    Loop(Run(), Record() if rank == 0 else None, Progress()).take_steps()
except (dali_cr.VolumeError, FloatingPointError) as error:
    print(str(error).split('. ')[0])
"""


@pytest.mark.parametrize(
    ("what", "first", "second"),
    [
        ("file", ["saved 2", "another process: could not read a volume; see its output"], ["b.nii: gone"]),
        (
            "loss",
            ["saved 4", "the loss of another process is not finite"],
            ["the loss became nan at step 6, with the samples [5]"],
        ),
    ],
)
def test_what_goes_wrong_in_one_process_ends_all(tmp_path, what, first, second):
    lines = [[sys.executable, "-c", PROGRAM, tmp_path / "store", rank, what] for rank in (0, 1)]
    printed = [done.stdout.splitlines() for done in start_parent().run_together(lines, [{}, {}])]
    assert printed == [first, second]
