"""P-values, intervals and corrections against scipy, exact enumeration and worked examples; nothing is left out."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ranker.data.run import Ranking, Run
from ranker.data.trec import read_qrels, read_run
from ranker.errors import DataError
from ranker.evaluation.measures import Evaluation, evaluate, parse_measures
from ranker.evaluation.significance import (
    Comparison,
    bootstrap_interval,
    compare,
    holm,
    randomisation_test,
    t_test,
)

Floats = NDArray[np.float64]


def column(*differences: float) -> Floats:
    return np.array(differences, dtype=np.float64)[:, None]


def evaluation(name: str, values: Sequence[float], missing: Sequence[str] = (), measure: str = "nDCG@10") -> Evaluation:
    query_ids = tuple(f"q{i}" for i in range(len(values)))
    measures = parse_measures([measure])
    return Evaluation(name, measures, query_ids, {measure: np.array(values, float)}, tuple(missing), (), {})


def trec_dl(folder: Path, *systems: str, year: str = "dl19") -> list[Evaluation]:
    qrels = read_qrels(folder / "trec-dl" / "qrels" / f"{year}.tsv")
    measures = parse_measures(["nDCG@10", "AP(rel=2)"])
    return [evaluate(read_run(folder / "trec-dl" / "runs" / f"{year}.{s}.run"), qrels, measures) for s in systems]


def enumerated(differences: Sequence[float]) -> float:
    """Every choice of signs, one at a time."""
    observed = abs(sum(differences))
    sums = [
        abs(sum(map(float.__mul__, signs, differences)))
        for signs in itertools.product((1.0, -1.0), repeat=len(differences))
    ]
    return sum(s >= observed - 1e-9 for s in sums) / len(sums)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.1, -0.1, 0.25, -0.3, 0.7, 1.0]), min_size=2, max_size=10))
def test_few_differences_are_counted_out_exactly(differences: list[float]) -> None:
    assert randomisation_test(column(*differences), 2_000, 0)[0] == enumerated(differences)


def test_exact_p_equals_scipys() -> None:
    differences = np.random.default_rng(3).normal(0.1, 0.2, size=12)
    oracle = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=1_000_000, alternative="two-sided"
    )
    assert randomisation_test(column(*differences), 100_000, 0)[0] == pytest.approx(oracle.pvalue, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.03, 0.06, 0.2])
def test_sampled_p_agrees_with_scipys(shift: float) -> None:
    differences = np.random.default_rng(5).normal(shift, 0.2, size=43)
    oracle = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(1)
    )
    assert randomisation_test(column(*differences), 20_000, 0)[0] == pytest.approx(oracle.pvalue, abs=0.015)


def test_sampled_p_agrees_with_the_exact_one() -> None:
    columns = np.random.default_rng(11).normal(0.05, 0.2, size=(14, 8))
    sampled = randomisation_test(columns, 2**14 - 1, 0)
    exact = randomisation_test(columns, 2**14, 0)
    np.testing.assert_allclose(sampled, exact, atol=0.02)
    assert (sampled != exact).any()


def test_sampled_p_is_never_zero() -> None:
    assert randomisation_test(column(*[1.0] * 100), 999, 0)[0] == 1 / 1000


def test_p_is_uniform_where_there_is_no_difference() -> None:
    columns = np.random.default_rng(2).normal(0.0, 0.3, size=(40, 2_000))
    for p_values in (randomisation_test(columns, 2_000, 0), t_test(columns)):
        for level in (0.01, 0.05, 0.2, 0.5):
            assert (p_values <= level).mean() == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 2_000))


def test_queries_without_a_difference_change_no_exact_p() -> None:
    assert randomisation_test(column(0.5, 0.25, 0.5), 1_000, 0) == randomisation_test(
        column(0.5, 0.25, 0.5, *[0.0] * 500), 1_000, 0
    )


def test_ties_between_relabellings_count_in_spite_of_rounding() -> None:
    """0.1 + 0.2 - 0.3 is not 0 in floating point, yet all eight signs but two reach the observed 0."""
    assert randomisation_test(column(0.1, 0.2, -0.3), 1_000, 0)[0] == 1.0


@pytest.mark.parametrize("gains", [12, 14, 16])
def test_sampled_relabellings_that_tie_count_in_spite_of_rounding(gains: int) -> None:
    """Differences of one size make this the sign test, and most sums tie with the observed one."""
    differences = [0.1] * gains + [-0.1] * (24 - gains)
    expected = scipy.stats.binomtest(gains, 24).pvalue
    assert randomisation_test(column(*differences), 20_000, 0)[0] == pytest.approx(expected, abs=0.015)


def test_a_p_does_not_depend_on_what_is_compared_beside_it() -> None:
    columns = np.random.default_rng(4).normal(0.02, 0.2, size=(60, 5))
    together = randomisation_test(columns, 5_000, 9)
    alone = [randomisation_test(columns[:, [place]], 5_000, 9)[0] for place in range(5)]
    assert together.tolist() == alone


def test_chunks_of_samples_add_up_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranker.evaluation.significance._CELLS", 170)
    columns = np.random.default_rng(4).normal(0.02, 0.2, size=(50, 2))
    oracle = scipy.stats.ttest_1samp(columns, 0).pvalue
    np.testing.assert_allclose(randomisation_test(columns, 10_000, 0), oracle, atol=0.02)
    low, high = bootstrap_interval(columns, 3_001, 0)
    assert (low < columns.mean(axis=0)).all()
    assert (columns.mean(axis=0) < high).all()


def test_t_test_equals_scipys() -> None:
    columns = np.random.default_rng(8).normal(0.03, 0.2, size=(30, 6))
    np.testing.assert_allclose(t_test(columns), scipy.stats.ttest_1samp(columns, 0).pvalue, rtol=1e-9)


def test_runs_that_agree_everywhere_have_p_one() -> None:
    """With warnings as errors: scipy divides 0 by 0 here."""
    assert t_test(np.zeros((5, 1)))[0] == 1.0
    assert randomisation_test(np.zeros((5, 1)), 1_000, 0)[0] == 1.0
    assert bootstrap_interval(np.zeros((5, 1)), 1_000, 0).tolist() == [[0.0], [0.0]]


def test_the_same_difference_on_every_query_is_certain_to_the_t_test() -> None:
    assert t_test(np.full((5, 1), 0.1))[0] == 0.0
    assert t_test(np.full((5, 1), -0.1))[0] == 0.0


def test_interval_equals_scipys_percentile_bootstrap() -> None:
    differences = np.random.default_rng(6).exponential(0.2, size=50)
    oracle = scipy.stats.bootstrap(
        (differences,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(0)
    ).confidence_interval
    low, high = bootstrap_interval(column(*differences), 20_000, 0)
    assert (low[0], high[0]) == pytest.approx((oracle.low, oracle.high), abs=0.004)


def test_interval_holds_the_true_difference_about_95_times_in_100() -> None:
    columns = np.random.default_rng(12).normal(0.1, 0.3, size=(50, 1_500))
    low, high = bootstrap_interval(columns, 1_000, 0)
    assert ((low <= 0.1) & (high >= 0.1)).mean() == pytest.approx(0.94, abs=0.02)


def test_holm_equals_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lowers_no_p_and_keeps_their_order(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, corrected, strict=True))
    ordered = [corrected[i] for i in sorted(range(len(p_values)), key=p_values.__getitem__)]
    assert ordered == sorted(ordered)


def test_a_family_for_holm_is_the_runs_of_one_measure(shared_data: Path) -> None:
    three = compare(trec_dl(shared_data, "bm25", "tas-b", "bm25-rm3"))
    for measure in ("nDCG@10", "AP(rel=2)"):
        raw = [three.of(run, measure).p_randomisation for run in ("tas-b", "bm25-rm3")]
        assert [three.of(run, measure).p_randomisation_holm for run in ("tas-b", "bm25-rm3")] == holm(raw)
    alone = compare(trec_dl(shared_data, "bm25", "tas-b")).of("tas-b", "nDCG@10")
    assert alone.p_randomisation_holm == alone.p_randomisation == three.of("tas-b", "nDCG@10").p_randomisation


def test_dense_retrieval_beats_bm25_on_trec_dl(shared_data: Path) -> None:
    found = compare(trec_dl(shared_data, "bm25", "tas-b")).of("tas-b", "nDCG@10")
    assert (round(found.mean, 4), round(found.baseline_mean, 4)) == (0.7210, 0.5058)
    assert found.difference == pytest.approx(found.mean - found.baseline_mean)
    assert found.low < found.difference < found.high
    assert (found.wins, found.ties, found.losses) == (34, 0, 9)
    assert found.outcome == "won"


def test_turned_around_the_comparison_says_the_same(shared_data: Path) -> None:
    runs = trec_dl(shared_data, "bm25", "tas-b")
    forward = compare(runs).of("tas-b", "nDCG@10")
    backward = compare(runs, "tas-b").of("bm25", "nDCG@10")
    assert backward.outcome == "lost"
    assert backward.p_randomisation == forward.p_randomisation
    assert (backward.wins, backward.losses) == (forward.losses, forward.wins)
    assert (backward.low, backward.high) == pytest.approx((-forward.high, -forward.low))


def test_the_same_seed_gives_the_same_answer_and_another_nearly_so(shared_data: Path) -> None:
    runs = trec_dl(shared_data, "bm25", "bm25-rm3")
    first, again, other = (compare(runs, seed=seed).of("bm25-rm3", "AP(rel=2)") for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first.p_randomisation == pytest.approx(other.p_randomisation, abs=0.005)


def test_a_difference_that_could_be_chance_is_undecided(shared_data: Path) -> None:
    assert compare(trec_dl(shared_data, "bm25", "bm25-rm3")).of("bm25-rm3", "nDCG@10").outcome == "undecided"


def test_the_corrected_p_decides_the_outcome(shared_data: Path) -> None:
    found = compare(trec_dl(shared_data, "bm25", "tas-b")).of("tas-b", "nDCG@10")
    assert replace(found, p_randomisation=0.03, p_randomisation_holm=0.06).outcome == "undecided"
    assert replace(found, p_randomisation=0.02, p_randomisation_holm=0.04).outcome == "won"


def test_a_run_and_itself_under_another_name_are_undecided_without_warning() -> None:
    same = compare([evaluation("a", [0.1, 0.2, 0.3]), evaluation("b", [0.1, 0.2, 0.3])]).differences[0]
    assert (same.p_randomisation, same.p_t, same.low, same.high) == (1.0, 1.0, 0.0, 0.0)
    assert (same.wins, same.ties, same.losses) == (0, 3, 0)
    assert same.outcome == "undecided"


def test_rounding_makes_no_winner() -> None:
    found = compare([evaluation("a", [0.3, 0.5]), evaluation("b", [0.1 + 0.2, 0.5])]).differences[0]
    assert (found.wins, found.ties, found.losses) == (0, 2, 0)


def test_a_run_that_lacks_queries_is_refused_and_they_are_named() -> None:
    runs = [evaluation("bm25", [0.5] * 6), evaluation("mine", [0.9, 0.9, 0, 0, 0, 0], ["q2", "q3", "q4", "q5"])]
    with pytest.raises(
        DataError, match=r"run mine lacks 4 of 6 judged queries \(q2, q3, q4, \.\.\.\); .*--missing zero"
    ):
        compare(runs)


def test_missing_queries_count_zero_when_told_and_are_not_dropped() -> None:
    qrels = {str(q): {"a": 1} for q in range(4)}
    good = Ranking.ordered(["a", "b"], [2.0, 1.0])
    poor = Ranking.ordered(["a", "b"], [1.0, 2.0])
    full = Run("full", dict.fromkeys(qrels, poor))
    part = Run("part", {"0": good})
    measures = parse_measures(["RR"])
    result = compare([evaluate(full, qrels, measures), evaluate(part, qrels, measures)], missing="zero")
    found = result.of("part", "RR")
    assert (found.mean, found.baseline_mean) == (0.25, 0.5)
    assert (found.wins, found.ties, found.losses) == (1, 0, 3)
    assert result.queries == 4
    assert result.missing == {"part": ("1", "2", "3")}


def test_the_baseline_is_the_first_run_unless_named() -> None:
    runs = [evaluation(name, [0.1, 0.2]) for name in "abc"]
    assert compare(runs).baseline == "a"
    assert [d.run for d in compare(runs, "b").differences] == ["a", "c"]
    with pytest.raises(DataError, match="baseline 'd' is none of the runs compared, expected one of a, b, c"):
        compare(runs, "d")


def test_two_runs_of_one_name_are_refused() -> None:
    with pytest.raises(DataError, match="two runs are named 'a'"):
        compare([evaluation("a", [0.1, 0.2]), evaluation("a", [0.1, 0.3])])


def test_what_cannot_be_compared_is_refused() -> None:
    two = [evaluation("a", [0.1, 0.2]), evaluation("b", [0.1, 0.2])]
    with pytest.raises(DataError, match="at least 2 runs, found 1"):
        compare(two[:1])
    with pytest.raises(DataError, match="at least 2 runs, found 0"):
        compare([])
    with pytest.raises(DataError, match="at least 2 queries, found 1"):
        compare([evaluation("a", [0.1]), evaluation("b", [0.2])])
    with pytest.raises(DataError, match="a and c were evaluated with other qrels or measures"):
        compare([two[0], evaluation("c", [0.1, 0.2, 0.3])])
    with pytest.raises(DataError, match="a and c were evaluated with other qrels or measures"):
        compare([two[0], evaluation("c", [0.1, 0.2], measure="AP")])
    with pytest.raises(DataError, match="at least 1 measure, found 0"):
        compare([Evaluation(name, (), ("1", "2"), {}, (), (), {}) for name in "ab"])


def test_asking_for_what_was_not_compared_is_a_key_error() -> None:
    result: Comparison = compare([evaluation("a", [0.1, 0.2]), evaluation("b", [0.1, 0.2])])
    with pytest.raises(KeyError):
        result.of("a", "nDCG@10")
