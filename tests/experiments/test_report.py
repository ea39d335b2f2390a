"""The report as Markdown and as a page: what stands in it, and whether it can be read."""

import math
import re
import warnings
from dataclasses import replace
from importlib import resources
from itertools import pairwise

import numpy as np
import pytest

from ranker.data.run import Ranking, Run
from ranker.evaluation.measures import parse_measures
from ranker.evaluation.significance import compare
from ranker.experiments.arms import FIRST_STAGE, StudyConfig, arms_of
from ranker.experiments.plots import (
    SHARES,
    all_plots,
    is_frozen,
    joined,
    learning_curves,
    loss_of_chance,
    mean_curve,
    plot_styles,
    ranks,
)
from ranker.experiments.report import against_standard, costs, markdown, page, summary
from ranker.experiments.results import ArmRuns, Cost, ReportHeader, record, study_result
from ranker.report.tables import p_value
from ranker.settings.model import MODES
from ranker.settings.training import TrainingConfig

TRAINING = {"negatives": 7, "groups_per_step": 16}
ARMS = arms_of(StudyConfig(ablations=True, training=TrainingConfig(max_steps=1, validations=0)))
NAMES = [arm.name for arm in ARMS]
QUERIES, DEPTH = 12, 5
QRELS = {f"q{query}": {f"d{query % DEPTH}": 1} for query in range(QUERIES)}
MEASURES = parse_measures(["RR@10", "nDCG@10"])
CSS = resources.files("ranker.report").joinpath("page.html").read_text(encoding="utf-8")


def run_of(name, place):
    """The relevant passage of every query stands at that place, from 0, or elsewhere in turn where it is None."""
    rankings = {}
    for query in range(QUERIES):
        others = [f"d{number}" for number in range(DEPTH) if number != query % DEPTH]
        at = (query * 7 + len(name)) % DEPTH if place is None else place
        order = [*others[:at], f"d{query % DEPTH}", *others[at:]]
        rankings[f"q{query}"] = Ranking.ordered(order, [float(DEPTH - rank) for rank in range(DEPTH)])
    return Run(name, rankings)


def result_of(names, place=None, losses=(2.0, 1.5, 1.0), first=2):
    known = {arm.name: arm for arm in ARMS}
    arms = {}
    for number, name in enumerate(names):
        seeds = (1, 2, 3) if known[name].learns else (None,)
        cost = Cost(len(losses), 16, 60.0, 20.0 + number % 5, losses if known[name].learns else ())
        slowed = [cost._replace(milliseconds_per_query=500.0 * (seed == 3) + cost[3]) for seed in seeds]
        paces = dict(zip(seeds, slowed, strict=True))
        arms[name] = ArmRuns(dict.fromkeys(seeds, run_of(name, place)), paces, {"q0": 0.2})
    frame = ReportHeader("toy", {"training": TRAINING}, MEASURES, "RR@10", DEPTH)
    return study_result(run_of(FIRST_STAGE, first), arms, QRELS, frame)


@pytest.fixture(scope="module")
def whole():
    return result_of(NAMES)


@pytest.fixture(scope="module")
def written(whole):
    return page(whole)


@pytest.fixture(scope="module")
def plots(whole):
    return all_plots(whole)


# colours


def luminance(colour):
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """WCAG 2.2."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def themes():
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", CSS, re.S)
    )
    assert light.keys() == dark.keys()
    return {"light": light, "dark": dark}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_line_can_be_seen_and_every_word_read_on_its_ground(theme):
    colours = themes()[theme]
    arms = [colours[f"arm-{place}"] for place in range(len(MODES))]
    assert min(contrast(colour, colours["panel"]) for colour in (*arms, colours["soft"])) >= 3
    assert len(set(arms)) == len(MODES)
    for words in ("ink", "soft", "held", "lost", "open"):
        assert contrast(colours[words], colours["paper"]) >= 4.5, words
    assert contrast(colours["ink"], colours["panel"]) >= 4.5


def test_plots_know_no_colours_but_the_pages(plots):
    for svg in plots.values():
        assert re.findall(r"#[0-9a-fA-F]{6}\b", svg) == []
        assert set(re.findall(r"var\(--([\w-]+)\)", svg)) <= themes()["light"].keys()


def test_names_are_in_ink(plots):
    for svg in plots.values():
        texts = re.findall(r"<text([^>]*)>", svg)
        assert texts
        assert not [text for text in texts if "var(--arm" in text]


# arms


def test_no_two_arms_of_a_panel_look_alike():
    shown = plot_styles(NAMES)
    assert len(set(shown.values())) == len(NAMES)
    for frozen in (True, False):
        panel = [shown[name] for name in NAMES if is_frozen(name) == frozen]
        assert len({(style.colour, style.dashes) for style in panel}) == len(panel)
        assert {style.hollow for style in panel} == {frozen}
    assert len({style.marker for style in shown.values()}) == len(MODES)


def test_a_mode_beyond_the_tenth_has_a_look_of_its_own_in_the_pages_colours_and_a_loss_of_chance(monkeypatch):
    modes = [f"new{number}" for number in range(len(MODES), 13)]
    for mode in modes:
        monkeypatch.setitem(MODES, mode, MODES["cross"])
    styles = plot_styles([*MODES, *(f"{mode}-frozen" for mode in modes)])
    assert len({style[:2] for name, style in styles.items() if name in MODES}) == len(MODES)
    assert {styles[mode].colour for mode in modes} <= {styles[mode].colour for mode in list(MODES)[:10]}
    assert all(styles[f"{mode}-frozen"] == styles[mode]._replace(hollow=True) for mode in modes)
    assert {loss_of_chance(mode, TRAINING) for mode in modes} == {loss_of_chance("cross", TRAINING)}


def test_points_are_numbered_from_the_best_and_named_in_the_legend(whole, plots):
    texts = re.findall(r"<text[^>]*>([^<]+)</text>", plots["RR@10 against milliseconds per query"])
    for number, arm in enumerate(whole.arms, start=1):
        assert str(number) in texts
        assert f"{number} {arm.name}" in texts


@pytest.mark.parametrize("title", ["Loss while training", "RR@10 against depth"])
def test_frozen_arms_have_a_panel_of_their_own(plots, title):
    svg = plots[title]
    panels = re.split(r'<g id="\w+-axes_\d"', svg)[1:]
    assert len(panels) == 2
    for panel, frozen in zip(panels, (False, True), strict=True):
        named = set(re.findall(r"<text[^>]*>([^<]+)</text>", panel)) & set(NAMES)
        wanted = {arm.name for arm in ARMS if arm.frozen == frozen and (arm.learns or "depth" in title)}
        assert named == wanted


def test_a_study_of_one_tuning_has_one_panel():
    svg = learning_curves(result_of(["cross", "knrm"]))
    assert len(re.findall(r'<g id="\w+-axes_\d"', svg)) == 1


# learning curves


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cross", np.log(8)),
        ("knrm-frozen", np.log(8)),
        ("dual", np.log(8 * 16)),
        ("dual-classification", -(np.log(1 / 8) + 7 * np.log(7 / 8)) / 8),
    ],
)
def test_the_loss_of_chance_is_that_of_the_arms_own_loss(name, expected):
    assert loss_of_chance(name, TRAINING) == pytest.approx(expected)


def test_the_loss_of_chance_is_what_the_loss_says_of_equal_scores():
    import torch

    from ranker.training.losses import LOSSES

    scores = torch.zeros(16, 8)
    assert LOSSES["listwise"].chance(scores).item() == pytest.approx(loss_of_chance("cross", TRAINING))
    assert LOSSES["pointwise"].chance(scores).item() == pytest.approx(loss_of_chance("dual-classification", TRAINING))
    among_all = LOSSES["contrastive"].function(torch.zeros(16, 128))
    assert among_all.item() == pytest.approx(loss_of_chance("dual", TRAINING))


def test_a_curve_is_the_mean_over_seeds_whatever_their_steps():
    found = mean_curve([[3.0] * 4, [1.0] * 9])
    assert found.tolist() == pytest.approx([2.0] * len(SHARES))
    falling = mean_curve([[2.0, 1.0], [4.0, 3.0, 2.0, 1.0]])
    assert falling[0] == pytest.approx(3.0)
    assert falling[50] == pytest.approx((2.0 + 3.0) / 2)
    assert falling[-1] == pytest.approx(1.0)


def test_every_seed_counts_in_the_learning_curves(whole):
    other = {1: whole.costs["cross"][1], 2: whole.costs["cross"][2]._replace(losses=(1.0, 0.2, 0.1))}
    changed = replace(whole, costs={**whole.costs, "cross": other})
    assert learning_curves(changed) != learning_curves(whole)


@pytest.mark.parametrize("losses", [(1.1, 1.0, 0.9), (2.1, 0.5, 0.01)])
def test_losses_are_read_off_plain_numbers(losses):
    svg = learning_curves(result_of(["cross", "dual"], losses=losses))
    said = re.findall(r"<text[^>]*>([^<]+)</text>", svg.split('id="curves-matplotlib.axis_2"')[1].split("loss /")[0])
    assert len(said) >= 4
    assert all(re.fullmatch(r"\d\.\d+", number) for number in said), said


def test_a_study_that_trains_nothing_has_no_learning_curves_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written = page(result_of(["dual-frozen-cls", "dual-frozen-mean"]))
    assert "Loss while training" not in written
    assert written.count("<figure>") == 5


# mean ranks


def segments(svg):
    """The stretches of all leaders, as ends from left to right and from top to bottom."""
    for path in re.findall(r'<path d="([^"]+)"[^>]*stroke: var\(--soft\)', svg):
        corners = [tuple(map(float, pair)) for pair in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)]
        for start, end in pairwise(corners):
            yield tuple(sorted((start, end)))


def test_no_line_runs_through_a_name_of_the_mean_ranks(whole):
    svg = ranks(whole)
    found = re.findall(r'<text style="([^"]*)"[^>]*x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]+)<', svg)
    labels = [(style, float(x), float(y), text) for style, x, y, text in found if any(n in text for n in NAMES)]
    assert len(labels) == len(NAMES)
    lines = list(segments(svg))
    assert len(lines) >= 2 * len(NAMES)
    for style, x, y, text in labels:
        width = 5.0 * len(text)
        left, right = (x - width, x) if "end" in style else (x, x + width)
        for (a, b), (c, d) in lines:
            across = a < right - 1 and c > left + 1
            assert not (across and min(b, d) < y and max(b, d) > y - 7), text


def test_stretches_join_what_lies_within_the_width_and_none_lies_inside_another():
    assert list(joined([1.0, 1.4, 1.8, 3.0, 3.2], 0.5)) == [(1.0, 1.4), (1.4, 1.8), (3.0, 3.2)]
    assert list(joined([1.0, 2.0, 3.0], 0.5)) == []
    assert list(joined([1.0, 1.1, 1.2], 5.0)) == [(1.0, 1.2)]


# what an arm takes


def test_a_seed_that_was_slowed_down_does_not_count(whole):
    table = costs(whole)
    assert table.head[-1] == "ms per query"
    assert {row[0]: row[-1] for row in table.rows} == {
        name: f"{20.0 + number % 5:.1f}" for number, name in enumerate(NAMES)
    }


def test_arms_that_read_apart_have_their_time_with_vectors_at_hand_where_it_was_measured(whole):
    times = {
        name: {
            seed: cost._replace(indexed_milliseconds=1.5 if name.startswith("dual") else math.nan)
            for seed, cost in one.items()
        }
        for name, one in whole.costs.items()
    }
    table = costs(replace(whole, costs=times))
    assert table.head[-1] == "ms indexed"
    assert {row[0]: row[-1] for row in table.rows} == {name: "1.5" if name.startswith("dual") else "" for name in NAMES}
    assert table.notes[-1].startswith("ms indexed: ")


# every run against cross


def test_every_run_but_itself_is_held_against_cross_the_best_first(whole):
    (table,) = against_standard(whole)
    cross = whole.rows["cross"].mean.values["RR@10"]
    by_hand = {name: (whole.rows[name].mean.values["RR@10"] - cross) for name in [FIRST_STAGE, *NAMES]}
    assert {row[0] for row in table.rows} == set(by_hand) - {"cross"}
    for name, difference, _, _, counts in table.rows:
        assert float(difference) == pytest.approx(by_hand[name].mean(), abs=5e-5)
        signs = np.sign(np.round(by_hand[name], 9))
        assert counts == "/".join(str((signs == sign).sum()) for sign in (1, 0, -1))
    found = [float(row[1]) for row in table.rows]
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0


def test_p_against_cross_is_corrected_over_the_runs_of_that_table(whole):
    (table,) = against_standard(whole)
    others = [whole.rows[name].mean for name in (FIRST_STAGE, *NAMES)]
    apart = {one.run: one for one in compare(others, "cross").differences}
    assert {row[0]: row[3] for row in table.rows} == {
        name: p_value(one.p_randomisation_holm) for name, one in apart.items()
    }
    assert any(one.p_randomisation_holm > one.p_randomisation for one in apart.values())


def test_it_stands_behind_the_claims_in_both_reports_and_with_every_measure_in_the_record(whole, written):
    for report in (re.findall("^## (.*)$", markdown(whole), re.M), re.findall("<h2>(.*?)</h2>", written)):
        assert report.index("Against cross") == report.index("Claims") + 1
    found = record(whole)["against_standard"]
    assert found["baseline"] == "cross"
    assert [one["run"] for one in found["differences"] if one["measure"] == "nDCG@10"] == [
        name for name in (FIRST_STAGE, *NAMES) if name != "cross"
    ]


@pytest.mark.parametrize("names", [["cross"], ["dual", "mult-int"]])
def test_a_study_of_cross_alone_or_without_it_holds_nothing_against_it(names):
    result = result_of(names)
    assert against_standard(result) == []
    assert record(result)["against_standard"] is None
    assert "Against cross" not in markdown(result)
    assert "Against cross" not in page(result)


# words


def test_an_answer_stands_under_its_head(written):
    assert '<th class="words">answer</th>' in written
    answers = re.findall(r'<td class="([^"]*)">(?:held|not held|undecided)</td>', written)
    assert answers
    assert all(set(classes.split()) & {"held", "lost", "open"} and "words" in classes for classes in answers)


def test_a_long_claim_keeps_some_width_on_a_phone(written):
    assert '<td class="words long">Reading together is above reading apart, trained contrastively</td>' in written
    assert re.search(r"\.long \{ min-width: \d\drem;", CSS)
    assert re.search(r"^figure \{[^}]*overflow-x: auto;", CSS, re.M)
    assert re.search(r"^svg \{[^}]*min-width: \d\drem;", CSS, re.M)


def test_the_page_says_that_its_values_are_means_over_seeds(written):
    assert "is a query's mean over its seeds" in written


def test_what_rounds_to_nothing_has_no_sign(whole):
    row = whole.rows["cross"]
    first = whole.rows[FIRST_STAGE].mean.values["RR@10"]
    close = replace(row, mean=replace(row.mean, values={**row.mean.values, "RR@10": first - 1e-5}))
    nearly = replace(whole, rows={**whole.rows, "cross": close})
    line = next(line for line in markdown(nearly).splitlines() if line.startswith("| cross |"))
    assert line.endswith("| 0% |")


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        (3, "It lost 12% of what reordering 5 passages could gain."),
        (2, "It captured 0% of what reordering 5 passages could gain."),
        (0, "It captured 100% of what reordering 5 passages could gain."),
    ],
)
def test_the_summary_says_whether_the_best_arm_gained_or_lost(place, sentence):
    """The first stage has RR 1/3, of at most 1: at rank 4 a twelfth is lost, an eighth of what could be gained."""
    assert summary(result_of(["cross"], place)).endswith(sentence)
