"""The main job: BM25's candidates reranked by texts read together and texts read apart, trained on the same groups."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from ranker.data.dataset import Dataset
from ranker.data.records import Qrels
from ranker.data.run import Run
from ranker.errors import TrainingError
from ranker.evaluation.measures import Evaluation, evaluate, parse_measures
from ranker.evaluation.significance import Comparison, compare
from ranker.experiments.forecast import Countdown, OnMoment, counted, scoring_seconds, step_seconds
from ranker.index.bm25 import bm25_run
from ranker.index.dense import build_faiss, check_faiss, open_faiss, read_vectors
from ranker.index.encoding import encode_collection
from ranker.limits import DEFAULT_MEASURES
from ranker.model.encoder import layers_of
from ranker.model.loading import create_model, load_model
from ranker.reranking.rerank import candidates, check_depth, check_run, reordered, rerank_candidates
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Truncation
from ranker.settings.compute import Compute
from ranker.settings.fields import check, setting
from ranker.settings.index import DenseConfig
from ranker.settings.model import PlainConfig, RankerConfig
from ranker.settings.training import TrainingConfig
from ranker.training.fit import TrainingData, fit, judged_run, training_split
from ranker.training.loop import Trained

HEADLINE: Final = "RR@10"
"""The measure that the verdict is about: MS MARCO's own, for questions that one passage answers."""

PUBLISHED_STEPS: Final = 500
"""Steps of each training of the published experiment: counted in steps, it is the same on every machine."""

_ENDLESS: Final = 10_000
"""Epochs: the steps end a training."""


@dataclass(frozen=True)
class ReproductionConfig:
    """The same for every arm: ``steps_each`` steps of training on the same groups in the same order.

    ``minutes_each`` ends a training before, 0 does not. ``depth`` is how many of BM25's passages are reranked, and how
    deep negatives are drawn. ``frozen_layers`` keep the backbone's weights, the embeddings among them, so that names
    that no training passage holds still mean something.
    Raises: what its parts raise for a setting that no training, model or run has.
    """

    seed: int = 1
    steps_each: int = setting(PUBLISHED_STEPS, least=1)
    minutes_each: float = setting(0.0, least=0.0, expected="0, for no limit, or more")
    depth: int = 30
    length: int = 160
    negatives: int = 3
    groups_per_step: int = 8
    learning_rate: float = 1e-4
    frozen_layers: int = 3
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        """Refuses, before any work, what would be refused in the middle of it."""
        check(self, TrainingError)
        check_depth(self.depth)
        self.training()
        self.reading("cross")

    def reading(self, mode: str) -> RankerConfig:
        """How a model of a mode reads."""
        return RankerConfig(mode, "cls", length=self.length, query_length=min(48, self.length // 2))

    def training(self) -> TrainingConfig:
        """How every arm is trained; dev chooses nothing, since the last weights of a rate that fell are the best."""
        return TrainingConfig(
            negatives=self.negatives,
            groups_per_step=self.groups_per_step,
            learning_rate=self.learning_rate,
            epochs=_ENDLESS,
            max_minutes=self.minutes_each,
            max_steps=self.steps_each,
            validations=0,
            seed=self.seed,
            frozen_layers=self.frozen_layers,
            dropout=False,
        )


class Arm(NamedTuple):
    """One row of the result: a run, and the model, pairs, seconds and training behind it.

    A search scores no pairs; its ``cut`` counts passages of the whole collection.
    """

    run: Run
    scorer: Scorer | None
    pairs: int
    seconds: float
    cut: Truncation
    trained: Trained | None


@dataclass(frozen=True)
class Reproduction:
    """Every arm by its name, what the judgments say of each, and comparisons by the name of their baseline."""

    qrels: Qrels
    arms: dict[str, Arm]
    evaluations: tuple[Evaluation, ...]
    comparisons: dict[str, Comparison]


def arm_names(config: ReproductionConfig) -> tuple[str, str, str, str, str, str]:
    """BM25; the backbone as it is, read apart, by [CLS] and by mean; the tuned dual, reranking and searching; cross."""
    seed = f"seed{config.seed}"
    return "bm25", "dual-frozen-cls", "dual-frozen-mean", f"dual.{seed}", f"dual-faiss.{seed}", f"cross.{seed}"


def trained_names(config: ReproductionConfig) -> tuple[str, str]:
    """The arms that are models of their own."""
    _, _, _, dual, _, cross = arm_names(config)
    return dual, cross


def departures(result: "Reproduction") -> str:
    """A sentence on trainings that are shorter or longer than the published ones; empty where none is."""
    lengths = {name: arm.trained.steps for name, arm in result.arms.items() if arm.trained is not None}
    others = [f"{name} after {steps}" for name, steps in lengths.items() if steps != PUBLISHED_STEPS]
    if not others:
        return ""
    return f"{' and '.join(others)} of {PUBLISHED_STEPS} steps: not the published experiment."


def expected_seconds(dataset: Dataset, backbone: str, config: ReproductionConfig, compute: Compute) -> dict[str, float]:
    """Seconds that the job takes here, stage by stage in their order, by a probe.

    Raises: what its parts raise.
    """
    seconds = dict[str, float]()
    for mode in ("dual", "cross"):
        scorer = new_scorer(mode, backbone, config, compute)
        training = fitting(config.training(), scorer)
        step = step_seconds(scorer, dataset, training)
        limit = 60 * config.minutes_each or float("inf")
        seconds[mode] = min(config.steps_each * step, limit)
        seconds[f"{mode} scoring"] = scoring_seconds(scorer, dataset)
    pairs = config.depth * len(dataset.queries("test"))
    passages = len(dataset.collection)
    candidates = min(pairs, passages) * seconds["dual scoring"]
    _, cls, mean, dual, faiss, cross = arm_names(config)
    return {
        cls: candidates,
        mean: candidates,
        f"training {dual}": seconds["dual"],
        faiss: passages * seconds["dual scoring"],
        f"training {cross}": seconds["cross"],
        cross: pairs * seconds["cross scoring"],
    }


def new_scorer(mode: str, backbone: str, config: ReproductionConfig, compute: Compute) -> Scorer:
    """A model of a mode that has learned nothing yet."""
    model = create_model(config.reading(mode), backbone, config.seed, config.trust_remote_code)
    return Scorer(model, compute)


def fitting(training: TrainingConfig, scorer: Scorer) -> TrainingConfig:
    """The settings for a backbone that may have fewer layers than are to keep their weights."""
    layers = layers_of(scorer.model.encoder.backbone)
    return replace(training, frozen_layers=min(training.frozen_layers, layers))


def reproduce(
    dataset: Dataset, backbone: str, config: ReproductionConfig, compute: Compute, on_moment: OnMoment
) -> Reproduction:
    """Runs the whole experiment; settings were chosen on train and dev, and test is scored once, at the end.

    Raises: what its parts raise.
    """
    check_faiss()
    job = _Job(dataset, backbone, config, compute, on_moment)
    bm25, cls, mean, dual, faiss, cross = arm_names(config)
    arms = {bm25: Arm(job.first_stage, None, 0, job.first_stage_seconds, Truncation(0, 0, 0), None)}
    for name, pooling in ((cls, "cls"), (mean, "mean")):
        with job.countdown.stage(name) as advance:
            arms[name] = job.reranked(name, job.untrained(pooling), None, advance)
    arms |= job.dual_arms(dual, faiss)
    scorer, trained = job.trained("cross", cross)
    with job.countdown.stage(cross) as advance:
        arms[cross] = job.reranked(cross, scorer, trained, advance)
    measures = parse_measures(DEFAULT_MEASURES)
    evaluations = tuple(evaluate(arm.run, job.test.qrels, measures) for arm in arms.values())
    comparisons = {name: compare(evaluations, name, missing="zero") for name in (bm25, dual)}
    return Reproduction(job.test.qrels, arms, evaluations, comparisons)


class _Job:
    """What all arms share: the data, BM25's candidates, the settings, and the time that is left."""

    def __init__(
        self, dataset: Dataset, backbone: str, config: ReproductionConfig, compute: Compute, on_moment: OnMoment
    ) -> None:
        self.dataset, self.backbone, self.config, self.compute = dataset, backbone, config, compute
        started = time.monotonic()
        found = bm25_run(dataset, ("train", "test"), config.depth)
        self.first_stage_seconds = time.monotonic() - started
        self.train = training_split(dataset, "train", found)
        self.test = judged_run(dataset, "test", found)
        self.first_stage = self.test.run
        self.countdown = Countdown(expected_seconds(dataset, backbone, config, compute), on_moment)

    def trained(self, mode: str, name: str) -> tuple[Scorer, Trained]:
        scorer = new_scorer(mode, self.backbone, self.config, self.compute)
        training_data = TrainingData(self.dataset.collection, self.train, None, self.config.depth)
        with self.countdown.stage(f"training {name}") as advance:
            training = fitting(self.config.training(), scorer)
            return scorer, fit(scorer, training_data, training, lambda step: advance(step.progress))

    def untrained(self, pooling: str) -> Scorer:
        plain = PlainConfig(pooling)
        return Scorer(load_model(self.backbone, "dual", plain, self.config.trust_remote_code), self.compute)

    def reranked(self, name: str, scorer: Scorer, trained: Trained | None, advance: Callable[[float], None]) -> Arm:
        started, run, depth = time.monotonic(), self.first_stage, self.config.depth
        check_run(run, self.test.queries, self.dataset.collection, depth)
        pairs = candidates(scorer, run, self.test.queries, self.dataset.collection, depth)
        done = rerank_candidates(scorer, run, pairs, depth, counted(advance, run.hits))
        seconds = time.monotonic() - started
        return Arm(Run(name, done.run.rankings), scorer, done.pairs, seconds, done.truncation, trained)

    def dual_arms(self, dual: str, faiss: str) -> dict[str, Arm]:
        """The tuned dual encoder, which reads each passage once: reranking, and searching the whole collection."""
        scorer, trained = self.trained("dual", dual)
        collection, started = self.dataset.collection, time.monotonic()
        with tempfile.TemporaryDirectory() as name, self.countdown.stage(faiss) as advance:
            folder = Path(name)
            more = counted(advance, len(collection))
            cut = encode_collection(scorer, collection, folder, more, folder / "left")
            encoding = time.monotonic() - started
            build_faiss(folder, scorer.model.width, DenseConfig())
            index = open_faiss(folder, DenseConfig())
            queries = scorer.queries(query.text for query in self.test.queries.values())
            run = index.search(self.test.queries, scorer.vectors(queries, lambda _: None), self.config.depth)
            seconds = time.monotonic() - started
            vectors = read_vectors(folder, scorer.model.width)
            started, depth = time.monotonic(), self.config.depth
            pairs = candidates(scorer, self.first_stage, self.test.queries, collection, depth).whole
            passages = vectors[[collection.number(doc_id) for doc_id in _passages(self.first_stage)]]
            scores = scorer.similarities(pairs.rows, scorer.vectors(pairs.queries), passages)
            # the passages were encoded for the search, but a reranking costs that too
            spent, lost = encoding + time.monotonic() - started, scorer.encoding.truncation(pairs)
            run_of_scores = Run(dual, reordered(self.first_stage, scores, depth))
            reranked = Arm(run_of_scores, scorer, len(pairs), spent, lost, trained)
        cut = replace(cut, queries=int((queries.lost > 0).sum()))
        return {dual: reranked, faiss: Arm(replace(run, name=faiss), scorer, 0, seconds, cut, None)}


def _passages(run: Run) -> list[str]:
    """All that are in a run, each once, in the order in which they come."""
    return list(dict.fromkeys(doc_id for ranking in run.values() for doc_id in ranking.doc_ids))
