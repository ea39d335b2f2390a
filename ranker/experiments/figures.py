"""What all plots of a study share: how an arm looks, and an SVG whose colours are the page's, for light and dark."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ranker.settings.model import MODES

INK: Final = "#010203"
FAINT: Final = "#030201"
SOFT: Final = "#020103"

_PLACES: Final = {mode: place for place, mode in enumerate(MODES)}

_STAND_INS: Final = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    SOFT: "var(--soft)",
    **{f"#0a0b{place:02x}": f"var(--arm-{place})" for place in _PLACES.values()},
}
"""What matplotlib draws in until the SVG is written, and the page's own colour for it."""

_MARKERS: Final = "os^DvPX<>*"
_DASHES: Final = ("-", "--", ":", "-.")

_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ranker",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.titlesize": 10,
    "figure.facecolor": "none",
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 3.0,
}


class Look(NamedTuple):
    """Colour and marker are a mode's, dashes tell its arms of one tuning apart, and frozen ones are hollow."""

    colour: str
    marker: str
    dashes: str
    hollow: bool

    @property
    def fillstyle(self) -> Literal["none", "full"]:
        """How markers are filled."""
        return "none" if self.hollow else "full"


def is_frozen(name: str) -> bool:
    """Whether the backbone of an arm of this name stays as it is."""
    return "-frozen" in name


def looks(names: Sequence[str]) -> dict[str, Look]:
    """How each arm looks in every plot; what is no arm is in ink."""
    found: dict[str, Look] = {}
    for name in sorted(names):
        mode = mode_of(name)
        alike = sum(mode_of(one) == mode and is_frozen(one) == is_frozen(name) for one in found)
        place = _PLACES.get(mode)
        colour, marker = (INK, "o") if place is None else (f"#0a0b{place:02x}", _MARKERS[place])
        found[name] = Look(colour, marker, _DASHES[alike % len(_DASHES)], is_frozen(name))
    return found


def mode_of(name: str) -> str:
    """The mode of an arm: ``cross`` of ``cross-frozen`` and of ``cross-no-markers``; nothing for the first stage."""
    return next((mode for mode in sorted(MODES, key=len, reverse=True) if f"{name}-".startswith(f"{mode}-")), "")


@contextmanager
def drawing(name: str, size: tuple[float, float], panels: int = 1) -> Iterator[list[Axes]]:
    """Panels side by side, of one height and one scale, in the style of the page; ``size`` is in inches."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        figure.set_gid(name)
        yield list(figure.subplots(1, panels, squeeze=False, sharey=True)[0])


def as_svg(axes: Axes) -> str:
    """The figure as an SVG element whose ids begin with its name, in the page's colours."""
    figure: Any = axes.figure
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    svg = re.sub(r"^.*?(?=<svg)", "", written.getvalue(), flags=re.DOTALL)
    name = figure.get_gid()
    svg = re.sub(r'(id="|xlink:href="#|url\(#)(?=\w)', rf"\1{name}-", svg)
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'width="100%" role="img"', svg, count=1)
    return re.sub("|".join(_STAND_INS), lambda match: _STAND_INS[match.group()], svg)
