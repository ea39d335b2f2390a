"""Values equal trec_eval's, on real runs and on runs made to mislead; what is missing or unjudged is counted."""

import importlib.util
import math
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import ir_measures
import numpy as np
import pytest
import pytrec_eval
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ranker.data.records import Qrels
from ranker.data.run import Ranking, Run
from ranker.data.trec import read_qrels, read_run
from ranker.errors import DataError, RankerError, SetupError
from ranker.evaluation.measures import Evaluation, evaluate, parse_measures
from ranker.limits import DEFAULT_MEASURES

Scores = Mapping[str, Mapping[str, float]]

TREC_EVAL_NAMES = {
    "nDCG@10": "ndcg_cut_10",
    "nDCG": "ndcg",
    "AP": "map",
    "RR": "recip_rank",
    "P@10": "P_10",
    "R@100": "recall_100",
    "Rprec": "Rprec",
    "Bpref": "bpref",
    "Success@1": "success_1",
}


def run_of(scores: Scores, name: str = "system") -> Run:
    return Run(name, {query_id: Ranking.ordered(list(s), list(s.values())) for query_id, s in scores.items()})


def evaluated(scores: Scores, qrels: Qrels, *measures: str) -> Evaluation:
    return evaluate(run_of(scores), qrels, parse_measures(measures))


def value(scores: Mapping[str, float], judged: dict[str, int], measure: str) -> float:
    return evaluated({"q": scores}, {"q": judged}, measure).mean(measure)


def naive(ranked: list[str], judged: dict[str, int], measure: str) -> float:
    """The definitions, a loop each, relevance 1 or more being relevant."""
    gains = [max(0, judged.get(doc_id, 0)) for doc_id in ranked]
    ideal = sorted((max(0, relevance) for relevance in judged.values()), reverse=True)
    relevant = sum(gain > 0 for gain in ideal)
    hits = [place for place, gain in enumerate(gains, start=1) if gain]
    if measure == "nDCG@3":
        best = sum(gain / math.log2(place + 1) for place, gain in enumerate(ideal[:3], start=1))
        found = sum(gain / math.log2(place + 1) for place, gain in enumerate(gains[:3], start=1))
        return found / best if best else 0.0
    if measure == "AP":
        return sum((n + 1) / place for n, place in enumerate(hits)) / relevant if relevant else 0.0
    if measure == "P@3":
        return sum(place <= 3 for place in hits) / 3
    if measure == "R@3":
        return sum(place <= 3 for place in hits) / relevant if relevant else 0.0
    cutoff = {"RR": math.inf, "RR@3": 3}[measure]
    return next((1 / place for place in hits if place <= cutoff), 0.0)


NAIVE = ("nDCG@3", "AP", "P@3", "R@3", "RR", "RR@3")

DOC_IDS = st.sampled_from([f"d{i}" for i in range(8)] + ["10", "9", "D1", "é"])
TIED_SCORES = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 1.00000001, 1.0000001, 1e-30, 16777216.0, 16777217.0])
RUNS = st.dictionaries(
    st.sampled_from("abcd"), st.dictionaries(DOC_IDS, TIED_SCORES, min_size=1, max_size=10), min_size=1
)
QRELS = st.dictionaries(
    st.sampled_from("abcd"), st.dictionaries(DOC_IDS, st.integers(-1, 3), min_size=1, max_size=10), min_size=1
)


@pytest.mark.parametrize(("year", "published"), [("dl19", 0.5058), ("dl20", 0.4796)])
def test_bm25_has_its_published_ndcg(shared_data: Path, year: str, published: float) -> None:
    run = read_run(shared_data / "trec-dl" / "runs" / f"{year}.bm25.run")
    qrels = read_qrels(shared_data / "trec-dl" / "qrels" / f"{year}.tsv")
    assert round(evaluate(run, qrels, parse_measures(["nDCG@10"])).mean("nDCG@10"), 4) == published


@pytest.mark.parametrize(("year", "published"), [("dl19", 0.4910), ("dl20", 0.5599)])
def test_bm25_has_its_published_recall_of_passages_graded_two(shared_data: Path, year: str, published: float) -> None:
    run = read_run(shared_data / "trec-dl" / "runs" / f"{year}.bm25.run")
    qrels = read_qrels(shared_data / "trec-dl" / "qrels" / f"{year}.tsv")
    assert round(evaluate(run, qrels, parse_measures(["R(rel=2)@100"])).mean("R(rel=2)@100"), 4) == published


@pytest.mark.parametrize("system", ["bm25", "bm25-rm3", "tas-b"])
@pytest.mark.parametrize("year", ["dl19", "dl20"])
def test_every_query_of_trec_dl_has_trec_evals_values(shared_data: Path, year: str, system: str) -> None:
    path = shared_data / "trec-dl" / "runs" / f"{year}.{system}.run"
    qrels = read_qrels(shared_data / "trec-dl" / "qrels" / f"{year}.tsv")
    raw: dict[str, dict[str, float]] = {}
    for line in path.read_text().splitlines():
        query_id, _, doc_id, _, score, _ = line.split()
        raw.setdefault(query_id, {})[doc_id] = float(score)
    ours = evaluate(read_run(path), qrels, parse_measures(TREC_EVAL_NAMES))
    theirs = pytrec_eval.RelevanceEvaluator(qrels, set(TREC_EVAL_NAMES.values())).evaluate(raw)
    for measure, name in TREC_EVAL_NAMES.items():
        expected = {query_id: values[name] for query_id, values in theirs.items()}
        assert ours.per_query(measure) == pytest.approx(expected, abs=1e-9), measure


@settings(max_examples=150, deadline=None)
@given(scores=RUNS, qrels=QRELS)
def test_ties_are_broken_as_trec_eval_breaks_them(scores: dict[str, dict[str, float]], qrels: Qrels) -> None:
    assume(scores.keys() & qrels.keys())
    ours = evaluated(scores, qrels, *TREC_EVAL_NAMES)
    answerable = {q: judged for q, judged in qrels.items() if max(judged.values()) >= 0}
    theirs = pytrec_eval.RelevanceEvaluator(answerable, set(TREC_EVAL_NAMES.values())).evaluate(scores)
    for measure, name in TREC_EVAL_NAMES.items():
        expected = {query_id: theirs.get(query_id, {}).get(name, 0.0) for query_id in qrels}
        assert ours.per_query(measure) == pytest.approx(expected, abs=1e-9), measure


@settings(max_examples=150, deadline=None)
@given(scores=RUNS, qrels=QRELS)
def test_values_equal_the_definitions(scores: dict[str, dict[str, float]], qrels: Qrels) -> None:
    assume(scores.keys() & qrels.keys())
    run = run_of(scores)
    ours = evaluate(run, qrels, parse_measures(NAIVE))
    for measure in NAIVE:
        expected = {q: naive(list(run[q].doc_ids) if q in run else [], judged, measure) for q, judged in qrels.items()}
        assert ours.per_query(measure) == pytest.approx(expected, abs=1e-9), measure


@settings(max_examples=50, deadline=None)
@given(scores=RUNS, qrels=QRELS)
def test_a_measure_has_one_value_whatever_is_asked_with_it(scores: dict[str, dict[str, float]], qrels: Qrels) -> None:
    assume(scores.keys() & qrels.keys())
    names = ("AP(rel=2)", "nDCG@3", "P(rel=3)@3", "nDCG(judged_only=True)@3", "nDCG", "RR@3", "Judged@3", "Compat")
    together = evaluated(scores, qrels, *names)
    for name in names:
        assert together.per_query(name) == evaluated(scores, qrels, name).per_query(name)


@pytest.mark.parametrize("measure", ["RR", "RR@10"])
def test_two_tied_passages_stand_by_doc_id_falling_for_every_evaluator(measure: str) -> None:
    assert value({"a": 1.0, "b": 1.0}, {"a": 1}, measure) == 0.5
    assert value({"a": 1.0, "b": 1.0}, {"b": 1}, measure) == 1.0


@pytest.mark.parametrize("measure", ["RR", "RR@10"])
def test_scores_that_float32_cannot_tell_apart_are_tied(measure: str) -> None:
    assert value({"a": 1.00000001, "b": 1.0}, {"a": 1}, measure) == 0.5
    assert value({"a": 1.0000002, "b": 1.0}, {"a": 1}, measure) == 1.0


def test_judged_share_sees_the_same_order_as_the_other_measures() -> None:
    assert value({"a": 1.0, "b": 1.0}, {"a": 1}, "Judged@1") == 0.0
    assert value({"a": 1.0, "b": 1.0}, {"b": 0}, "Judged@1") == 1.0


def test_negative_scores_do_not_disturb_a_measure_that_takes_unretrieved_passages_for_zero() -> None:
    judged = {"a": 1, "b": 1, "c": 1}
    assert value({"a": -1.0, "b": -2.0}, judged, "Compat") == value({"a": 2.0, "b": 1.0}, judged, "Compat")


def test_a_missing_query_counts_zero_and_is_named() -> None:
    result = evaluated({"1": {"a": 1.0}}, {"1": {"a": 1}, "2": {"a": 1}, "3": {"a": 1}}, "RR", "RR@10", "nDCG@10")
    assert result.mean("RR") == result.mean("RR@10") == result.mean("nDCG@10") == 1 / 3
    assert result.missing == ("2", "3")


def test_a_query_answered_with_nothing_is_missing() -> None:
    run = Run("system", {"1": Ranking.ordered(["a"], [1.0]), "2": Ranking.ordered([], [])})
    result = evaluate(run, {"1": {"a": 1}, "2": {"a": 1}}, parse_measures(["AP", "Judged@10"]))
    assert result.missing == ("2",)
    assert result.mean("AP") == 0.5


def test_a_query_without_a_relevant_passage_counts_zero() -> None:
    qrels = {"1": {"a": 1}, "2": {"a": 0}}
    result = evaluated({"1": {"a": 1.0}, "2": {"a": 1.0}}, qrels, *DEFAULT_MEASURES)
    assert result.per_query("AP") == result.per_query("RR@10") == {"1": 1.0, "2": 0.0}
    assert result.mean("nDCG@10") == 0.5
    assert result.missing == ()


@pytest.mark.parametrize("judged", [{"a": -1}, {"a": -2, "b": -1}, {"z": -1}, {}])
def test_a_query_with_nothing_but_negative_judgments_ends_and_counts_zero(judged: dict[str, int]) -> None:
    """trec_eval's nDCG without a cutoff never returns from such a query."""
    result = evaluated({"1": {"a": 1.0}, "2": {"a": 1.0}}, {"1": judged, "2": {"a": 1}}, *TREC_EVAL_NAMES)
    for measure in TREC_EVAL_NAMES:
        assert result.per_query(measure)["1"] == 0.0


def test_a_negative_judgment_is_not_relevant_and_is_judged() -> None:
    assert value({"a": 2.0, "b": 1.0}, {"a": -1, "b": 1}, "AP") == 0.5
    assert evaluated({"q": {"a": 2.0, "b": 1.0}}, {"q": {"a": -1, "b": 1}}, "AP").unjudged["AP"] == (0, 2)


def test_a_query_without_judgments_is_left_out_and_named() -> None:
    result = evaluated({"1": {"a": 1.0}, "9": {"b": 1.0}}, {"1": {"a": 1}}, "P@10", "AP")
    assert result.ignored == ("9",)
    assert result.query_ids == ("1",)
    assert result.mean("AP") == 1.0
    assert result.unjudged["AP"] == (0, 1)


def test_a_run_that_answers_no_judged_query_is_refused_with_both_names() -> None:
    with pytest.raises(DataError, match=r"run system answers none of the 1 judged query: .*'Q1'.*'1'\."):
        evaluated({"Q1": {"a": 1.0}}, {"1": {"a": 1}}, "AP")


def test_qrels_without_a_query_are_refused() -> None:
    with pytest.raises(DataError, match="the qrels have no query"):
        evaluated({"1": {"a": 1.0}}, {}, "AP")


def test_the_unjudged_share_is_counted_at_each_cutoff() -> None:
    scores = {"1": {"a": 5.0, "b": 4.0, "c": 3.0, "d": 2.0}, "2": {"a": 1.0}, "9": {"z": 1.0}}
    result = evaluated(scores, {"1": {"a": 1, "c": 0}, "2": {"b": 1}}, "P@1", "nDCG@2", "AP")
    assert result.unjudged == {"P@1": (1, 2), "nDCG@2": (2, 3), "AP": (3, 5)}
    assert result.unjudged["AP"].fraction == 0.6


def test_the_unjudged_share_of_the_bm25_list_is_none_at_ten(shared_data: Path) -> None:
    run = read_run(shared_data / "trec-dl" / "runs" / "dl19.bm25.run")
    qrels = read_qrels(shared_data / "trec-dl" / "qrels" / "dl19.tsv")
    result = evaluate(run, qrels, parse_measures(["nDCG@10", "AP"]))
    assert result.unjudged == {"nDCG@10": (0, 430), "AP": (2043, 4300)}


def test_batches_change_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(7)
    doc_ids = [f"d{i}" for i in range(30)]
    scores = {str(q): dict(zip(doc_ids, generator.normal(size=30).tolist(), strict=True)) for q in range(20)}
    qrels = {str(q): {d: int(generator.integers(0, 3)) for d in doc_ids[::3]} for q in range(0, 25)}
    whole = evaluated(scores, qrels, *DEFAULT_MEASURES)
    monkeypatch.setattr("ranker.evaluation.measures._BATCH_PASSAGES", 45)
    parts = evaluated(scores, qrels, *DEFAULT_MEASURES)
    for measure in DEFAULT_MEASURES:
        np.testing.assert_array_equal(whole.values[measure], parts.values[measure])
    assert whole.missing == parts.missing == ("20", "21", "22", "23", "24")


def test_only_judged_passages_count_however_deep_they_stand() -> None:
    scores = {f"u{i}": float(-i) for i in range(20)} | {"z": -30.0}
    assert value(scores, {"z": 1}, "P(judged_only=True)@1") == 1.0
    assert value(scores, {"z": 1}, "P@1") == 0.0


def test_a_counting_measure_is_summed() -> None:
    result = evaluated({"1": {"a": 1.0, "b": 0.5}, "2": {"a": 1.0}}, {"1": {"a": 1}, "2": {"a": 1}}, "NumRet", "P@10")
    assert result["NumRet"] == 3
    assert result.mean("NumRet") == 1.5
    assert result["P@10"] == result.mean("P@10") == pytest.approx(0.1)


@pytest.mark.skipif(shutil.which("perl") is None, reason="gdeval is a perl script")
def test_query_ids_that_are_no_numbers_reach_gdeval() -> None:
    result = evaluated({"how-1": {"a": 1.0}, "Q 2": {"a": 1.0}}, {"how-1": {"a": 1}, "Q 2": {"b": 1}}, "ERR@10")
    assert result.per_query("ERR@10") == {"how-1": 0.0625, "Q 2": 0.0}


@pytest.mark.skipif(shutil.which("perl") is None, reason="gdeval is a perl script")
def test_a_relevance_above_what_gdeval_takes_is_one_sentence() -> None:
    with pytest.raises(DataError, match=r"gdeval cannot compute ERR@10 on these qrels"):
        value({"a": 1.0}, {"a": 5}, "ERR@10")


def test_the_defaults_are_those_of_the_manual() -> None:
    assert [str(m) for m in parse_measures(DEFAULT_MEASURES)] == ["nDCG@10", "RR@10", "AP", "R@100", "P@10"]
    assert [m.cutoff for m in parse_measures(DEFAULT_MEASURES)] == [10, 10, None, 100, 10]


def test_a_measure_named_twice_is_kept_once() -> None:
    assert [m.name for m in parse_measures(["MRR@10", "AP", "RR@10", "AP(rel=1)", "MAP"])] == ["RR@10", "AP"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("ndcg@10", "nDCG@10"), ("ndcg_cut_10", "nDCG@10"), ("map", "AP"), ("recall_100", "R@100"), ("ncdg@5", "nDCG@5")],
)
def test_an_unknown_measure_is_refused_with_the_nearest(name: str, meant: str) -> None:
    with pytest.raises(RankerError, match=f"measure {name!r} is not known, did you mean {meant}[ ;]"):
        parse_measures([name])


def test_a_measure_like_no_other_is_refused_with_examples() -> None:
    with pytest.raises(RankerError, match=r"measure 'zzz' is not known; expected one .* such as nDCG@10"):
        parse_measures(["zzz"])


@pytest.mark.parametrize("name", ["P@0", "nDCG@0", "P(cutoff=0)", "R@100001", "nDCG@" + "9" * 40, "P@True", "P@2.5"])
def test_a_cutoff_that_would_end_the_process_is_refused(name: str) -> None:
    with pytest.raises(RankerError, match=r"cutoff is .*, expected a whole number from 1 to 100000"):
        parse_measures([name])


@pytest.mark.parametrize("name", ["P(rel=0)@3", "AP(rel=99999999999999999999)", "P(rel=True)@3"])
def test_a_relevance_out_of_bounds_is_refused(name: str) -> None:
    with pytest.raises(RankerError, match=r"rel is .*, expected a whole number from 1 to"):
        parse_measures([name])


@pytest.mark.parametrize("name", ["nDCG(gains={1:1000000000})@3", "nDCG(gains={1:1.5})", "nDCG(gains=3)"])
def test_gains_out_of_bounds_are_refused(name: str) -> None:
    with pytest.raises(RankerError, match=r"gains are .*, expected whole numbers"):
        parse_measures([name])


def test_recall_levels_that_trec_eval_would_confuse_are_refused() -> None:
    with pytest.raises(RankerError, match=r"recall is 0\.123, expected hundredths"):
        parse_measures(["IPrec@0.123"])
    assert str(parse_measures(["IPrec@0.29"])[0]) == "IPrec@0.29"


@pytest.mark.parametrize("name", ["", "f(", "P@-1", "[1]", "P@10; AP", "P(1)@3", "nDCG@10 RR@10", "P@\0", "lambda: 0"])
def test_what_is_no_measure_is_one_sentence(name: str) -> None:
    with pytest.raises(RankerError, match=r"measure .* cannot be read") as error:
        parse_measures([name])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["P", "ERR", "RBP", "RR(judged_only=True)@3", "P(foo=1)@3", "NumRet@5", "IPrec@7"])
def test_a_measure_that_no_evaluator_takes_says_what_it_takes(name: str) -> None:
    with pytest.raises(RankerError, match=r"cannot be computed so: .* takes "):
        parse_measures([name])


def test_a_name_without_end_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(RankerError, match="has 100000 characters, at most 200"):
        parse_measures(["(" * 100_000])


@pytest.mark.skipif(importlib.util.find_spec("pyndeval") is not None, reason="pyndeval is installed here")
def test_a_measure_whose_evaluator_is_not_installed_says_what_to_install() -> None:
    with pytest.raises(SetupError, match=r"needs an evaluator that is not installed: pyndeval \(pip install"):
        parse_measures(["alpha_nDCG@10"])


def test_evaluating_loads_neither_torch_nor_pandas_nor_a_jvm() -> None:
    program = (
        "import sys; from ranker.data.run import Ranking, Run; from ranker.evaluation.measures import *;"
        "from ranker.limits import *;"
        "evaluate(Run('s', {'1': Ranking.ordered(['a'], [1.0])}), {'1': {'a': 1}}, parse_measures(DEFAULT_MEASURES));"
        "print([m for m in ('torch', 'pandas', 'jnius', 'transformers', 'faiss') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["NumQ", "NumRel", "NumRel(rel=2)"])
def test_a_measure_of_the_qrels_alone_is_refused(name: str) -> None:
    with pytest.raises(RankerError, match="counts what is in the qrels, whatever the run"):
        parse_measures([name])


def test_a_measure_is_a_value_that_prints_as_itself() -> None:
    run, qrels = Run("r", {"q": Ranking.ordered(["a", "b"], [2, 1])}), {"q": {"b": 2}}
    found = evaluate(run, qrels, [ir_measures.RR @ 10, ir_measures.AP(rel=2)])
    assert found.measures == parse_measures(["RR@10", "AP(rel=2)"])
    assert [str(measure) for measure in found.measures] == ["RR@10", "AP(rel=2)"]
    assert found[ir_measures.RR @ 10] == found[found.measures[0]] == found["RR@10"] == 0.5
    assert found.mean(ir_measures.AP(rel=2)) == found.per_query(ir_measures.AP(rel=2))["q"] == 0.5
    with pytest.raises(KeyError):
        found[ir_measures.RR @ 5]


def test_a_measure_of_ir_measures_is_checked_as_a_name_is() -> None:
    with pytest.raises(RankerError, match="cutoff is 0"):
        evaluate(Run("r", {"q": Ranking.ordered(["a"], [1])}), {"q": {"a": 1}}, [ir_measures.RR @ 0])
