"""Views on a GPU: the bits that the CPU gives, whatever is kept there."""

from typing import Any

import pytest

import dali_cr
from dali_cr import Views
from tests.helpers.recipes import INDEXES
from tests.helpers.recipes import VIEWS_OF as RECIPES

pytestmark = pytest.mark.gpu
pytest.importorskip("cupy", reason="the GPU's tests need CuPy", exc_type=ImportError)


def loader(index: dali_cr.Index, *, recipe: Views, **options: Any) -> dali_cr.Loader:
    return dali_cr.Loader(index, recipe, **{"device": "cpu", "seed": 5, **options})


NAMES = ("view", "target", "local")


def samples(stream: dali_cr.Loader, steps: int) -> dict[tuple[int, str], bytes]:
    """Return what each sample number delivered, by name."""
    out = {}
    for batch, _ in zip(stream.stream(), range(steps), strict=False):
        for i, number in enumerate(batch["sample"].tolist()):
            out.update({(number, name): batch[name][i].cpu().numpy().tobytes() for name in NAMES})
    return out


@pytest.mark.parametrize("cache", [(), ("gpu:1GB",), ("gpu:100KB", "host:1GB")], ids=str)
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("name", INDEXES)
def test_the_loaders_bits(name: str, recipe: Views, cache: tuple[str, ...], request: pytest.FixtureRequest) -> None:
    index = request.getfixturevalue(name)
    with loader(index, recipe=recipe, batch_size=3) as stream:
        wanted = samples(stream, 12)
    with loader(index, recipe=recipe, batch_size=3, device="cuda", cache=cache) as stream:
        got = samples(stream, 12)
    assert [key for key in wanted if got[key] != wanted[key]] == []


def test_the_authors_sizes(mixed_index: dali_cr.Index) -> None:
    recipe = Views(normalize="percentile")
    with loader(mixed_index, recipe=recipe, batch_size=4) as stream:
        wanted = samples(stream, 2)
    with loader(mixed_index, recipe=recipe, batch_size=4, device="cuda") as stream:
        assert samples(stream, 2) == wanted
