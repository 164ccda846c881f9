"""Which cases may be better left out, and that nothing is left out unnamed."""

from pathlib import Path

import numpy as np
import pytest

import dali_cr
from dali_cr.__main__ import main
from dali_cr.index.corpus.quality import describe_exclusions, find_exclusions, read_exclusions
from tests.helpers.volumes import write_nifti


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quality")
    for i in range(7):
        voxels = np.random.default_rng(i).integers(80, 120, (9, 8, 8))
        write_nifti(folder / f"{i}.nii", voxels, dtype="<i2", spacing=(1, 1, 3.0 if i == 4 else 1))
    (folder / "same.nii").write_bytes((folder / "2.nii").read_bytes())
    write_nifti(folder / "bright.nii", 3 * np.random.default_rng(9).integers(80, 120, (9, 8, 8)))
    empty = np.zeros((20, 20, 20))
    empty[3, 3, 3:6] = 90, 100, 110
    write_nifti(folder / "void.nii", empty)
    return folder


def test_what_is_found(folder: Path) -> None:
    index = dali_cr.scan(folder, progress=False)
    found = find_exclusions(index)
    reasons = {(one.case, one.reason) for one in found}
    assert ("same.nii", "duplicate of 2.nii") in reasons
    assert ("4.nii", "spacing D") in reasons
    assert ("void.nii", "mostly empty") in reasons
    assert ("bright.nii", "foreground mean") in reasons
    assert {case for case, _ in reasons} == {"same.nii", "4.nii", "void.nii", "bright.nii"}
    (thick,) = (one for one in found if one.case == "4.nii")
    assert (thick.value, thick.limit) == ("3 mm", "0.7 to 1.3 mm")
    assert not {one.case for one in find_exclusions(index, z=1e9, empty=0)} - {"same.nii"}
    lines = describe_exclusions(index, found)
    assert lines[0].startswith("4 cases of 10 to check: ")
    assert "1 duplicate" in lines[0]


def test_data_sets_are_compared_by_themselves(folder: Path) -> None:
    index = dali_cr.scan(folder, progress=False)
    plain = index.subset([f"{i}.nii" for i in range(7) if i != 4])
    joined = dali_cr.Index.concat({"a": plain, "b": index.subset(["bright.nii", "4.nii"])})
    assert find_exclusions(joined) == []
    assert describe_exclusions(joined, [])[1] == "intensities and spacings of b not compared: 2 cases, 5 are needed"
    for wrong in ({"z": 0}, {"empty": 2}):
        with pytest.raises(ValueError, match="expected a"):
            find_exclusions(joined, **wrong)


def test_the_commands(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A list is written, edited, and taken; what is left out is named, and not read again."""
    out, saved = tmp_path / "out.csv", tmp_path / "index.json"
    assert main(["scan", str(folder), "--qc", str(out)]) == 0
    assert "quality      4 cases of 10 to check" in capsys.readouterr().out
    assert main(["scan", str(folder), "--qc", str(out)]) == 2
    assert "expected a new file" in capsys.readouterr().err
    assert main(["scan", str(folder), "--qc-z", "nan", "--qc", str(tmp_path / "new.csv")]) == 2
    found = capsys.readouterr()
    assert (found.out, "z: expected a number above 0, got nan" in found.err) == ("", True)  # before anything is read
    (tmp_path / "file").touch()
    assert main(["scan", str(folder), "--qc", str(tmp_path / "file" / "new.csv")]) == 2
    found = capsys.readouterr()
    assert (found.out, "qc: expected a writable folder, got" in found.err) == ("", True)
    out.write_text("".join(line for line in out.read_text().splitlines(True) if not line.startswith("bright")))
    assert main(["scan", str(folder), "--exclude-from", str(out), "--save", str(saved)]) == 0
    assert "4.nii: 4.nii excluded: spacing D (3 mm, usual is 0.7 to 1.3 mm)" in capsys.readouterr().out
    index = dali_cr.Index.load(saved)
    assert [case.name for case in index] == ["0.nii", "1.nii", "2.nii", "3.nii", "5.nii", "6.nii", "bright.nii"]
    assert sorted(volume.path for volume in index.set_aside) == ["4.nii", "same.nii", "void.nii"]
    assert {problem.path for problem in index.problems} == {"4.nii", "same.nii", "void.nii"}
    assert len(dali_cr.scan(folder, known=index, progress=False)) == 10
    with pytest.raises(ValueError, match="expected names of cases, got '4.nii'"):
        index.exclude(read_exclusions(out))
    (tmp_path / "gone.csv").write_text("case\n0.nii\ndark.nii\n")
    command = ["scan", str(folder), "--exclude-from", str(tmp_path / "gone.csv")]
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr("dali_cr.index.scan.read_volumes")  # nothing is read
        assert main(command) == 2
    expected = f"expected names of cases in {tmp_path / 'gone.csv'}, got 'dark.nii' (similar: "
    error = capsys.readouterr().err
    assert expected in error
    assert "): no file of the data belongs to them; correct or remove their rows" in error
    (folder / "dark.nii").write_bytes(b"damaged")
    assert main(command) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert "their files are labels, damaged or incomplete and no case" in error
    (folder / "dark.nii").unlink()
    assert main(["scan", str(saved)]) == 2
    assert "it is an index saved by scan; scan the folder of its data" in capsys.readouterr().err
    (tmp_path / "other.csv").write_text("name\nx\n")
    with pytest.raises(ValueError, match="expected a CSV file with a column case, got name"):
        read_exclusions(tmp_path / "other.csv")
    for text, got in (("case_1\n", "case_1"), ("", "an empty file")):  # names without a header would exclude nothing
        (tmp_path / "other.csv").write_text(text)
        with pytest.raises(ValueError, match=f"a column case, got {got}"):
            read_exclusions(tmp_path / "other.csv")
    (tmp_path / "other.csv").write_text("case,reason\n")
    assert read_exclusions(tmp_path / "other.csv") == {}
