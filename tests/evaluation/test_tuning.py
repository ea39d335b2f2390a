from collections import Counter

import numpy as np
import pytest

from ranker.data.run import Ranking, Run
from ranker.data.trec import read_qrels, read_run
from ranker.errors import DataError
from ranker.evaluation.fusion import METHODS, Fusion, Source, Tuned, Tuning, fold_numbers, fuse, tune, weights_grid
from ranker.evaluation.measures import evaluate, parse_measures

BOTH = pytest.mark.parametrize("method", METHODS)
DOC_IDS = [f"d{number}" for number in range(8)]


def measure(name):
    return parse_measures([name])[0]


RR = measure("RR@10")
FIVE_FOLDS = Tuning(RR)


def noise(name, seed, queries=30, doc_ids=DOC_IDS):
    rng = np.random.default_rng(seed)
    return Run(name, {f"q{q}": Ranking.ordered(doc_ids, rng.normal(size=len(doc_ids))) for q in range(queries)})


def answers(queries=30):
    """One relevant passage for each query, by chance."""
    rng = np.random.default_rng(99)
    return {f"q{q}": {str(rng.choice(DOC_IDS)): 1} for q in range(queries)}


def oracle(name, qrels):
    """The run that has what is relevant on top."""
    return Run(
        name,
        {query_id: Ranking.ordered(DOC_IDS, [judged.get(d, 0) for d in DOC_IDS]) for query_id, judged in qrels.items()},
    )


def tuned(runs, qrels, method="interpolation", tuning=FIVE_FOLDS) -> Tuned:
    return tune([Source(run) for run in runs], qrels, Fusion(method), tuning, lambda _: None)


def value(runs, weights, qrels, method="interpolation", name="RR@10"):
    run = fuse([Source(run) for run in runs], Fusion(method, weights))
    return evaluate(run, qrels, [measure(name)]).per_query(str(measure(name)))


# the grid and the folds


@pytest.mark.parametrize(
    ("runs", "size", "step"), [(2, 21, 0.05), (3, 231, 0.05), (4, 286, 0.1), (5, 126, 0.2), (8, 36, 0.5)]
)
def test_the_grid_divides_the_whole_weight_in_every_way(runs, size, step):
    grid = weights_grid(runs)
    assert len(grid) == len(set(grid)) == size
    assert all(sum(weights) == pytest.approx(1) for weights in grid)
    assert min(weight for weights in grid for weight in weights if weight) == pytest.approx(step)


@pytest.mark.parametrize("runs", [2, 3, 7, 20])
def test_each_run_alone_and_its_mirror_are_in_the_grid_and_the_even_come_first(runs):
    grid = weights_grid(runs)
    assert {tuple(np.eye(runs)[place]) for place in range(runs)} == set(grid[-runs:])
    assert set(grid) == {weights[::-1] for weights in grid}
    assert max(grid[0]) == min(max(weights) for weights in grid)


def test_more_runs_than_can_be_tried_are_refused():
    with pytest.raises(DataError, match=r"^25 runs have more than 300 sets of weights to try, expected fewer runs\.$"):
        weights_grid(25)


def test_the_folds_divide_the_queries_evenly_whatever_their_order():
    query_ids = [str(number) for number in range(23)]
    numbers = fold_numbers(query_ids, Tuning(RR, folds=5, seed=3))
    assert sorted(Counter(numbers.tolist()).values()) == [4, 4, 5, 5, 5]
    backwards = fold_numbers(query_ids[::-1], Tuning(RR, folds=5, seed=3))
    assert backwards.tolist() == numbers[::-1].tolist()
    assert fold_numbers(query_ids, Tuning(RR, folds=5, seed=4)).tolist() != numbers.tolist()


@pytest.mark.parametrize("folds", [1, 4])
def test_folds_without_a_query_or_a_rest_are_refused(folds):
    with pytest.raises(DataError, match=rf"^{folds} folds of 3 judged queries, expected 2 to as many as queries\.$"):
        fold_numbers(["a", "b", "c"], Tuning(RR, folds))


# out of fold


@BOTH
def test_the_judgments_of_a_fold_do_not_choose_the_weights_that_it_is_valued_by(method):
    runs, qrels, tuning = [noise("a", 1), noise("b", 2)], answers(), Tuning(RR, folds=4, seed=5)
    before = tuned(runs, qrels, method, tuning)
    folds = fold_numbers(list(qrels), tuning)
    for fold in range(tuning.folds):
        # what is judged in this fold becomes whatever one of the runs has on top
        for run in runs:
            other = {
                query_id: {run[query_id].doc_ids[0]: 1} if number == fold else judged
                for (query_id, judged), number in zip(qrels.items(), folds, strict=True)
            }
            assert tuned(runs, other, method, tuning).fold_weights[fold] == before.fold_weights[fold]


@BOTH
def test_each_query_has_the_value_of_its_folds_weights(method):
    runs, qrels, tuning = [noise("a", 1), noise("b", 2)], answers(), Tuning(RR, folds=3)
    found = tuned(runs, qrels, method, tuning)
    by_weights = {weights: value(runs, weights, qrels, method) for weights in found.fold_weights}
    for (query_id, told), fold in zip(found.out_of_fold.items(), fold_numbers(list(qrels), tuning), strict=True):
        assert told == by_weights[found.fold_weights[fold]][query_id]
    assert list(found.out_of_fold) == list(qrels)
    assert found.value == pytest.approx(np.mean(list(found.out_of_fold.values())))


def test_what_is_chosen_among_noise_is_no_better_than_noise_out_of_fold():
    qrels = answers()
    found = [tuned([noise("a", seed), noise("b", seed + 50)], qrels) for seed in range(20)]
    chance = float(np.mean([1 / rank for rank in range(1, len(DOC_IDS) + 1)]))
    in_sample = np.mean([one.in_sample for one in found])
    out_of_fold = np.mean([one.value for one in found])
    assert in_sample > chance + 0.03
    assert out_of_fold == pytest.approx(chance, abs=0.02)


# what is chosen


@BOTH
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_run_that_knows_the_answers_gets_the_weight(method, place):
    qrels = answers()
    runs = [noise("a", 1), noise("b", 2)]
    runs.insert(place, oracle("oracle", qrels))
    found = tuned(runs, qrels, method)
    assert found.weights[place] == max(found.weights) >= 0.5
    assert found.in_sample == found.alone["oracle"] == 1
    assert found.value > 0.95


def test_the_chosen_weights_are_the_best_of_the_grid_and_worth_what_is_told():
    runs, qrels = [noise("a", 1), noise("b", 2)], answers()
    found = tuned(runs, qrels)
    means = {weights: np.mean(list(value(runs, weights, qrels).values())) for weights in weights_grid(2)}
    assert found.in_sample == pytest.approx(max(means.values())) == pytest.approx(means[found.weights])
    assert found.alone == pytest.approx({"a": means[1.0, 0.0], "b": means[0.0, 1.0]})
    assert found.tried == 21


def test_weights_that_make_no_difference_are_left_even():
    run = noise("a", 1)
    assert tuned([run, Run("b", run.rankings)], answers()).weights == (0.5, 0.5)


@pytest.mark.parametrize("name", ["AP", "nDCG(judged_only=True)@3", "nDCG@3"])
def test_a_measure_sees_as_much_of_a_ranking_as_it_reads(name):
    runs, qrels = [noise("a", 1), noise("b", 2)], answers()
    found = tuned(runs, qrels, tuning=Tuning(measure(name)))
    assert found.in_sample == pytest.approx(np.mean(list(value(runs, found.weights, qrels, name=name).values())))


def test_only_the_scored_part_of_a_reranked_run_chooses():
    qrels = answers()
    first, best = noise("first", 1), oracle("cross", qrels)
    # a tail far beneath, as reranking keeps it
    deep = {
        query_id: Ranking((*ranking.doc_ids, "x", "y"), np.append(ranking.scores, [-900, -1000]).astype(np.float32))
        for query_id, ranking in best.items()
    }
    whole, cut = (
        tune([Source(first), Source(run, scored)], qrels, Fusion("interpolation"), Tuning(RR), lambda _: None)
        for run, scored in ((best, 8), (Run("cross", deep), 8))
    )
    assert cut.weights == whole.weights
    assert cut.out_of_fold == whole.out_of_fold


def test_a_judged_query_without_an_answer_counts_nothing():
    qrels = answers(20)
    half = [
        Run(run.name, {f"q{number}": run[f"q{number}"] for number in range(10)})
        for run in (noise("a", 1), noise("b", 2))
    ]
    found = tuned(half, qrels)
    assert [found.out_of_fold[f"q{number}"] for number in range(10, 20)] == [0] * 10
    answered = {query_id: qrels[query_id] for query_id in list(qrels)[:10]}
    assert found.in_sample == pytest.approx(tuned(half, answered).in_sample / 2)


def test_queries_without_judgments_choose_nothing():
    runs, qrels = [noise("a", 1, queries=40), noise("b", 2, queries=40)], answers(25)
    found = tuned(runs, qrels)
    judged = [Run(run.name, {query_id: run[query_id] for query_id in qrels}) for run in runs]
    assert found.out_of_fold == tuned(judged, qrels).out_of_fold


def test_a_run_for_other_queries_than_are_judged_is_refused_by_name():
    with pytest.raises(DataError) as refused:
        tuned(
            [noise("a", 1), Run("b", {"p": noise("b", 2)["q1"], "q35": noise("b", 2)["q2"]}), noise("c", 3, 40)],
            answers(),
        )
    assert str(refused.value) == (
        "run b: answers none of the 30 queries that weights are tuned on; its first is 'p', that of the qrels 'q0'."
    )


def test_every_set_of_weights_that_is_tried_is_told():
    told = []
    tune([Source(noise("a", 1)), Source(noise("b", 2))], answers(), Fusion(), Tuning(RR), told.append)
    assert sum(told) == 21


# real runs


@BOTH
def test_weights_chosen_on_one_year_hold_on_the_next(method, shared_data):
    folder = shared_data / "trec-dl"

    def runs(year):
        return [
            Source(Run(name, read_run(folder / "runs" / f"{year}.{name}.run").rankings)) for name in ("bm25", "tas-b")
        ]

    ndcg = measure("nDCG@10")
    found = tune(runs("dl20"), read_qrels(folder / "qrels" / "dl20.tsv"), Fusion(method), Tuning(ndcg), lambda _: None)
    assert found.alone == pytest.approx({"bm25": 0.4796, "tas-b": 0.6854}, abs=1e-4)
    assert found.alone["tas-b"] < found.value <= found.in_sample
    qrels = read_qrels(folder / "qrels" / "dl19.tsv")
    even, chosen = (
        evaluate(fuse(runs("dl19"), Fusion(method, weights)), qrels, [ndcg]).mean("nDCG@10")
        for weights in ((), found.weights)
    )
    assert chosen > even > 0.5058
