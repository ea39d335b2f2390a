"""Where attention falls, layer by layer: on markers, stopwords, content words (Qiao et al. 2019, section 4.3)."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ranker.explanation.occlusion import PairText
from ranker.explanation.words import KINDS, Kind, kinds_of, words_of
from ranker.model.inputs import MARKER, QUERY, Input, pad
from ranker.scoring.scorer import Scorer


class LayerAttention(NamedTuple):
    """The shares of a layer's attention, which add up to 1."""

    layer: int
    shares: dict[Kind, float]


def attention_mass(scorer: Scorer, pair: PairText) -> list[LayerAttention]:
    """How a layer's tokens share out their attention, the mean over heads and over the tokens that attend.

    Of a model that reads apart, the mean over the tokens of both texts. Empty for a mode that reads the word
    embeddings alone.
    """
    if scorer.model.config.needs.layers == "words":
        return []
    inputs = _inputs(scorer, pair)
    batch = pad([one for one, _ in inputs], scorer.template.pad_id).to(scorer.device)
    with torch.inference_mode(), scorer.at_work():
        weights = scorer.model.encoder.attention(batch).cpu().numpy()
    received = _received(weights, [len(kinds) for _, kinds in inputs])
    kinds = np.array([kind for _, kinds in inputs for kind in kinds])
    return [
        LayerAttention(layer + 1, {kind: float(row[kinds == kind].sum()) for kind in KINDS})
        for layer, row in enumerate(received)
    ]


def _received(weights: NDArray[np.float32], lengths: list[int]) -> NDArray[np.float64]:
    """What each token receives of the attention that all tokens give.

    Shape: weights (V, N, L, L), from and to; result (V, tokens of all N inputs).
    """
    given = [weights[:, row, :length, :length].sum(axis=1) for row, length in enumerate(lengths)]
    return np.concatenate(given, axis=1, dtype=np.float64) / sum(lengths)


def _inputs(scorer: Scorer, pair: PairText) -> list[tuple[Input, list[Kind]]]:
    """What the model reads, each with the kinds of its tokens."""
    query, passage = scorer.queries([pair.query])[0], scorer.passages([pair.passage])[0]
    kinds = [_text_kinds(scorer, scorer.read_query(pair.query)), _text_kinds(scorer, scorer.read_passage(pair.passage))]
    if not scorer.model.config.apart:
        joint = scorer.pair(query, passage)
        return [(joint, _input_kinds(joint, kinds, scorer.template.keeps_end))]
    alone = [scorer.single(query), scorer.single(passage)]
    return [(one, _input_kinds(one, [text], scorer.template.keeps_end)) for one, text in zip(alone, kinds, strict=True)]


def _text_kinds(scorer: Scorer, read: str) -> list[Kind]:
    encoded = scorer.model.tokenizer.backend_tokenizer.encode(read, add_special_tokens=False)
    return kinds_of(encoded.offsets, words_of(read))


def _input_kinds(one: Input, texts: list[list[Kind]], keeps_end: bool) -> list[Kind]:
    """The kinds of the tokens that are read, which are the first or the last of their text."""
    counts = [int((one.parts == QUERY + number).sum()) for number in range(len(texts))]
    remaining = [
        iter(text[len(text) - count :] if keeps_end else text) for text, count in zip(texts, counts, strict=True)
    ]
    return ["marker" if part == MARKER else next(remaining[part - QUERY]) for part in one.parts.tolist()]
