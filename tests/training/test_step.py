"""The loss of a step, slowly: each pair by itself, then the loss as it is defined."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ranker.data.collection import Collection
from ranker.data.records import Query
from ranker.data.run import Ranking, Run
from ranker.errors import TrainingError
from ranker.model.loading import create_model
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs
from ranker.settings.compute import Compute
from ranker.settings.model import RankerConfig
from ranker.settings.training import TrainingConfig
from ranker.training import loop
from ranker.training.groups import Candidates, find_candidates, training_set
from ranker.training.loop import train, training_steps
from ranker.training.losses import LOSSES, contrastive, listwise, pairwise, pointwise

PLACES = ["rome", "cairo", "paris", "london"]
TEXTS = {
    **{f"{place}{number}": f"{thing} of {place} " + "old " * (5 * number) for place in PLACES
       for number, thing in enumerate(("stone", "water", "river"))},
    "copy": "Stone  OF rome", "again": "stone of cairo", "title": "large red city",
}  # fmt: skip
IDS = list(TEXTS)
QUERIES = {place: Query(place, f"where is the stone of {place}") for place in PLACES}
STILL = TrainingConfig(
    negatives=3,
    groups_per_step=4,
    learning_rate=1e-9,
    head_learning_rate=1e-9,
    warmup=0.0,
    validations=0,
    dropout=False,
)


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    path = tmp_path_factory.mktemp("collection") / "corpus.jsonl"
    lines = (
        {"_id": doc_id, "title": doc_id if doc_id == "title" else "", "text": text} for doc_id, text in TEXTS.items()
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Collection.open(path)


def scorer_of(folder, mode, frozen=False, **settings):
    config = RankerConfig(mode, **{"query_length": 12, "length": 24, "frozen": frozen, **settings})
    return Scorer(create_model(config, str(folder), seed=3), Compute("float32", "cpu"))


def data_of(scorer, collection):
    """Every place has two positives, so that one may be drawn as another group's passage."""
    candidates = [
        Candidates(place, (f"{place}0", f"{place}1"), tuple(doc_id for doc_id in IDS if not doc_id.startswith(place)))
        for place in PLACES
    ]
    return training_set(scorer, candidates, QUERIES, collection)


def slow_scores(scorer, collection, query_id, doc_ids):
    """One pair at a time, from the texts."""
    found = []
    for doc_id in doc_ids:
        texts = scorer.queries([QUERIES[query_id].text]), scorer.passages([collection[doc_id].contents])
        found.append(scorer.scores(Pairs(*texts, np.zeros((1, 2), np.int64)), lambda _: None).item())
    return found


def cross_entropy(row, place):
    return math.log(sum(math.exp(x - max(row)) for x in row)) - (row[place] - max(row))


SLOWLY = {
    "pointwise": lambda row: sum(math.log(1 + math.exp(-x if i == 0 else x)) for i, x in enumerate(row)) / len(row),
    "pairwise": lambda row: sum(math.log(1 + math.exp(x - row[0])) for x in row[1:]) / (len(row) - 1),
    "listwise": lambda row: cross_entropy(row, 0),
}


@pytest.mark.parametrize("loss", SLOWLY)
@pytest.mark.parametrize(
    ("mode", "frozen"), [("cross", False), ("conv-knrm", False), ("dual", False), ("mult-int", True)]
)
def test_the_loss_of_a_step_is_that_of_its_pairs_one_by_one(tiny, collection, mode, frozen, loss):
    scorer = scorer_of(tiny(), mode, frozen)
    config = replace(STILL, loss=loss, temperature=0.5)
    data = data_of(scorer, collection)
    (_, groups), *_ = training_steps(data, config, started=0.0)
    rows = [[x / 0.5 for x in slow_scores(scorer, collection, group.query_id, group.doc_ids)] for group in groups]
    expected = sum(map(SLOWLY[loss], rows)) / len(rows)
    [trained] = train([scorer], data, config, [None], lambda _: None)
    assert trained.losses[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_contrastive_loss_of_a_step_leaves_out_other_positives_and_their_copies(tiny, collection, seed):
    scorer = scorer_of(tiny(), "dual")
    config = replace(STILL, loss="contrastive", temperature=0.05, seed=seed)
    data = data_of(scorer, collection)
    (_, groups), *_ = training_steps(data, config, started=0.0)
    terms, left_out = [], 0
    words = {doc_id: collection[doc_id].contents.lower().split() for doc_id in IDS}
    for group in groups:
        positives = [words[f"{group.query_id}{number}"] for number in (0, 1)]
        target = slow_scores(scorer, collection, group.query_id, group.doc_ids[:1])
        others = [doc_id for other in groups for doc_id in other.doc_ids[other is group :]]
        negatives = [doc_id for doc_id in others if words[doc_id] not in positives]
        left_out += len(others) - len(negatives)
        row = target + slow_scores(scorer, collection, group.query_id, negatives)
        terms.append(cross_entropy([x / 0.05 for x in row], 0))
    assert left_out > 0
    [trained] = train([scorer], data, config, [None], lambda _: None)
    assert trained.losses[0] == pytest.approx(sum(terms) / len(terms), abs=1e-3)


@pytest.mark.parametrize(("mode", "loss"), [("cross", "listwise"), ("dual", "contrastive"), ("cedr-knrm", "pairwise")])
def test_how_many_tokens_are_computed_at_once_is_nothing_to_what_is_learned(tiny, collection, monkeypatch, mode, loss):
    config = replace(STILL, loss=loss, learning_rate=1e-3, head_learning_rate=1e-3, epochs=2, groups_per_step=2)
    learned = []
    for tokens in (1, 64, 100_000):
        monkeypatch.setitem(loop._TOKENS_PER_PASS, "cpu", tokens)
        scorer = scorer_of(tiny(), mode)
        [trained] = train([scorer], data_of(scorer, collection), config, [None], lambda _: None)
        learned.append(trained.losses)
    assert learned[0] == pytest.approx(learned[2], abs=2e-3)
    assert learned[1] == pytest.approx(learned[2], abs=2e-3)
    assert len(set(learned[0])) == len(learned[0]) == 4


def test_every_text_of_a_training_is_at_its_row(tiny, collection):
    scorer = scorer_of(tiny(), "cross")
    data = data_of(scorer, collection)
    assert len(data.passages) == len(IDS)
    for doc_id, row in data.passage_rows.items():
        assert data.passages[row].tolist() == scorer.passages([collection[doc_id].contents])[0].tolist()
    for query_id, row in data.query_rows.items():
        assert data.queries[row].tolist() == scorer.queries([QUERIES[query_id].text])[0].tolist()
    assert len(data.passages[data.passage_rows["title"]]) == 4


def test_what_reads_alike_is_one_text_under_any_id(tiny, collection):
    data = data_of(scorer_of(tiny(), "cross"), collection)
    for one in IDS:
        for other in IDS:
            alike = collection[one].contents.lower().split() == collection[other].contents.lower().split()
            assert (data.texts[one] == data.texts[other]) is alike
    assert data.positives["rome"] == {data.texts["copy"], data.texts["rome1"]}


@given(
    judged=st.dictionaries(st.sampled_from(IDS), st.integers(-1, 2), max_size=6),
    order=st.permutations(IDS),
    depth=st.integers(1, len(IDS)),
)
def test_candidates_are_what_they_are_by_hand(collection, judged, order, depth):
    run = Run("bm25", {"rome": Ranking(tuple(order), np.arange(len(order), 0, -1, np.float32))})
    words = {doc_id: collection[doc_id].contents.lower().split() for doc_id in IDS}
    positives = [doc_id for doc_id, relevance in judged.items() if relevance > 0]
    negatives = [
        doc_id for doc_id in order[:depth]
        if doc_id not in positives and all(words[doc_id] != words[positive] for positive in positives)
    ]  # fmt: skip
    if positives and negatives:
        found = find_candidates(run, QUERIES, {"rome": judged}, collection, depth)
        assert found == [Candidates("rome", tuple(positives), tuple(negatives))]
    else:
        with pytest.raises(TrainingError, match="gives no training group"):
            find_candidates(run, QUERIES, {"rome": judged}, collection, depth)


GROUP_LOSSES = [name for name, loss in LOSSES.items() if not loss.in_batch]
SCORES = st.lists(st.lists(st.floats(-20, 20, width=32), min_size=4, max_size=4), min_size=1, max_size=4)


@given(scores=SCORES, shift=st.floats(-5, 5))
def test_only_the_lead_of_the_positive_counts_but_for_the_pointwise_loss(scores, shift):
    scores = torch.tensor(scores)
    for loss in (pairwise, listwise):
        assert loss(scores + shift).item() == pytest.approx(loss(scores).item(), abs=1e-3)
    assert pointwise(torch.zeros(1, 4) + 3.0).item() != pytest.approx(pointwise(torch.zeros(1, 4)).item(), abs=0.1)


@given(scores=SCORES)
def test_against_one_negative_pairwise_and_listwise_are_one_loss(scores):
    pair = torch.tensor(scores)[:, :2]
    assert pairwise(pair).item() == pytest.approx(listwise(pair).item(), abs=1e-4)


@given(scores=SCORES)
def test_contrastive_on_each_group_by_itself_is_listwise(scores):
    groups = torch.tensor(scores)
    found = [contrastive(row.unsqueeze(0)).item() for row in groups]
    assert sum(found) / len(found) == pytest.approx(listwise(groups).item(), abs=1e-4)


@pytest.mark.parametrize("loss", GROUP_LOSSES)
def test_a_loss_pulls_the_positive_up_and_every_negative_down(loss):
    scores = torch.zeros(3, 5, requires_grad=True)
    LOSSES[loss].function(scores).backward()
    assert (scores.grad[:, 0] < 0).all()
    assert (scores.grad[:, 1:] > 0).all()


@pytest.mark.parametrize("loss", GROUP_LOSSES)
def test_scores_of_any_size_have_a_finite_loss_and_gradient(loss):
    scores = torch.tensor([[-1e4, 1e4, 0.0], [1e4, -1e4, 0.0]], requires_grad=True)
    found = LOSSES[loss].function(scores)
    found.backward()
    assert torch.isfinite(found)
    assert torch.isfinite(scores.grad).all()
