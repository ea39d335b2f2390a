"""A study's plots, as SVG for its page."""

from collections.abc import Iterator, Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter, LogLocator

from ranker.evaluation.significance import interval
from ranker.experiments.arms import FIRST_STAGE
from ranker.experiments.curves import SHARES, loss_of_chance, mean_curve
from ranker.experiments.figures import INK, SOFT, as_svg, drawing, is_frozen, looks
from ranker.experiments.label_placement import LINE, Box, placed
from ranker.experiments.nemenyi import critical_difference, mean_ranks
from ranker.experiments.results import StudyResult, usual_pace
from ranker.experiments.rows import ORACLE, RANDOM

_WIDTH: Final = 8.6
"""Inches."""


def all_plots(result: StudyResult) -> dict[str, str]:
    """Every plot of the page by its title; without a training there are no learning curves."""
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
    shown = looks([arm.name for arm in arms])
    with drawing("bars", (_WIDTH, 0.9 + 0.32 * len(arms))) as (axes,):
        for place, arm in enumerate(arms):
            mean, (low, high) = arm.mean.mean(measure), interval(arm.mean.values[measure])
            look = shown[arm.name]
            # pale, or the interval on it could not be seen
            fill = "none" if look.hollow else (look.colour, 0.4)
            axes.barh(place, mean, height=0.62, color=fill, edgecolor=look.colour, linewidth=1.5)
            axes.errorbar(mean, place, xerr=[[mean - low], [high - mean]], color=INK, capsize=3, linewidth=1)
            seeds = [one.mean(measure) for one in arm.seeds.values()]
            axes.plot(seeds, [place] * len(seeds), "o", color=INK, markersize=2.5)
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
    """Mean ranks on a line, the best at the left; a bar joins arms that the critical difference does not part."""
    evaluations = [result.rows[FIRST_STAGE].mean, *(arm.mean for arm in result.arms)]
    found = mean_ranks(evaluations, result.frame.headline)
    order = sorted(found, key=found.__getitem__)
    width = critical_difference(len(order), len(evaluations[0].query_ids))
    stretches = list(joined([found[name] for name in order], width))
    half = (len(order) + 1) // 2
    with drawing("ranks", (_WIDTH, 0.8 + 0.25 * (half + 0.45 * len(stretches)))) as (axes,):
        _name_ranks(axes, found, order[:half], "right")
        _name_ranks(axes, found, order[half:][::-1], "left")
        for place, (first, last) in enumerate(stretches):
            axes.plot([first, last], [0.7 + 0.45 * place] * 2, color=INK, linewidth=2.5)
        axes.set_ylim(-half - 0.5, 0.7 + 0.45 * len(stretches))
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set_xlabel(f"mean rank over queries; critical difference {width:.2f}")
        axes.set_yticks([])
        for side, seen in (("left", False), ("bottom", False), ("top", True)):
            axes.spines[side].set_visible(seen)
        return as_svg(axes)


def _name_ranks(axes: Axes, found: dict[str, float], names: Sequence[str], side: str) -> None:
    """Dots, and a line from each to its name at the side, the outermost first: so none crosses a name or a line."""
    room = 0.03 * (max(found.values()) - min(found.values()))
    edge = min(found.values()) - room if side == "right" else max(found.values()) + room
    shown = looks(list(found))
    for place, name in enumerate(names, start=1):
        look = shown[name]
        axes.plot([found[name], found[name], edge], [0, -place, -place], color=SOFT, linewidth=0.8, zorder=1)
        axes.plot(found[name], 0, look.marker, color=look.colour, fillstyle=look.fillstyle)
        written, gap = (f"{name}  {found[name]:.2f}", -4) if side == "right" else (f"{found[name]:.2f}  {name}", 4)
        axes.annotate(written, (edge, -place), xytext=(gap, 0), textcoords="offset points", ha=side, va="center")


def joined(values: Sequence[float], width: float) -> Iterator[tuple[float, float]]:
    """The longest stretches of rising values no wider than that."""
    reached = -1
    for first, start in enumerate(values):
        last = max(place for place, value in enumerate(values) if value - start < width)
        if last > max(first, reached):
            yield start, values[last]
            reached = last


def learning_curves(result: StudyResult) -> str:
    """Each arm's loss by the share of its training, the mean over seeds; under another loss chance is another."""
    training = result.frame.settings["training"]
    lines = {}
    for arm in result.arms:
        trainings = [cost.losses for cost in result.costs[arm.name].values() if cost.losses]
        if trainings:
            losses = mean_curve(trainings) / loss_of_chance(arm.name, training)
            lines[arm.name] = ((100 * SHARES).tolist(), losses.tolist())
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


def by_depth(result: StudyResult) -> str:
    """What reranking fewer passages would have given."""
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
    found = {
        "fine-tuned": [name for name in names if not is_frozen(name)],
        "frozen": [name for name in names if is_frozen(name)],
    }
    return {title: some for title, some in found.items() if some}


def _draw_lines(axes: Axes, lines: dict[str, tuple[Sequence[float], Sequence[float]]], result: StudyResult) -> None:
    shown = looks([arm.name for arm in result.arms])
    for place, (name, (across, values)) in enumerate(lines.items()):
        look = shown[name]
        # markers of lines that lie close stand at different places
        every = (0.01 * (place % 10), 0.1) if len(across) > len(SHARES) // 2 else None
        axes.plot(
            across, values, color=look.colour, linestyle=look.dashes, marker=look.marker, markevery=every,
            markersize=4.5, fillstyle=look.fillstyle, linewidth=1.4, label=name,
        )  # fmt: skip
    axes.grid(axis="y")


def _above_legend(panels: dict[str, list[str]]) -> tuple[float, float]:
    """Room for the longest legend beneath the panels, which stands in four columns over all of them."""
    rows = -(-(1 + max(map(len, panels.values()))) * len(panels) // 4)
    return (_WIDTH, 4.2 + 0.2 * rows)


def _put_legend(axes: Axes, panels: int) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4 // panels, columnspacing=1.2)


def by_time(result: StudyResult) -> str:
    """Quality against the time that reranking takes."""
    shown = looks([arm.name for arm in result.arms])
    points = {}
    with drawing("time", (_WIDTH, 5.8)) as (axes,):
        for arm in result.arms:
            points[arm.name] = (usual_pace(result.costs[arm.name]), arm.mean.mean(result.frame.headline))
            look = shown[arm.name]
            axes.plot(*points[arm.name], look.marker, color=look.colour, fillstyle=look.fillstyle, zorder=3)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.minorticks_off()
        axes.margins(x=0.12, y=0.08)
        axes.set_xlabel("milliseconds per query for scoring; frozen arms are hollow")
        axes.set_ylabel(result.frame.headline)
        axes.grid()
        _name_points(axes, points)
        return as_svg(axes)


def _name_points(axes: Axes, points: dict[str, tuple[float, float]]) -> None:
    """A name near each point, and a line to it where it stands further away."""
    figure = axes.get_figure(root=True)
    if figure is None:
        return
    # where a point lies on the page is known only once there is a layout
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    scale = 72 / figure.dpi
    found = {
        name: (x * scale, y * scale)
        for name, (x, y) in zip(points, axes.transData.transform(list(points.values())), strict=True)
    }
    for name, box in placed(found, Box(*(edge * scale for edge in axes.bbox.extents))).items():
        x, y = found[name]
        # the widths of letters are estimates: a name is held at the side that is nearest to its point
        side = "left" if box.left > x else "right" if box.right < x else "center"
        offset = ({"left": box.left, "right": box.right, "center": x}[side] - x, (box.bottom + box.top) / 2 - y)
        if abs(offset[1]) > LINE / 2:
            axes.annotate(
                "", points[name], xytext=offset, textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": SOFT, "linewidth": 0.8},
            )  # fmt: skip
        axes.annotate(name, points[name], xytext=offset, textcoords="offset points", fontsize=8, ha=side, va="center")
