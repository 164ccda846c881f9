"""Colours of classes, the same in every picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb

Colour = tuple[float, float, float]

_TAB20 = [to_rgb(colour) for colour in matplotlib.color_sequences["tab20"]]
COLOURS: tuple[Colour, ...] = (*_TAB20[::2], *_TAB20[1::2])
"""Colours of classes by their order, repeated after the last; saturated colours come before pale ones."""

OPACITY = 0.45
"""Opacity of a mask over an image."""


def colour_of(place: int) -> Colour:
    """Return the colour of a class by its place in the list of all classes."""
    return COLOURS[place % len(COLOURS)]


def tint(image: npt.NDArray[np.uint8], classes: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """Return a grey image with classes drawn over it.

    Parameters
    ----------
    image : (H, W) uint8
    classes : (H, W) int
        0 for none, 1 for the first class.

    Returns
    -------
    picture : (H, W, 3) uint8

    Examples
    --------
    >>> tint(np.uint8([[100, 100]]), np.array([[0, 1]])).tolist()
    [[[100, 100, 100], [69, 109, 136]]]
    """
    colours = np.array([colour_of(place) for place in range(int(classes.max(initial=0)))]).reshape(-1, 3)
    picture = np.repeat(image[..., None], 3, -1).astype(np.float64)
    inside = classes > 0
    picture[inside] = (1 - OPACITY) * picture[inside] + OPACITY * 255 * colours[classes[inside] - 1]
    return np.rint(picture).astype(np.uint8)


class Palette:
    """Names and colours of classes, by label value and by name.

    Parameters
    ----------
    names : mapping of int to str
        Class by label value, in the order of the classes; other values are called "label VALUE".
    others : sequence of str
        Classes without a label value, such as those of boxes.

    Examples
    --------
    >>> palette = Palette({2: "liver"}, ["spleen"])
    >>> palette.name(2), palette.name(7), palette.colour("spleen") == colour_of(1)
    ('liver', 'label 7', True)
    """

    def __init__(self, names: Mapping[int, str], others: Sequence[str] = ()) -> None:
        self._names = dict(names)
        self._order = list(dict.fromkeys([*self._names.values(), *others]))

    def name(self, value: int) -> str:
        """Return the name of a label value."""
        return self._names.get(value, f"label {value}")

    def colour(self, name: str) -> Colour:
        """Return the colour of a class."""
        if name in self._order:
            return colour_of(self._order.index(name))
        number = name.removeprefix("label ")
        return colour_of(len(self._order) + (int(number) - 1 if number.isdecimal() else 0))
