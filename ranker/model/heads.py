"""Heads: each turns the views of pairs into one score per pair. ``HEADS`` has the head of every mode.

A new head is a subclass of ``Head``, an entry in ``HEADS``, and an entry in ``settings.model.MODES`` that says what it
needs of the encoder.
"""

from itertools import product
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from ranker.errors import ModelError
from ranker.model.encoder import Classify
from ranker.model.inputs import Views
from ranker.model.sentence_transformers import write_pipeline
from ranker.settings.model import RankerConfig

HEAD_NAME: Final = "head.safetensors"
"""The file of a model directory that holds the weights of a head that has its own."""

_ATTENTION_HEADS: Final = 4
"""The heads of ``layer-attention``; the width of every supported backbone is a multiple of it."""

_MEANS: Final = (1.0, 0.9, 0.7, 0.5, 0.3, 0.1, -0.1, -0.3, -0.5, -0.7, -0.9)
_WIDTHS: Final = (1e-3, *(0.1,) * 10)
"""Eleven kernels, the first for equal words (Xiong et al. 2017, section 4.4)."""

_LOG_SCALE: Final = 0.01
"""The factor of the logarithms in the authors' own code, which keeps a new linear layer from saturating."""

_NGRAMS: Final = (1, 2, 3)
_FILTERS: Final = 128
"""The convolutions of ``conv-knrm`` (Dai et al. 2018, section 4.3)."""


class Parts(NamedTuple):
    """The parts of a model that its head may use.

    ``width`` is the size of the backbone's vectors, ``layers`` their number, ``classify`` the stock model's own path
    from [CLS] to classes, and ``projection`` the modules behind the pooling of texts that are encoded apart.
    """

    config: RankerConfig
    width: int
    layers: int
    stock: Any
    classify: Classify
    projection: nn.Sequential


class Head(nn.Module):
    """One score per pair from its views.

    ``classifies`` says whether the head uses the weights of a stock sequence classifier.
    """

    classifies: ClassVar[bool] = False

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.config = parts.config

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        raise NotImplementedError

    def vectors(self, pooled: Tensor) -> Tensor:
        """Returns the vectors to index of texts encoded apart.

        Shape: (N, H times the poolings) to (N, ``Reranker.width``).
        """
        return pooled

    def save(self, folder: Path) -> None:
        """Writes the weights that the stock model does not hold, if there are any."""
        if self.state_dict():
            save_file(self.state_dict(), folder / HEAD_NAME)

    def load(self, folder: Path) -> None:
        """Reads the weights that ``save`` wrote.

        Raises: ModelError where they are missing or do not fit.
        """
        if not self.state_dict():
            return
        path = folder / HEAD_NAME
        try:
            self.load_state_dict(load_file(path))
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise ModelError(f"{path}: gives no head of mode {self.config.mode!r}: {reason}.") from error


def linear(width: int) -> nn.Linear:
    """Makes a linear layer from a vector to one score, initialised as in BERT (Devlin et al. 2019: normal, 0.02)."""
    layer = nn.Linear(width, 1)
    nn.init.normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer


def _scores(layer: nn.Linear, features: Tensor) -> Tensor:
    """Shape: (P, features) to (P,)."""
    scores: Tensor = layer(features)
    return scores.squeeze(-1)


def _mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Returns the mean over a text's tokens, zero where it has none.

    Shape: (P, V, L, H), (P, L) to (P, V, H).
    """
    kept = mask[:, None, :, None]
    return tokens.masked_fill(~kept, 0.0).sum(dim=2) / kept.sum(dim=2).clamp(min=1)


class DualHead(Head):
    """Similarity of the two texts' own vectors: BERT (Rep), Qiao et al. 2019, equation 1 with cosine.

    Its only weights are the modules behind the pooling, which are saved and loaded in the layout of
    sentence-transformers.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.projection = parts.projection
        self._pooled_width = parts.width

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,), of views that hold ``vectors``."""
        query, passage = self._normalized(views.query[:, -1, 0]), self._normalized(views.passage[:, -1, 0])
        return (query * passage).sum(dim=-1)

    def vectors(self, pooled: Tensor) -> Tensor:
        """Returns the vectors whose inner product is the score, as FAISS indexes them.

        Shape: (N, H times the poolings) to (N, width of the projection).
        """
        projected: Tensor = self.projection(pooled)
        return self._normalized(projected)

    def save(self, folder: Path) -> None:
        """Writes the folder's files for sentence-transformers, which cannot omit markers or stopwords."""
        if len(self.projection) or (self.config.markers and self.config.stopwords == "keep"):
            write_pipeline(folder, self.config, self._pooled_width, self.projection)

    def load(self, folder: Path) -> None:
        """Does nothing, since ``parts.projection`` comes with its weights."""

    def _normalized(self, vectors: Tensor) -> Tensor:
        return functional.normalize(vectors, dim=-1) if self.config.similarity == "cosine" else vectors


class CrossHead(Head):
    """The stock classifier's own path from the last layer's [CLS] to one logit: BERT (Last-Int), Qiao et al. 2019.

    The paper's is w · [CLS]; a stock BERT has its pooler in between, tanh(W [CLS] + b), as Nogueira & Cho 2019 do too.
    Of two classes the score is the log-odds of the one that ``RankerConfig.label`` names.
    """

    classifies = True

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._classify = parts.classify
        # a tuple, so that the parameters stay registered once, where the stock model has them
        self._stock: tuple[Any] = (parts.stock,)
        labels = {name: number for number, name in parts.stock.config.id2label.items()}
        self._label = int(labels[parts.config.label]) if parts.config.label else 0

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        logits = self._classify(self._stock[0], views.cls[:, -1])  # (P, labels)
        return logits[:, 0] if logits.shape[-1] == 1 else logits[:, self._label] - logits[:, 1 - self._label]


class MultiLayerHead(Head):
    """BERT (Mult-Int), Qiao et al. 2019, section 3: Σ_k w_k · [CLS]_k over the layers k."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.weights = nn.ModuleList(linear(parts.width) for _ in range(parts.layers))

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        layers = views.cls.unbind(dim=1)
        scores = [weight(cls) for weight, cls in zip(self.weights, layers, strict=True)]
        return torch.stack(scores).sum(dim=0).squeeze(-1)


class TermTransHead(Head):
    """BERT (Term-Trans), Qiao et al. 2019, section 3: Σ_k w_k mean_ij cos(ReLU(P_k q_i^k), ReLU(P_k p_j^k)).

    The mean of the cosines of all pairs of tokens is the inner product of the two means of the normalised vectors,
    so no matrix of tokens by tokens is made.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.projections = nn.ModuleList(nn.Linear(parts.width, parts.width, bias=False) for _ in range(parts.layers))
        self.layers = nn.Linear(parts.layers, 1)

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        query = self._direction(views.query, views.query_mask)
        passage = self._direction(views.passage, views.passage_mask)
        return _scores(self.layers, (query * passage).sum(dim=-1))  # of (P, V)

    def _direction(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Returns the mean of a text's projected and normalised tokens, by layer.

        Shape: (P, V, L, H) to (P, V, H).
        """
        layers = tokens.unbind(dim=1)
        projected = [project(layer) for project, layer in zip(self.projections, layers, strict=True)]
        directions = functional.normalize(torch.relu(torch.stack(projected, dim=1)), dim=-1)
        return _mean(directions, mask)


class TokenPoolHead(Head):
    """Linear on the mean of the last layer's vectors of all words of both texts: w · mean_i h_i + b.

    Peters et al. 2019 compare it with other ways to summarise a text. [CLS] and [SEP] are not words.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.weights = linear(parts.width)

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        words = torch.cat((views.query[:, -1], views.passage[:, -1]), dim=1).unsqueeze(1)  # (P, 1, Lq + Lp, H)
        mask = torch.cat((views.query_mask, views.passage_mask), dim=1)
        return _scores(self.weights, _mean(words, mask)[:, 0])


class LayerMeanHead(Head):
    """Linear on the mean of all layers' [CLS], w · mean_k [CLS]_k + b: the uniform weights of Kaneko & Komachi 2019."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.weights = linear(parts.width)

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        return _scores(self.weights, views.cls.mean(dim=1))


class LayerAttentionHead(Head):
    """Linear on the [CLS] of all layers by attention of several heads: Kaneko & Komachi 2019.

    Head n has a key K_n h_k + a_n and a value V_n h_k + b_n of layer k, and gives Σ_k softmax_k(u_n · key_k) value_k.
    The outputs of the heads are concatenated.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        width = parts.width
        self.keys = nn.Linear(width, width)
        self.values = nn.Linear(width, width)
        self.attention = nn.Parameter(torch.empty(_ATTENTION_HEADS, width // _ATTENTION_HEADS))
        nn.init.normal_(self.attention, std=0.02)
        self.weights = linear(width)

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        PAIRS, LAYERS, WIDTH = views.cls.shape  # noqa: N806  # axes are named in capitals
        by_head = (PAIRS, LAYERS, _ATTENTION_HEADS, WIDTH // _ATTENTION_HEADS)
        keys, values = self.keys(views.cls).view(by_head), self.values(views.cls).view(by_head)
        shares = torch.softmax((keys * self.attention).sum(dim=-1, keepdim=True), dim=1)  # (P, V, heads, 1)
        return _scores(self.weights, (shares * values).sum(dim=1).reshape(PAIRS, WIDTH))


class Kernels(nn.Module):
    """Soft term frequencies: the kernels' sums over the passage's words, their logarithms over the question's."""

    means: Tensor
    widths: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("means", torch.tensor(_MEANS), persistent=False)
        self.register_buffer("widths", torch.tensor(_WIDTHS), persistent=False)

    def forward(self, query: Tensor, passage: Tensor, query_mask: Tensor, passage_mask: Tensor) -> Tensor:
        """Counts the similarities that fall into each of the K kernels; masked words count nothing.

        Shape: query (P, Lq, H), passage (P, Lp, H), masks (P, Lq) and (P, Lp), result (P, K).
        """
        # (P, Lq, Lp), then by kernel (P, Lq, Lp, K)
        cosines = functional.normalize(query, dim=-1) @ functional.normalize(passage, dim=-1).transpose(1, 2)
        near = torch.exp(-((cosines.unsqueeze(-1) - self.means) ** 2) / (2 * self.widths**2))
        counts = near.masked_fill(~passage_mask[:, None, :, None], 0.0).sum(dim=2)  # (P, Lq, K)
        logs = torch.log(counts.clamp(min=1e-10)) * _LOG_SCALE
        return logs.masked_fill(~query_mask.unsqueeze(-1), 0.0).sum(dim=1)


class KernelHead(Head):
    """K-NRM, Xiong et al. 2017, equations 4 to 6, on the backbone's word embeddings.

    The tanh around it is left out: it changes no order, and the losses here take scores of any size.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.kernels = Kernels()
        self.weights = linear(len(_MEANS))

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        features = self.kernels(views.query[:, -1], views.passage[:, -1], views.query_mask, views.passage_mask)
        return _scores(self.weights, features)


class ConvKernelHead(Head):
    """Conv-KNRM, Dai et al. 2018, equations 1 to 4: kernels on every pair of n-gram lengths of question and passage."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.convolutions = nn.ModuleList(nn.Conv1d(parts.width, _FILTERS, length) for length in _NGRAMS)
        self.kernels = Kernels()
        self.weights = linear(len(_MEANS) * len(_NGRAMS) ** 2)

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        queries = self._ngrams(views.query[:, -1], views.query_mask)
        passages = self._ngrams(views.passage[:, -1], views.passage_mask)
        features = [
            self.kernels(query, passage, views.query_mask, views.passage_mask)
            for query, passage in product(queries, passages)
        ]
        return _scores(self.weights, torch.cat(features, dim=-1))

    def _ngrams(self, words: Tensor, mask: Tensor) -> list[Tensor]:
        """Returns the n-gram that begins at each word, for each length n; zeros follow the last word.

        Shape: (P, L, H) to (P, L, F) each.
        """
        kept = words.masked_fill(~mask.unsqueeze(-1), 0.0).transpose(1, 2)  # (P, H, L), as Conv1d takes it
        ngrams = []
        for convolution, length in zip(self.convolutions, _NGRAMS, strict=True):
            padded = functional.pad(kept, (0, length - 1))
            ngrams.append(torch.relu(convolution(padded)).transpose(1, 2))
        return ngrams


class CedrKernelHead(Head):
    """CEDR-KNRM, MacAvaney et al. 2019: w · [φ(1); ...; φ(V); [CLS]_V], with the kernels φ(k) on layer k's words."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.kernels = Kernels()
        self.weights = linear(len(_MEANS) * parts.layers + parts.width)

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        layers = zip(views.query.unbind(dim=1), views.passage.unbind(dim=1), strict=True)
        features = [self.kernels(query, passage, views.query_mask, views.passage_mask) for query, passage in layers]
        return _scores(self.weights, torch.cat((*features, views.cls[:, -1]), dim=-1))


HEADS: dict[str, type[Head]] = {
    "dual": DualHead,
    "cross": CrossHead,
    "mult-int": MultiLayerHead,
    "term-trans": TermTransHead,
    "token-pool": TokenPoolHead,
    "layer-mean": LayerMeanHead,
    "layer-attention": LayerAttentionHead,
    "knrm": KernelHead,
    "conv-knrm": ConvKernelHead,
    "cedr-knrm": CedrKernelHead,
}
"""The head of each mode."""
