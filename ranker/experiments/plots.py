"""A study's plots, as SVG in the colours of its page, for light and dark."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator
from numpy.typing import NDArray

from ranker.evaluation.significance import critical_difference, interval, mean_ranks
from ranker.experiments.arms import FIRST_STAGE, StudyConfig, arms_of
from ranker.experiments.results import ORACLE, RANDOM, StudyResult, usual_pace
from ranker.settings.model import MODES
from ranker.settings.training import TrainingConfig
from ranker.training.losses import loss_by_chance

INK: Final = "#010203"
FAINT: Final = "#030201"
SOFT: Final = "#020103"

_COLOURS: Final = tuple(f"#0a0b{colour:02x}" for colour in range(10))
"""A colour for each ``--arm-`` of the page."""

_PAGE_COLOURS: Final = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    SOFT: "var(--soft)",
    **{colour: f"var(--arm-{number})" for number, colour in enumerate(_COLOURS)},
}
"""The page's own colour for each that matplotlib draws in until the SVG is written."""

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


_WIDTH: Final = 8.6
"""Inches."""

SHARES: Final = np.linspace(0.0, 1.0, 101)
"""The shares of a training at which curves are sampled: seeds differ in how many steps they had time for."""

_SMOOTHED: Final = 0.05
"""The share of a training over which its losses are averaged."""


class PlotStyle(NamedTuple):
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
    """Whether an arm of this name has a frozen backbone."""
    return "-frozen" in name


def plot_styles(names: Sequence[str]) -> dict[str, PlotStyle]:
    """The style of each arm, the same in every plot; other runs are in ink."""
    modes = list(MODES)
    styles: dict[str, PlotStyle] = {}
    for name in sorted(names):
        mode = mode_of(name)
        alike = sum(mode_of(other) == mode and is_frozen(other) == is_frozen(name) for other in styles)
        colour, marker = INK, "o"
        if mode:
            # beyond ten modes, a colour comes again with another marker
            turn, place = divmod(modes.index(mode), len(_COLOURS))
            colour, marker = _COLOURS[place], _MARKERS[(place + turn) % len(_MARKERS)]
        styles[name] = PlotStyle(colour, marker, _DASHES[alike % len(_DASHES)], is_frozen(name))
    return styles


def mode_of(name: str) -> str:
    """The mode of an arm: ``cross`` of ``cross-frozen`` and of ``cross-no-markers``; empty for the first stage."""
    return next((mode for mode in sorted(MODES, key=len, reverse=True) if f"{name}-".startswith(f"{mode}-")), "")


@contextmanager
def drawing(name: str, size: tuple[float, float], panels: int = 1) -> Iterator[list[Axes]]:
    """Yields panels side by side, of one height and one scale, in the style of the page; ``size`` is in inches."""
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
    return re.sub("|".join(_PAGE_COLOURS), lambda match: _PAGE_COLOURS[match.group()], svg)


def all_plots(result: StudyResult) -> dict[str, str]:
    """Every plot of the page by its title; a study that trains nothing has no learning curves."""
    headline = result.frame.headline
    learned = any(cost.losses for costs in result.costs.values() for cost in costs.values())
    return {
        f"{headline} with 95% intervals": bars(result),
        "Mean ranks, and what the Nemenyi test does not tell apart": ranks(result),
        **({"Loss while training": learning_curves(result)} if learned else {}),
        f"{headline} against depth": by_depth(result),
        f"{headline} against milliseconds per query": by_time(result),
    }


def bars(result: StudyResult) -> str:
    """A bar for each arm with its interval over queries, and a dot for each seed."""
    measure, arms = result.frame.headline, result.arms[::-1]
    styles = plot_styles([arm.name for arm in arms])
    with drawing("bars", (_WIDTH, 0.9 + 0.32 * len(arms))) as (axes,):
        for height, arm in enumerate(arms):
            mean, (low, high) = arm.mean.mean(measure), interval(arm.mean.values[measure])
            style = styles[arm.name]
            # pale, or the interval on it could not be seen
            fill = "none" if style.hollow else (style.colour, 0.4)
            axes.barh(height, mean, height=0.62, color=fill, edgecolor=style.colour, linewidth=1.5)
            axes.errorbar(mean, height, xerr=[[mean - low], [high - mean]], color=INK, capsize=3, linewidth=1)
            seeds = [evaluation.mean(measure) for evaluation in arm.seeds.values()]
            axes.plot(seeds, [height] * len(seeds), "o", color=INK, markersize=2.5)
        for name, dashes in ((RANDOM, ":"), (FIRST_STAGE, "--"), (ORACLE, "-.")):
            value = result.rows[name].mean.mean(measure)
            axes.axvline(value, color=INK, linestyle=dashes, linewidth=1, label=f"{name} {value:.3f}")
        axes.set_yticks(range(len(arms)), [arm.name for arm in arms])
        axes.set_ylim(-0.7, len(arms) - 0.3)
        axes.set_xlabel(f"{measure}; frozen arms are hollow, dots are seeds")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        return as_svg(axes)


def ranks(result: StudyResult) -> str:
    """Mean ranks on a line, the best at the left; a bar joins arms that the Nemenyi test does not tell apart."""
    evaluations = [result.rows[FIRST_STAGE].mean, *(arm.mean for arm in result.arms)]
    mean_rank = mean_ranks(evaluations, result.frame.headline)
    order = sorted(mean_rank, key=mean_rank.__getitem__)
    width = critical_difference(len(order), len(evaluations[0].query_ids))
    stretches = list(joined([mean_rank[name] for name in order], width))
    half = (len(order) + 1) // 2
    with drawing("ranks", (_WIDTH, 0.8 + 0.25 * (half + 0.45 * len(stretches)))) as (axes,):
        _name_ranks(axes, mean_rank, order[:half], "right")
        _name_ranks(axes, mean_rank, order[half:][::-1], "left")
        for row, (first, last) in enumerate(stretches):
            axes.plot([first, last], [0.7 + 0.45 * row] * 2, color=INK, linewidth=2.5)
        axes.set_ylim(-half - 0.5, 0.7 + 0.45 * len(stretches))
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set_xlabel(f"mean rank over queries; critical difference {width:.2f}")
        axes.set_yticks([])
        for side, seen in (("left", False), ("bottom", False), ("top", True)):
            axes.spines[side].set_visible(seen)
        return as_svg(axes)


def _name_ranks(axes: Axes, mean_rank: dict[str, float], names: Sequence[str], side: str) -> None:
    """Draws a dot for each, and a line to its name at the side, the outermost first, so that no line crosses a name."""
    room = 0.03 * (max(mean_rank.values()) - min(mean_rank.values()))
    edge = min(mean_rank.values()) - room if side == "right" else max(mean_rank.values()) + room
    styles = plot_styles(list(mean_rank))
    for row, name in enumerate(names, start=1):
        style = styles[name]
        axes.plot([mean_rank[name], mean_rank[name], edge], [0, -row, -row], color=SOFT, linewidth=0.8, zorder=1)
        axes.plot(mean_rank[name], 0, style.marker, color=style.colour, fillstyle=style.fillstyle)
        label, gap = (
            (f"{name}  {mean_rank[name]:.2f}", -4) if side == "right" else (f"{mean_rank[name]:.2f}  {name}", 4)
        )
        axes.annotate(label, (edge, -row), xytext=(gap, 0), textcoords="offset points", ha=side, va="center")


def joined(values: Sequence[float], width: float) -> Iterator[tuple[float, float]]:
    """Yields the longest stretches of rising values no wider than ``width``, from their first to their last."""
    reached = -1
    for first, start in enumerate(values):
        last = max(position for position, value in enumerate(values) if value - start < width)
        if last > max(first, reached):
            yield start, values[last]
            reached = last


def learning_curves(result: StudyResult) -> str:
    """Each arm's loss, as a share of that of chance, by the share of its training; the mean over seeds."""
    training = result.frame.settings["training"]
    lines = {}
    for arm in result.arms:
        trainings = [cost.losses for cost in result.costs[arm.name].values() if cost.losses]
        if trainings:
            losses, chance = mean_curve(trainings), loss_of_chance(arm.name, training)
            lines[arm.name] = ((100 * SHARES).tolist(), (losses / chance).tolist())
    panels = _by_tuning(list(lines))
    with drawing("curves", _above_legend(panels), len(panels)) as all_axes:
        for axes, (title, names) in zip(all_axes, panels.items(), strict=True):
            _draw_lines(axes, {name: lines[name] for name in names}, result)
            axes.axhline(1.0, color=INK, linestyle="--", linewidth=1, label="chance")
            axes.set_title(title)
            axes.set_xlabel("% of the training, mean over seeds")
            _put_legend(axes, len(panels))
        all_axes[0].set_ylabel("loss / loss of chance")
        return as_svg(all_axes[0])


def loss_of_chance(name: str, training: Mapping[str, Any]) -> float:
    """The loss of an arm whose scores are all equal; ``training`` has the study's settings."""
    training_config = TrainingConfig(max_steps=1, validations=0)
    config = StudyConfig(modes=tuple(MODES), ablations=True, training=training_config)
    arm = next(arm for arm in arms_of(config) if arm.name == name)
    loss = config.training_of(arm, 0).resolved(config.reading(arm)).loss
    return loss_by_chance(loss, int(training["groups_per_step"]), 1 + int(training["negatives"]))


def mean_curve(trainings: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """The mean over some trainings of their smoothed losses, at each share of the training.

    Shape: (SHARES,).
    """
    curves = []
    for losses in trainings:
        width = max(1, round(len(losses) * _SMOOTHED))
        windows = (losses[max(0, step - width + 1) : step + 1] for step in range(len(losses)))
        smooth = [sum(window) / len(window) for window in windows]
        curves.append(np.interp(SHARES, np.arange(1, len(losses) + 1) / len(losses), smooth))
    return np.asarray(np.mean(curves, axis=0), dtype=np.float64)


def by_depth(result: StudyResult) -> str:
    """Quality by the depth of reranking."""
    headline, panels = result.frame.headline, _by_tuning([arm.name for arm in result.arms])
    first = result.rows[FIRST_STAGE].mean.mean(headline)
    with drawing("depth", _above_legend(panels), len(panels)) as all_axes:
        for axes, (title, names) in zip(all_axes, panels.items(), strict=True):
            depths = list(result.depths[names[0]])
            _draw_lines(axes, {name: (depths, list(result.depths[name].values())) for name in names}, result)
            axes.axhline(first, color=INK, linestyle="--", linewidth=1, label=FIRST_STAGE)
            axes.set_title(title)
            axes.set_xscale("log")
            axes.set_xticks(depths, [str(depth) for depth in depths])
            axes.minorticks_off()
            axes.set_xlabel("passages reranked for each query")
            _put_legend(axes, len(panels))
        all_axes[0].set_ylabel(headline)
        return as_svg(all_axes[0])


def _by_tuning(names: Sequence[str]) -> dict[str, list[str]]:
    """The arms of each panel, in their order; a tuning without any has no panel."""
    panels = {
        "fine-tuned": [name for name in names if not is_frozen(name)],
        "frozen": [name for name in names if is_frozen(name)],
    }
    return {title: arms for title, arms in panels.items() if arms}


def _draw_lines(axes: Axes, lines: dict[str, tuple[Sequence[float], Sequence[float]]], result: StudyResult) -> None:
    styles = plot_styles([arm.name for arm in result.arms])
    for line, (name, (across, values)) in enumerate(lines.items()):
        style = styles[name]
        # markers of lines that lie close stand at different places
        every = (0.01 * (line % 10), 0.1) if len(across) > len(SHARES) // 2 else None
        axes.plot(
            across, values, color=style.colour, linestyle=style.dashes, marker=style.marker, markevery=every,
            markersize=4.5, fillstyle=style.fillstyle, linewidth=1.4, label=name,
        )  # fmt: skip
    axes.grid(axis="y")


def _above_legend(panels: dict[str, list[str]]) -> tuple[float, float]:
    """The size of a figure with room for its longest legend beneath the panels, in four columns over all of them."""
    rows = -(-(1 + max(map(len, panels.values()))) * len(panels) // 4)
    return (_WIDTH, 4.2 + 0.2 * rows)


def _put_legend(axes: Axes, panels: int) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4 // panels, columnspacing=1.2)


def by_time(result: StudyResult) -> str:
    """Quality by the time that reranking takes; points are numbered from the best arm on, and named in the legend."""
    styles = plot_styles([arm.name for arm in result.arms])
    with drawing("time", (_WIDTH, 5.2 + 0.2 * -(-len(result.arms) // 4))) as (axes,):
        for number, arm in enumerate(result.arms, start=1):
            point = (usual_pace(result.costs[arm.name]), arm.mean.mean(result.frame.headline))
            style = styles[arm.name]
            axes.plot(
                *point,
                style.marker,
                color=style.colour,
                fillstyle=style.fillstyle,
                zorder=3,
                label=f"{number} {arm.name}",
            )
            # neighbours in quality, which may lie close, have their numbers at different sides
            across, up = ((6, 0), (0, 8), (-6, 0), (0, -8))[number % 4]
            align = {6: "left", -6: "right", 0: "center"}[across]
            axes.annotate(
                str(number), point, (across, up), textcoords="offset points", fontsize=8, ha=align, va="center"
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.minorticks_off()
        axes.margins(x=0.08, y=0.08)
        axes.set_xlabel("milliseconds per query for scoring; frozen arms are hollow")
        axes.set_ylabel(result.frame.headline)
        axes.grid()
        _put_legend(axes, 1)
        return as_svg(axes)
