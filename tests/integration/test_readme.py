"""The loops that are tested are the loops that the library's guide prints."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_guide_prints_what_is_tested() -> None:
    printed = re.findall(r"```python\n(.*?)```", (ROOT / "dali_cr" / "README.md").read_text(), re.DOTALL)
    scripts = [path for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("test_")]
    assert len(scripts) == 6
    for script in scripts:
        assert script.read_text() in printed, f"{script.name} is not printed as it is"
        assert len(script.read_text().splitlines()) <= 22
