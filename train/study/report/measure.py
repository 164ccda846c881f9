"""Measurement of a finished study: scores, probes, baselines, effects and descriptions."""

from __future__ import annotations

from ..effects import compare, gather
from ..probe.baselines import finetuning_baselines
from ..probe.frozen import probe_study
from ..running.jobs import RunQueue
from ..running.phases import Done
from .curves import learning_curves
from .files import describe_pretraining, describe_runs
from .results import Results


def measure(queue: RunQueue, done: Done) -> Results:
    """Return the results of a finished study."""
    study = queue.study
    groups, frozen = gather(queue, done.tested), probe_study(queue)
    return Results(
        study=study,
        groups=groups,
        frozen=frozen,
        baselines=finetuning_baselines(queue, groups),
        effects=compare(study, groups, frozen),
        curves=learning_curves(queue, groups),
        ran=describe_runs(queue, [*done.before, *done.tuned, *done.tested]),
        files=sorted(path.stem for path in (queue.folder / "files").glob("*.toml")),
        pretraining=describe_pretraining(queue, done.before),
        rates=done.rates,
    )
