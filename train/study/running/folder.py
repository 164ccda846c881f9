"""The folder of a study's runs: the place, note, log and report of each run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...run.checkpoint import CHECKPOINT
from ..declared import Study
from ..runs import StudyRun


@dataclass(kw_only=True)
class RunFolder:
    """The folder of a study's runs.

    Attributes
    ----------
    study : Study
    folder : Path
        Holds for each run its folder, its log and a note (a JSON file) about it.
    folders : dict of str to Path
        Folders of the data sets, by name.
    """

    study: Study
    folder: Path
    folders: dict[str, Path]

    def index(self, data: str) -> Path:
        """Return the path of a data set's index."""
        return self.folder / "data" / f"{data}.index.json"

    def split(self, data: str) -> Path:
        """Return the path of a data set's split."""
        return self.folder / "data" / f"{data}.split.json"

    def out(self, run: StudyRun) -> Path:
        """Return the folder of a run."""
        return self.folder / run.name

    def note(self, run: StudyRun) -> Path:
        """Return the path of a run's note: its command and options, its seconds and attempts."""
        return self.folder / f"{run.name}.json"

    def log(self, run: StudyRun) -> Path:
        """Return the path of a run's log."""
        return self.folder / f"{run.name}.log"

    def report(self, run: StudyRun) -> dict[str, Any] | None:
        """Return the report of a run; None if it is not finished."""
        path = self.out(run) / "report.json"
        if not path.exists() or not self.note(run).exists():
            return None
        report: dict[str, Any] = json.loads(path.read_text())
        return report if report["steps"] >= run.options["steps"] else None

    def saved(self, run: StudyRun) -> int | None:
        """Return the time of a run's last checkpoint, in ns; None if it has none."""
        path = self.out(run) / CHECKPOINT
        return path.stat().st_mtime_ns if path.exists() else None

    def read_note(self, run: StudyRun) -> dict[str, Any]:
        """Return the note of a run: its command and options, and its seconds and attempts so far.

        Raises
        ------
        ValueError
            If a run of this name was started with other options.
        """
        path = self.note(run)
        # Through JSON, as the stored note that it is compared with.
        made: dict[str, Any] = json.loads(json.dumps(run.record))
        if not path.exists():
            return {**made, "seconds": 0.0, "cpu_seconds": 0.0, "attempts": 0, "diverged": False}
        known: dict[str, Any] = json.loads(path.read_text())
        for name, value in made.items():
            if known[name] != value:
                raise ValueError(
                    f"study: expected {name} {known[name]} for {run.name}, which was started with it, got {value}; a "
                    "study must not be changed while it runs: give the changed file another name"
                )
        return known

    def is_done(self, run: StudyRun) -> bool:
        """Return whether a run is finished, or diverged during tuning."""
        note = self.read_note(run)
        return self.report(run) is not None or (bool(note["diverged"]) and run.phase == "tune")

    def expected(self, run: StudyRun) -> float:
        """Return the expected seconds of a run, or of its rest: by the slowest finished run of its phase, or 0."""
        notes = [json.loads(path.read_text()) for path in self.folder.glob(f"{run.phase}/*/*.json")]
        rates = [note["seconds"] / note["options"]["steps"] for note in notes if note.get("network")]
        return float(max(0.0, max(rates, default=0.0) * run.options["steps"] - self.read_note(run)["seconds"]))
