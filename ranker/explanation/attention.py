"""The attention that markers, stopwords and content words receive, layer by layer (Qiao et al. 2019, section 4.3)."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ranker.explanation.occlusion import PairText
from ranker.explanation.words import KINDS, Kind, kinds_of, words_of
from ranker.model.device import running_in
from ranker.model.inputs import MARKER, QUERY, Input, pad
from ranker.scoring.scorer import Scorer


class LayerAttention(NamedTuple):
    """The shares of a layer's attention that each kind of token receives; they add up to 1."""

    layer: int
    shares: dict[Kind, float]


def attention_mass(scorer: Scorer, pair: PairText) -> list[LayerAttention]:
    """Computes the share of each layer's attention that each kind of token receives, the mean over heads and tokens.

    Of a model that reads apart, the mean over the tokens of both texts. Empty for a mode that reads the word
    embeddings alone.
    """
    if scorer.model.config.needs.layers == "words":
        return []
    inputs = _inputs(scorer, pair)
    batch = pad([tokens for tokens, _ in inputs], scorer.encoding.template.pad_id).to(scorer.device)
    scorer.model.eval()
    with torch.inference_mode(), running_in(scorer.precision, scorer.device):
        weights = scorer.model.encoder.attention(batch).cpu().numpy()
    received = _received(weights, [len(kinds) for _, kinds in inputs])
    kinds = np.array([kind for _, kinds in inputs for kind in kinds])
    return [
        LayerAttention(layer + 1, {kind: float(row[kinds == kind].sum()) for kind in KINDS})
        for layer, row in enumerate(received)
    ]


def _received(weights: NDArray[np.float32], lengths: list[int]) -> NDArray[np.float64]:
    """Adds up what each token receives of the attention that all tokens give.

    Shape: weights (V, N, L, L), from and to; result (V, tokens of all N inputs).
    """
    given = [weights[:, row, :length, :length].sum(axis=1) for row, length in enumerate(lengths)]
    return np.concatenate(given, axis=1, dtype=np.float64) / sum(lengths)


def _inputs(scorer: Scorer, pair: PairText) -> list[tuple[Input, list[Kind]]]:
    """Gives the inputs of the model, each with the kinds of its tokens."""
    encoding = scorer.encoding
    query, passage = encoding.queries([pair.query])[0], encoding.passages([pair.passage])[0]
    prepared = encoding.prepare_query(pair.query), encoding.prepare_passage(pair.passage)
    kinds = [_text_kinds(scorer, text) for text in prepared]
    keeps_end = encoding.template.keeps_end
    if not encoding.config.apart:
        joint = encoding.pair(query, passage)
        return [(joint, _input_kinds(joint, kinds, keeps_end))]
    alone = [encoding.template.single(query), encoding.template.single(passage)]
    return [(tokens, _input_kinds(tokens, [text], keeps_end)) for tokens, text in zip(alone, kinds, strict=True)]


def _text_kinds(scorer: Scorer, text: str) -> list[Kind]:
    encoded = scorer.model.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    return kinds_of(encoded.offsets, words_of(text))


def _input_kinds(tokens: Input, texts: list[list[Kind]], keeps_end: bool) -> list[Kind]:
    """Gives the kinds of the tokens that are read, which are the first or the last of their text."""
    counts = [int((tokens.parts == QUERY + index).sum()) for index in range(len(texts))]
    remaining = [
        iter(text[len(text) - count :] if keeps_end else text) for text, count in zip(texts, counts, strict=True)
    ]
    return ["marker" if part == MARKER else next(remaining[part - QUERY]) for part in tokens.parts.tolist()]
