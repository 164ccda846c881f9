"""`Index`: the cases of a folder, with the metadata that a loader needs before it reads voxels."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

from dali_cr.index.corpus import joining
from dali_cr.index.parts.names import describe_unknown
from dali_cr.index.parts.splitting import Together, copies_of, split_cases
from dali_cr.index.saved import read_index, write_index
from dali_cr.index.volumes import Case, Problem, Volume, counted, find_change


@dataclass(frozen=True, eq=False)
class Index:
    """Cases under one root, sorted, and the files that are not part of a case.

    Attributes
    ----------
    root : Path
        The folder that paths are relative to.
    cases : tuple of Case
    problems : tuple of Problem
        One for each refused file.
    channel_names : tuple of str
        Empty if channels have no names.
    set_aside : tuple of Volume
        Valid volumes that are not in a case, such as labels and channels of incomplete cases; see `problems`.
    ignored : mapping of str to int
        Number of other files by kind, such as ".dcm".
    layout : str
        How files became cases: "nnunet", "bids", "files", "pattern" or "csv"; empty if unknown.
    datasets : mapping of str to str
        Folder of each data set by its name, relative to the root; empty for an index of one data set.
    """

    root: Path
    cases: tuple[Case, ...]
    problems: tuple[Problem, ...] = ()
    channel_names: tuple[str, ...] = ()
    set_aside: tuple[Volume, ...] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)
    layout: str = ""
    datasets: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    @overload
    def __getitem__(self, place: int) -> Case: ...

    @overload
    def __getitem__(self, place: slice) -> Index: ...

    def __getitem__(self, place: int | slice) -> Case | Index:
        """Return a case, or an index of the cases of a slice."""
        return self._of(self.cases[place]) if isinstance(place, slice) else self.cases[place]

    def __repr__(self) -> str:
        refused = f", {counted(len(self.problems), 'problem')}" if self.problems else ""
        of = f" of {counted(len(self.datasets), 'data set')}" if self.datasets else ""
        return f"Index({str(self.root)!r}, {counted(len(self), 'case')}{of}{refused})"

    @property
    def channels(self) -> int:
        """Number of channels of every case.

        Raises
        ------
        ValueError
            If the index is empty or its cases have different numbers of channels.
        """
        counts: dict[int, str] = {}
        for case in self.cases:
            counts.setdefault(len(case.volumes), case.name)
        if len(counts) != 1:
            found = ", ".join(f"{n} in {name}" for n, name in sorted(counts.items())) or "no case"
            advice = "; exclude some, or with fourth_axis cases each frame of a 4-D file is a case" if counts else ""
            raise ValueError(f"index: expected cases with the same number of channels, got {found}{advice}")
        return next(iter(counts))

    @property
    def fingerprint(self) -> str:
        """Hash of the names and contents of cases; folders, modification times, modality and licence are not hashed."""
        return hashlib.sha256(json.dumps([self._identity(case) for case in self.cases]).encode()).hexdigest()

    def _identity(self, case: Case) -> tuple[object, ...]:
        """Return the hashed values of a case."""
        folder = self.datasets[case.dataset] if case.dataset else "."
        files = [(joining.split_path(folder, v.path), v.frame, v.sha256) for v in case.files]
        return (case.dataset, case.name, files) if case.dataset else (case.name, files)

    @property
    def copies(self) -> tuple[tuple[str, ...], ...]:
        """Names of cases with a channel of equal content, in groups of two or more."""
        return copies_of(self.cases)

    def subset(self, which: Iterable[str] | Callable[[Case], object]) -> Index:
        """Return an index of some of the cases, in the same order.

        Parameters
        ----------
        which : iterable of str, or callable
            Names of cases, or a function that returns whether to keep a `Case`.

        Returns
        -------
        subset : Index
            Index without `problems`, `set_aside` and `ignored`.

        Raises
        ------
        ValueError
            If a name is not the name of a case.
        """
        if callable(which):
            return self._of(tuple(case for case in self.cases if which(case)))
        if isinstance(which, str):
            raise ValueError(f"subset: expected a list of names, got the string {which!r}; use [{which!r}]")
        names = set(which)
        known = {case.name for case in self.cases}
        if unknown := names - known:
            raise ValueError(f"subset: expected names of cases, got {describe_unknown(unknown, known)}")
        return self._of(tuple(case for case in self.cases if case.name in names))

    def exclude(self, reasons: Mapping[str, str]) -> Index:
        """Return an index without some cases; they are listed in `problems` and kept in `set_aside`.

        Parameters
        ----------
        reasons : mapping of str to str
            The reason for each excluded case, by name; see `dali_cr.index.corpus.quality`.

        Raises
        ------
        ValueError
            If there is no case of a name.
        """
        excluded = self.subset(reasons)
        cases = tuple(case for case in self.cases if case.name not in reasons)
        problems = [
            Problem(path, f"{case.name} excluded: {reasons[case.name]}")
            for case in excluded.cases
            for path in dict.fromkeys(volume.path for volume in case.volumes)
        ]
        volumes = tuple(volume for case in excluded.cases for volume in case.files)
        every = tuple(sorted([*self.problems, *problems], key=lambda problem: problem.path))
        return replace(self, cases=cases, problems=every, set_aside=(*self.set_aside, *volumes))

    def split(self, fractions: Sequence[float], seed: int = 0, together: Together = ()) -> tuple[Index, ...]:
        """Split the cases at random into parts that share neither a case nor an image.

        Parameters
        ----------
        fractions : sequence of float
            One per part, above 0, with a sum of 1.
        seed : int
        together : iterable of iterable of str
            Groups of names of cases that stay in one part, such as cases of one patient. Cases in `copies` always stay
            together.

        Returns
        -------
        parts : tuple of Index
            Parts with at least one case each. Sizes by largest remainder, counted in groups of cases that stay
            together.

        Raises
        ------
        ValueError
            If the fractions are invalid, there are fewer groups of cases than parts, or a name is unknown.
        """
        return tuple(map(self._of, split_cases(self.cases, fractions, seed, together)))

    @classmethod
    def concat(
        cls, indexes: Mapping[str, Index], *, modality: joining.Texts = "", licence: joining.Texts = ""
    ) -> Index:
        """Return one index of several data sets.

        Parameters
        ----------
        indexes : mapping of str to Index
            Index of each data set by name, in the order of the result. The roots may differ.
        modality, licence : str or mapping of str to str
            Free text for all data sets, or one by name of each; for cases without a text.

        Returns
        -------
        joined : Index
            Cases are named ``"dataset/name"`` and have the field `dataset`. Problems, excluded volumes and counts of
            other files are those of all data sets; paths are relative to the common parent of the roots.

        Raises
        ------
        ValueError
            If there is no data set, one has no case, or their channels differ.

        Notes
        -----
        Data sets that an index already has, for example from nnssl's list, are kept only in the names of cases.

        Examples
        --------
        >>> import dali_cr
        >>> from importlib.resources import files
        >>> data_path = files("nibabel") / "tests" / "data"
        >>> heads = dali_cr.scan(data_path, "anatomical.nii", progress=False)
        >>> both = Index.concat({"heads": heads, "again": heads}, modality={"heads": "MR"})
        >>> [(case.name, case.dataset, case.modality) for case in both]
        [('heads/anatomical.nii', 'heads', 'MR'), ('again/anatomical.nii', 'again', '')]
        """
        return cls(**joining.join(indexes, modality, licence))

    def dataset(self, name: str) -> Index:
        """Return the index of one data set, with its root and its names of cases before joining.

        Raises
        ------
        ValueError
            If there is no such data set.
        """
        if name not in self.datasets:
            raise ValueError(f"dataset: expected one of {', '.join(self.datasets) or 'no data sets'}, got {name!r}")
        return replace(self, **joining.separate(self, name))

    def _of(self, cases: tuple[Case, ...]) -> Index:
        return replace(self, cases=cases, problems=(), set_aside=(), ignored={})

    def changed(self) -> tuple[Problem, ...]:
        """Return the files that changed since the scan, by size or modification time.

        Returns
        -------
        changes : tuple of Problem
            Sorted by path; empty if no file changed.
        """
        files = {volume.data: volume for case in self.cases for volume in case.files}
        with ThreadPoolExecutor(16) as pool:  # each request to a network drive is slow
            changes = pool.map(lambda volume: find_change(self.root / volume.data, volume), files.values())
            reasons = sorted(zip(files, changes, strict=True))
        return tuple(Problem(path, reason) for path, reason in reasons if reason)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index as JSON, atomically.

        Raises
        ------
        OSError
            If the file cannot be written; an existing file stays unchanged.
        """
        write_index(path, self)

    @classmethod
    def load(cls, path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> Index:
        """Read an index that `save` wrote.

        Parameters
        ----------
        path : path
        root : path, optional
            New location of the data, if they were moved.

        Raises
        ------
        ValueError
            If the file is not an index of a supported format.
        """
        return cls(**read_index(path, root))


def refuse_empty(index: Index) -> None:
    """Raise ValueError if an index has no cases.

    Raises
    ------
    ValueError
        The message gives the reasons for the first refused files.
    """
    if not index.cases:
        reasons = "".join(f"\n  {p.path}: {p.reason}" for p in index.problems[:5])
        raise ValueError(f"index: expected at least one case, got none under {index.root}{reasons}")
