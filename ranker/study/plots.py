"""A study's plots as SVG for a page: text and lines take the page's colours, so they suit light and dark."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ranker.comparison import interval
from ranker.model.config import MODES
from ranker.study.arms import FIRST_STAGE
from ranker.study.nemenyi import critical_difference, mean_ranks
from ranker.study.result import StudyResult
from ranker.study.rows import ORACLE, RANDOM

_INK: Final = "#010203"
_FAINT: Final = "#030201"
"""Stand in for the page's own colours until the SVG is written."""

_COLOURS: Final = (
    "#3b82c4", "#d9822b", "#3f9e63", "#c4504f", "#8a6fc0", "#a9714b", "#cf6fa8", "#7d8a97", "#a3a133", "#35a3ae",
)  # fmt: skip
"""Legible on white and on near-black alike."""

_PLACES: Final = {mode: place for place, mode in enumerate(MODES)}

_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ranker",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _FAINT,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
}

_SMOOTHED: Final = 0.05
"""The share of a training over which its losses are averaged for the learning curve."""


def all_plots(result: StudyResult) -> dict[str, str]:
    """Every plot of the page by its title."""
    return {
        f"{result.frame.headline} with 95 % intervals": bars(result),
        "Mean ranks, and what the Nemenyi test does not tell apart": ranks(result),
        "Loss while training": learning_curves(result),
        f"{result.frame.headline} against depth": by_depth(result),
        f"{result.frame.headline} against milliseconds per query": by_time(result),
    }


def bars(result: StudyResult) -> str:
    """A bar for each arm with its interval over queries, and a dot for each seed."""
    measure, arms = result.frame.headline, result.arms[::-1]
    with _axes("bars", (8.6, 0.9 + 0.32 * len(arms))) as axes:
        for place, arm in enumerate(arms):
            mean, (low, high) = arm.mean.mean(measure), interval(arm.mean.values[measure])
            axes.barh(place, mean, height=0.62, color=_colour(arm.name), alpha=_alpha(arm.name))
            axes.errorbar(mean, place, xerr=[[mean - low], [high - mean]], color=_INK, capsize=3, linewidth=1)
            seeds = [one.mean(measure) for one in arm.seeds.values()]
            axes.plot(seeds, [place] * len(seeds), "o", color=_INK, markersize=2.5, alpha=0.8)
        for name, dashes in ((RANDOM, ":"), (FIRST_STAGE, "--"), (ORACLE, "-.")):
            value = result.rows[name].mean.mean(measure)
            axes.axvline(value, color=_INK, linestyle=dashes, linewidth=1, label=f"{name} {value:.3f}")
        axes.set_yticks(range(len(arms)), [arm.name for arm in arms])
        axes.set_xlabel(measure)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.0 + 0.9 / (len(arms) + 2)), ncols=3)
        axes.grid(axis="x")
        return _svg(axes)


def ranks(result: StudyResult) -> str:
    """Mean ranks on a line, the best at the left; a bar joins arms that the critical difference does not part."""
    evaluations = [result.rows[FIRST_STAGE].mean, *(arm.mean for arm in result.arms)]
    found = mean_ranks(evaluations, result.frame.headline)
    order = sorted(found, key=found.__getitem__)
    width = critical_difference(len(order), len(evaluations[0].query_ids))
    with _axes("ranks", (8.6, 1.0 + 0.3 * len(order))) as axes:
        for place, name in enumerate(order):
            axes.plot([found[name]] * 2, [0, -1 - place], color=_FAINT, linewidth=0.8)
            axes.plot(found[name], 0, "o", color=_colour(name), markersize=6)
            axes.text(found[name], -1 - place, f" {name}  {found[name]:.2f}", va="center", color=_colour(name))
        for place, (first, last) in enumerate(joined([found[name] for name in order], width)):
            axes.plot([first - 0.03, last + 0.03], [0.45 + 0.4 * place] * 2, color=_INK, linewidth=2.5)
        axes.set_xlabel(f"mean rank over queries; critical difference {width:.2f}")
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        return _svg(axes)


def learning_curves(result: StudyResult) -> str:
    """Each arm's loss by the share of its training, of its first seed, smoothed."""
    with _axes("curves", _beside_legend(result)) as axes:
        for arm in result.arms:
            cost = next(iter(result.costs[arm.name].values()))
            if cost.losses:
                minutes = [cost.training_seconds / 60 * (n + 1) / len(cost.losses) for n in range(len(cost.losses))]
                axes.plot(minutes, _smooth(cost.losses), label=arm.name, **_line(arm.name))
        axes.set_xlabel("minutes of training, first seed")
        axes.set_ylabel("loss, each arm its own")
        axes.set_yscale("log")
        return _svg(axes, legend=True)


def by_depth(result: StudyResult) -> str:
    """What reranking fewer passages would have given."""
    with _axes("depth", _beside_legend(result)) as axes:
        for arm in result.arms:
            depths = result.depths[arm.name]
            axes.plot(list(depths), list(depths.values()), label=arm.name, **_line(arm.name))
        first = result.rows[FIRST_STAGE].mean.mean(result.frame.headline)
        axes.axhline(first, color=_INK, linestyle="--", linewidth=1, label=FIRST_STAGE)
        axes.set_xscale("log")
        axes.set_xticks(list(depths), [str(depth) for depth in depths])
        axes.minorticks_off()
        axes.set_xlabel("passages reranked for each query")
        axes.set_ylabel(result.frame.headline)
        axes.grid(axis="y")
        return _svg(axes, legend=True)


def by_time(result: StudyResult) -> str:
    """Quality against the time that reranking takes."""
    points = {}
    with _axes("time", (8.6, 5.2)) as axes:
        for arm in result.arms:
            times = [cost.milliseconds_per_query for cost in result.costs[arm.name].values()]
            points[arm.name] = (sum(times) / len(times), arm.mean.mean(result.frame.headline))
            axes.plot(*points[arm.name], "o", color=_colour(arm.name), alpha=_alpha(arm.name))
        axes.set_xscale("log")
        axes.margins(x=0.2)
        axes.set_xlabel("milliseconds per query for scoring; of frozen arms their share of the one pass")
        axes.set_ylabel(result.frame.headline)
        axes.grid()
        _name_points(axes, points)
        return _svg(axes)


def _name_points(axes: Axes, points: dict[str, tuple[float, float]]) -> None:
    """Each name beside its point, above or below where another one's is."""
    taken: list[tuple[float, float, float]] = []
    for name, point in sorted(points.items(), key=lambda item: -item[1][1]):
        x, y = axes.transData.transform(point) * 72 / axes.figure.dpi
        width = _LETTER * len(name)
        for rise in _RISES:
            if not any(abs(y + rise - other) < _LINE and x < end and start < x + width for start, end, other in taken):
                break
        taken.append((x, x + width, y + rise))
        axes.annotate(name, point, xytext=(5, rise), textcoords="offset points", fontsize=8)


_LETTER: Final = 5.0
_LINE: Final = 9.0
"""Points that a letter and a line of a name take."""

_RISES: Final = (3, *(side * step * 9 + 3 for step in range(1, 9) for side in (-1, 1)))


def joined(values: Sequence[float], width: float) -> Iterator[tuple[float, float]]:
    """The longest stretches of rising values no wider than that."""
    reached = -1
    for first, start in enumerate(values):
        last = max(place for place, value in enumerate(values) if value - start < width)
        if last > max(first, reached):
            yield start, values[last]
            reached = last


def _smooth(losses: Sequence[float]) -> list[float]:
    width = max(1, round(len(losses) * _SMOOTHED))
    windows = (losses[max(0, place - width + 1) : place + 1] for place in range(len(losses)))
    return [sum(window) / len(window) for window in windows]


def _mode(name: str) -> str:
    """The mode of an arm: ``cross`` of ``cross-frozen`` and of ``cross-no-markers``; nothing for the first stage."""
    return next((mode for mode in sorted(MODES, key=len, reverse=True) if f"{name}-".startswith(f"{mode}-")), "")


def _colour(name: str) -> str:
    """One for each mode."""
    mode = _mode(name)
    return _COLOURS[_PLACES[mode]] if mode else _INK


def _alpha(name: str) -> float:
    return 0.5 if "frozen" in name else 0.95


def _line(name: str) -> dict[str, Any]:
    """Solid for a mode as its paper has it, dashed where it is frozen, dotted for what differs in another way."""
    dashes = "-" if name == _mode(name) else "--" if "frozen" in name else ":"
    return {"color": _colour(name), "linestyle": dashes}


def _beside_legend(result: StudyResult) -> tuple[float, float]:
    """As high as the legend."""
    return (8.6, max(4.2, 0.6 + 0.205 * (len(result.arms) + 1)))


@contextmanager
def _axes(name: str, size: tuple[float, float]) -> Iterator[Axes]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        figure.set_gid(name)
        yield figure.subplots()


def _svg(axes: Axes, legend: bool = False) -> str:
    """The figure as an SVG element whose ids begin with its name, in the page's colours."""
    if legend:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure: Any = axes.figure
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    svg = re.sub(r"^.*?(?=<svg)", "", written.getvalue(), flags=re.DOTALL)
    name = figure.get_gid()
    svg = re.sub(r'(id="|xlink:href="#|url\(#)(?=\w)', rf"\1{name}-", svg)
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'width="100%" role="img"', svg, count=1)
    return svg.replace(_INK, "currentColor").replace(_FAINT, "var(--faint)")
