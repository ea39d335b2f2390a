"""A model at work: it encodes texts, and computes scores of pairs and vectors of texts, the same in any batch."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from importlib import metadata

import numpy as np
import torch

from ranker.data.manifest import ModelRecord, ScoringRecord
from ranker.errors import ModelError
from ranker.files.atomic import cache_folder
from ranker.model.inputs import Packed, joint_needs
from ranker.model.reranker import Reranker
from ranker.progress import Advance, no_progress
from ranker.scoring.backend import Backend, LocalBackend
from ranker.scoring.batching import Matrix, batches, indices_of_batches, input_indices
from ranker.scoring.cache import JobCache, ScoreCache
from ranker.scoring.jobs import ScoringJob, open_job_cache, scoring_job, similarities
from ranker.scoring.text import REPORTED_SHARE, TextEncoding
from ranker.scoring.tokens import Pairs, Rows, Texts
from ranker.scoring.windows import WindowedPairs, unwindowed
from ranker.settings.compute import CUT, Compute, Overflow
from ranker.settings.model import LAST
from ranker.version import __version__


class Scorer:
    """A model, the encoding of its texts, and the backend that computes it: this process, or a cluster's workers."""

    def __init__(
        self, model: Reranker, compute: Compute, overflow: Overflow = CUT, backend: Backend | None = None
    ) -> None:
        """Computes here, as ``compute`` says, where no other backend is given.

        Raises: SetupError or ModelError for what this machine or model cannot do.
        """
        self.model = model
        self.backend = LocalBackend(model, compute) if backend is None else backend
        self.encoding = TextEncoding(model, overflow)

    @property
    def device(self) -> torch.device:
        """The device of the model's weights in this process."""
        return self.backend.device

    @property
    def precision(self) -> str:
        """The precision that is computed in."""
        return self.backend.precision

    def queries(self, texts: Iterable[str]) -> Texts:
        """Tokenizes and truncates queries."""
        return self.encoding.queries(texts)

    def passages(self, texts: Iterable[str]) -> Texts:
        """Tokenizes and truncates passages."""
        return self.encoding.passages(texts)

    def scores(self, pairs: Pairs, advance: Advance = no_progress) -> Matrix:
        """Computes one logit per pair.

        Shape: (P,).
        """
        return self.job(unwindowed(pairs)).scores(np.arange(len(pairs)), advance)

    def job(self, pairs: WindowedPairs, cache: JobCache | None = None) -> ScoringJob:
        """Prepares the scoring of pairs, to be done in portions, with the weights that the model has now."""
        return scoring_job(self.model, self.encoding, self.backend, pairs, cache)

    def job_cache(self, pairs: WindowedPairs) -> AbstractContextManager[JobCache]:
        """Opens the cache of all scores of this model for the scoring of these pairs."""
        apart = self.model.config.apart
        cache = ScoreCache(cache_folder() / "scores", self.fingerprint, self.model.width if apart else 1)
        return open_job_cache(cache, pairs.windows, apart, self.backend.tokens_per_batch)

    def vectors(self, texts: Texts, advance: Advance = no_progress) -> Matrix:
        """Computes one vector per text, for modes that read apart.

        Shape: (texts, H).
        """
        model = self.backend.prepare(LAST)
        lengths, tokens = texts.lengths + self.encoding.markers, model.batch_tokens(len(texts.ids))
        text_batches = list(batches(lengths, tokens))
        vectors = np.empty((len(texts), self.model.width), dtype=np.float32)
        with input_indices(indices_of_batches(text_batches)):
            for index, computed in model.vectors(self.encoding.text_inputs(texts, text_batches)):
                vectors[text_batches[index]] = computed
                advance(len(computed))
        return vectors

    def vectors_by_part(self, parts: Iterable[Texts], advance: Advance = no_progress) -> Iterator[tuple[int, Matrix]]:
        """Yields the vectors of each part of many texts as they are computed, with the part's index.

        Shape: (texts of the part, H) each. Raises: InputError by the index of a text among those of all parts.
        """
        inputs = (packed for part in parts for packed in self.encoding.text_inputs(part, [np.arange(len(part))]))
        return self.backend.prepare(LAST).vectors_by_part(inputs, advance)

    def similarities(self, rows: Rows, queries: Matrix, passages: Matrix) -> Matrix:
        """Compares vectors that are at hand, for modes that read apart.

        Shape: rows (P, 2): query, passage; queries (Q, H), passages (D, H), result (P,).
        """
        return similarities(self.model, rows, queries, passages)

    @property
    def fingerprint(self) -> str:
        """Names all that a score depends on, beside the texts."""
        facts = (
            __version__,
            self.model.digest(),
            self.encoding.digest,
            self.backend.precision,
            self.backend.device_type,
            self.backend.kernels,
            *map(metadata.version, ("torch", "transformers")),
        )
        return hashlib.sha256("|".join(facts).encode()).hexdigest()[:24]

    def record(self) -> ScoringRecord:
        """Gives what a manifest says of the model, and of how it has run by now."""
        overflow = self.encoding.overflow
        return ScoringRecord(
            ModelRecord(self.model.source, self.model.digest(), asdict(self.model.config)),
            device=self.backend.device_name,
            precision=self.backend.precision,
            kernels=self.backend.kernels,
            overflow=overflow.overflow,
            stride=overflow.stride,
            padding=round(self.backend.token_counts.share, 4),
            unknown_tokens={side: round(unknown.share, 4) for side, unknown in self.encoding.unknown.items()},
            out_of_memory=self.backend.splitter.failures,
            cluster=self.backend.cluster,
        )


def unknown_tokens_sentences(scorer: Scorer) -> list[str]:
    """Says which share of the tokens of queries and of passages the tokenizer does not know, where it is not small."""
    return [
        f"{scorer.model.source}: does not know {unknown.share:.0%} of the tokens of the {side}, as "
        f"{', '.join(map(repr, unknown.words))}; expected a model of their language."
        for side, unknown in scorer.encoding.unknown.items()
        if unknown.share > REPORTED_SHARE
    ]


def scores_of_heads(scorers: Sequence[Scorer], pairs: Pairs, advance: Advance = no_progress) -> Matrix:
    """Computes one logit per model and pair, of models that share one frozen backbone, which reads each pair once.

    Shape: (models, P). Raises: ModelError where a model is fine-tuned or reads apart.
    """
    for scorer in scorers:
        config = scorer.model.config
        if config.apart or not config.frozen:
            raise ModelError(f"mode {config.mode!r} cannot share a backbone, expected frozen modes that read together.")
    for scorer in scorers:
        scorer.model.eval()
    first = scorers[0]
    needs = joint_needs(scorer.model.config.needs for scorer in scorers)
    runner = first.backend.runner(needs)

    @torch.inference_mode()
    def logits(inputs: Packed) -> Matrix:
        views = runner.views(inputs, needs)
        return np.stack([scorer.model.from_views(views).cpu().numpy() for scorer in scorers], axis=1)

    scores = np.empty((len(scorers), len(pairs)), dtype=np.float32)
    pair_batches = list(batches(first.encoding.pair_lengths(pairs), first.backend.tokens_per_batch))
    inputs = first.encoding.pair_inputs(pairs, pair_batches)
    with input_indices(indices_of_batches(pair_batches)):
        for index, computed in first.backend.splitter.run(inputs, logits):
            scores[:, pair_batches[index]] = computed.T
            advance(len(computed))
    return scores
