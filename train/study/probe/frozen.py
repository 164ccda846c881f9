"""Accuracy of linear probes: ridge regression on frozen features of few labelled cases, over many draws of them.

Features are computed for each pre-training run; untrained encoders have as many seeds. Draws of labelled cases are the
same for all. The baselines know the same cases: the most frequent class among them, and ridge regression on the
principal components of the images of the whole training part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..declared import Probe
from ..running.jobs import RunQueue
from ..runs import probing, single_label_tasks
from .components import predict_classes, reduce
from .features import Encoders, Matrix, Probed

COMPONENTS = 60
"""Principal components of the linear baseline (project choice)."""

MAJORITY, LINEAR = "most frequent class", f"PCA-{COMPONENTS} + ridge"
"""Names of the baselines in tables."""


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """Results of a probe: one initialisation or baseline with one label budget."""

    task: str
    init: str
    budget: int
    pretrain_seeds: tuple[int, ...]
    """Empty for a baseline."""
    cases: tuple[str, ...]
    correct: Matrix
    """1 or 0 for each (pre-training seed, draw, test case); baselines have a single seed."""

    @property
    def accuracies(self) -> Matrix:
        """Accuracy for each (pre-training seed, draw)."""
        return np.asarray(self.correct.mean(2))


def draw_labelled(targets: Matrix, count: int, draws: int, seed: int) -> list[npt.NDArray[np.int64]]:
    """Draw labelled cases, stratified by class: the same number of each class as far as possible.

    Parameters
    ----------
    targets : (N, K) float64
        One-hot classes.
    count : int
        Cases of a draw.
    draws : int
    seed : int

    Returns
    -------
    places : list of (count,) int64
        Sorted. A remainder, or what a rare class lacks, is drawn from the other cases.

    Raises
    ------
    ValueError
        If there are fewer cases.

    Examples
    --------
    >>> [places.tolist() for places in draw_labelled(np.eye(2)[[0, 1, 0, 1]], 2, 2, seed=0)]
    [[1, 2], [2, 3]]
    """
    if count > len(targets):
        raise ValueError(f"probe.budgets: expected at most the {len(targets)} labelled cases of train, got {count}")
    random, classes = np.random.default_rng(seed), targets.argmax(1)
    found = []
    for _ in range(draws):
        order = random.permutation(len(targets))
        own = [order[classes[order] == one][: count // targets.shape[1]] for one in range(targets.shape[1])]
        chosen = np.concatenate(own)
        rest = order[~np.isin(order, chosen)][: count - len(chosen)]
        found.append(np.sort(np.concatenate([chosen, rest])))
    return found


def probe_study(queue: RunQueue) -> list[Frozen]:
    """Return the results of all probes that a study declares; none without a declaration.

    Raises
    ------
    ValueError
        If a budget exceeds the labelled cases.
    """
    study = queue.study
    if study.probe is None:
        return []
    encoders = Encoders(queue)
    return [one for task in single_label_tasks(study) for one in _probe_task(encoders, study.probe, task)]


def _probe_task(encoders: Encoders, probe: Probe, task: str) -> Iterator[Frozen]:
    """Yield the results of a task: initialisations in the order of the file, then baselines."""
    study = encoders.queue.study
    seeds = study.protocol.pretrain_seeds
    for init in study.inits:
        of_seeds = [encoders.features(probing(study, task, init, seed)) for seed in seeds]
        for budget in probe.budgets:
            yield _measure(task, init, budget, probe, of_seeds, seeds)
    baseline = next(name for name, init in study.inits.items() if init.pretrain is None)
    known, asked = encoders.voxels(probing(study, task, baseline, seeds[0]))
    components = reduced(known, asked)
    for budget in probe.budgets:
        yield _measure(task, LINEAR, budget, probe, [components], ())
    for budget in probe.budgets:
        drawn = draw_labelled(known.targets, budget, probe.draws, probe.seed)
        correct = np.stack([most_frequent(known, asked, places) for places in drawn])[None]
        yield Frozen(task=task, init=MAJORITY, budget=budget, pretrain_seeds=(), cases=asked.cases, correct=correct)


def reduced(known: Probed, asked: Probed) -> tuple[Probed, Probed]:
    """Return both with principal components as features."""
    scores = reduce(known.features, asked.features, COMPONENTS)
    one, other = (
        Probed(cases=part.cases, features=own, targets=part.targets)
        for part, own in zip((known, asked), scores, strict=True)
    )
    return one, other


def most_frequent(known: Probed, asked: Probed, places: npt.NDArray[np.int64]) -> Matrix:
    """Return for each asked case whether its class is the most frequent of the labelled cases: the first of equals."""
    return np.asarray(asked.targets[:, known.targets[places].sum(0).argmax()])


def linear(known: Probed, asked: Probed, places: npt.NDArray[np.int64]) -> Matrix:
    """Return for each asked case whether ridge regression on the features of the labelled cases is correct."""
    said = predict_classes(known.features[places], known.targets[places], asked.features)
    return np.asarray(said == asked.targets.argmax(1), np.float64)


def _measure(
    task: str, init: str, budget: int, probe: Probe, of_seeds: Sequence[tuple[Probed, Probed]], seeds: tuple[int, ...]
) -> Frozen:
    """Return the results of one encoder per pre-training seed."""
    drawn = draw_labelled(of_seeds[0][0].targets, budget, probe.draws, probe.seed)
    correct = np.stack([[linear(known, asked, places) for places in drawn] for known, asked in of_seeds])
    cases = of_seeds[0][1].cases
    return Frozen(task=task, init=init, budget=budget, pretrain_seeds=seeds, cases=cases, correct=correct)
