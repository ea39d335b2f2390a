"""Scores do not depend on the batch, the padding or the order; only the passage is cut."""

import numpy as np
import pytest
import torch

from ranker.errors import ModelError, SetupError
from ranker.model.device import choose_device, choose_precision
from ranker.model.inputs import Input, pad
from ranker.model.loading import create_model, load_model
from ranker.scoring.assembly import Template
from ranker.scoring.batching import batches
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs, Truncation, tokenize
from ranker.settings.compute import Compute
from ranker.settings.model import MODES, RankerConfig

QUERIES = ["what is the capital of france", "which river", "how old is the large red stone in the city by the water"]
PASSAGES = [
    "paris is the capital of france",
    "the nile lies in egypt and the thames in england and the tiber in italy",
    "rome",
    "water " * 80,
]
QUERY_WORDS = len(QUERIES[2].split())


def scorer_of(folder, mode="cross", tokens=0, precision="float32", **settings):
    config = RankerConfig(mode, **{"query_length": 12, "length": 40, **settings})
    return Scorer(create_model(config, str(folder), seed=3), Compute(precision, "cpu", tokens))


def all_pairs(scorer, order=None):
    rows = [(query, passage) for query in range(len(QUERIES)) for passage in range(len(PASSAGES))]
    rows = np.array(rows)[order] if order is not None else np.array(rows)
    return Pairs(scorer.queries(QUERIES), scorer.passages(PASSAGES), rows)


def scores(scorer, order=None):
    return scorer.scores(all_pairs(scorer, order), lambda _: None)


@pytest.mark.parametrize(
    ("mode", "model_type"),
    [
        *((mode, model_type) for mode in ("cross", "dual") for model_type in ("roberta", "modernbert", "deberta-v2")),
        *((mode, "bert") for mode in MODES),
    ],
)
def test_padding_and_batch_size_never_change_a_score(tiny, mode, model_type):
    alone = scores(scorer_of(tiny(model_type), mode, tokens=1))
    together = scores(scorer_of(tiny(model_type), mode, tokens=100_000))
    assert together == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_the_order_of_the_pairs_never_changes_a_score(tiny, mode):
    scorer = scorer_of(tiny(), mode)
    order = np.random.default_rng(0).permutation(len(QUERIES) * len(PASSAGES))
    assert scores(scorer, order) == pytest.approx(scores(scorer)[order], abs=1e-6)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_dual_score_is_the_cosine_of_the_two_texts_read_alone(tiny, pooling):
    scorer = scorer_of(tiny(), "dual", pooling=pooling)
    backbone, tokenizer = scorer.model.encoder.backbone, scorer.model.tokenizer

    def vector(text, most):
        ids = tokenizer(text, truncation=True, max_length=most, return_tensors="pt")
        with torch.inference_mode():
            tokens = backbone(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"]).last_hidden_state[0]
        return tokens[0] if pooling == "cls" else tokens.mean(dim=0)

    expected = [
        torch.cosine_similarity(vector(query, 12), vector(passage, 40), dim=0).item()
        for query in QUERIES
        for passage in PASSAGES
    ]
    assert scores(scorer) == pytest.approx(expected, abs=1e-5)


def test_a_dot_similarity_keeps_the_lengths_of_the_vectors(tiny):
    cosine, dot = scorer_of(tiny(), "dual"), scorer_of(tiny(), "dual", similarity="dot")
    vectors = dot.vectors(dot.passages(PASSAGES), lambda _: None)
    lengths = np.linalg.norm(vectors, axis=1)
    assert np.linalg.norm(cosine.vectors(cosine.passages(PASSAGES), lambda _: None), axis=1) == pytest.approx(1.0)
    assert abs(lengths - 1).min() > 0.1


@pytest.mark.parametrize("model_type", ["bert", "roberta", "modernbert"])
def test_a_pair_put_together_from_ids_is_what_the_tokenizer_makes_of_the_texts(tiny, model_type):
    tokenizer = load_model(str(tiny(model_type))).tokenizer
    template = Template(tokenizer)
    query, passage = (tokenize(tokenizer, [text], 100)[0] for text in ("which river", "the nile lies in egypt"))
    expected = tokenizer("which river", "the nile lies in egypt", return_token_type_ids=True)
    made = template.pair(query, passage)
    assert made.ids.tolist() == expected["input_ids"]
    assert made.segments.tolist() == expected["token_type_ids"]
    assert template.single(query).ids.tolist() == tokenizer("which river")["input_ids"]
    assert template.pair_markers == len(expected["input_ids"]) - len(query) - len(passage)


def test_only_the_passage_is_cut_when_a_pair_is_too_long(tiny):
    scorer = scorer_of(tiny())
    query, passage = scorer.queries(QUERIES)[0], scorer.passages(PASSAGES)[3]
    ids = scorer.encoding.pair(query, passage).ids
    assert len(ids) == 40
    assert ids[1 : 1 + len(query)].tolist() == query.tolist()


def test_a_query_longer_than_its_bound_is_cut_to_it_and_counted(tiny):
    scorer = scorer_of(tiny(), query_length=8)
    pairs = all_pairs(scorer)
    assert pairs.queries.lengths.tolist() == [6, 2, QUERY_WORDS]
    kept = scorer.encoding.query_lengths(pairs)
    assert kept.max() == QUERY_WORDS
    assert kept[pairs.passages.lengths[pairs.rows[:, 1]] > 40 - 3 - QUERY_WORDS].max() == 8
    assert scorer.encoding.truncation(pairs).queries == 1


def test_what_was_cut_is_counted_to_the_token(tiny):
    scorer = scorer_of(tiny())
    # three markers; queries of 6, 2 and 12 tokens leave 31, 35 and 25 of the 80 tokens of the last passage
    lost = (80 - 31) + (80 - 35) + (80 - 25)
    assert scorer.encoding.truncation(all_pairs(scorer)) == Truncation(queries=1, pairs=3, tokens=lost)


def test_read_apart_a_passage_is_cut_by_itself(tiny):
    scorer = scorer_of(tiny(), "dual")
    # two markers leave 38 of 80 tokens, whatever the query
    assert scorer.encoding.truncation(all_pairs(scorer)) == Truncation(queries=1, pairs=3, tokens=3 * (80 - 38))


def test_empty_texts_are_scored_as_nothing_but_markers(tiny):
    scorer = scorer_of(tiny())
    pairs = Pairs(scorer.queries([""]), scorer.passages(["", "rome"]), np.array([[0, 0], [0, 1]]))
    assert np.isfinite(scorer.scores(pairs, lambda _: None)).all()


def test_a_tokenizer_file_that_cuts_and_pads_does_not_cut_or_pad_here(tiny):
    tokenizer = load_model(str(tiny())).tokenizer
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=50)
    assert tokenize(tokenizer, ["the river the river the river", "rome"], 100).lengths.tolist() == [6, 1]


def test_tokens_lost_are_those_behind_the_bound(tiny):
    texts = tokenize(load_model(str(tiny())).tokenizer, ["a a a a a", "a", ""], 3)
    assert texts.lengths.tolist() == [3, 1, 0]
    assert texts.lost.tolist() == [2, 0, 0]


def test_progress_counts_every_pair_once(tiny):
    scorer = scorer_of(tiny(), tokens=64)
    counts: list[int] = []
    scorer.scores(all_pairs(scorer), counts.append)
    assert sum(counts) == len(QUERIES) * len(PASSAGES)
    assert len(counts) > 1


@pytest.mark.computes("bf16")
def test_bfloat16_stays_near_float32_and_makes_no_ties(tiny):
    single, half = scores(scorer_of(tiny())), scores(scorer_of(tiny(), precision="bf16"))
    assert half == pytest.approx(single, abs=0.1)
    assert half.tolist() != single.tolist()
    assert len(set(half.tolist())) == len(set(single.tolist()))


def test_batches_hold_every_input_once_and_keep_to_the_budget():
    lengths = np.random.default_rng(0).integers(1, 100, size=500)
    found = list(batches(lengths, 256))
    assert sorted(np.concatenate(found).tolist()) == list(range(500))
    assert all(len(rows) * lengths[rows].max() <= 256 for rows in found)
    assert [lengths[rows].max() for rows in found] == sorted((lengths[rows].max() for rows in found), reverse=True)


def test_an_input_above_the_budget_has_a_batch_of_its_own():
    assert [rows.tolist() for rows in batches(np.array([10, 999, 12]), 20)] == [[1], [2], [0]]


def test_padding_fills_with_the_pad_id_behind_the_tokens_and_the_mask_says_where():
    one, three = np.array([5], np.int32), np.array([6, 7, 8], np.int32)
    batch = pad([Input(one, one, one), Input(three, three, three)], pad_id=9)
    assert batch.ids.tolist() == [[5, 9, 9], [6, 7, 8]]
    assert batch.segments.tolist() == [[5, 0, 0], [6, 7, 8]]
    assert batch.mask.tolist() == [[True, False, False], [True, True, True]]


def test_cuda_is_refused_where_there_is_none():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(SetupError) as error:
        choose_device("cuda")
    assert str(error.value).startswith("--device cuda: torch finds no CUDA device here")


def test_auto_precision_is_what_the_machine_computes_in():
    cpu = torch.device("cpu")
    assert choose_precision("auto", cpu) in ("bf16", "float32")
    assert choose_precision("float32", cpu) == "float32"


@pytest.mark.parametrize("values", [{"precision": "fp64"}, {"device": "tpu"}, {"tokens_per_batch": -1}])
def test_settings_that_no_machine_has_are_refused(values):
    with pytest.raises(SetupError, match="expected"):
        Compute(**values)


@pytest.mark.parametrize(("query_length", "length"), [(61, 64), (63, 64), (39, 40)])
def test_bounds_that_leave_no_room_for_a_passage_are_refused(tiny, query_length, length):
    with pytest.raises(ModelError, match=rf"is {query_length} and length {length}, expected a query_length"):
        scorer_of(tiny(), query_length=query_length, length=length)


def test_under_the_narrowest_bounds_a_pair_is_as_long_as_the_model_reads(tiny):
    scorer = scorer_of(tiny(), query_length=36, length=40)
    pairs = Pairs(scorer.queries(["river " * 60]), scorer.passages(["water " * 60]), np.array([[0, 0]]))
    (_, batch), *_ = scorer.encoding.pair_batches(pairs, scorer.backend.tokens_per_batch)
    assert batch.ids.shape == (1, 40)
    assert scorer.encoding.truncation(pairs) == Truncation(1, 1, 59)


def test_read_apart_a_query_may_be_as_long_as_a_passage(tiny):
    scorer = scorer_of(tiny(), "dual", query_length=40, length=41)
    assert scorer.queries(["river " * 60]).lengths.tolist() == [38]
