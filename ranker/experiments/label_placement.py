"""Where the names of points stand, so that none hides another or a point."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple


class Box(NamedTuple):
    """A rectangle, in points of a page."""

    left: float
    bottom: float
    right: float
    top: float

    def shared(self, other: "Box") -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, width) * max(0.0, height)

    @property
    def area(self) -> float:
        """Width by height."""
        return (self.right - self.left) * (self.top - self.bottom)


LETTER: Final = 4.8
LINE: Final = 10.0
"""What a letter and a line of a name take, at a size of 8 points."""

_DOT: Final = 4.0
_BESIDE: Final = 6.0
_STEPS: Final = 14
"""How many lines up and down is looked for room."""


def placed(points: Mapping[str, tuple[float, float]], area: Box) -> dict[str, Box]:
    """A box for each name, the nearest to its point that hides nothing and lies in the area, or hides the least."""
    dots = [Box(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in points.values()]
    taken: dict[str, Box] = {}
    for name, point in sorted(points.items(), key=lambda item: (-item[1][1], item[0])):
        others = [*dots, *taken.values()]
        taken[name] = min(
            _around(point, LETTER * len(name)),
            key=lambda box: sum(map(box.shared, others)) + 2 * (box.area - box.shared(area)),
        )
    return taken


def _around(point: tuple[float, float], width: float) -> Iterator[Box]:
    """Places from the nearest on: right and left, then above and below."""
    x, y = point
    for step in sorted(range(-_STEPS, _STEPS + 1), key=abs):
        middle = y + step * LINE / 2
        for left in (x + _BESIDE, x - _BESIDE - width, x - width / 2):
            yield Box(left, middle - LINE / 2, left + width, middle + LINE / 2)
