"""The main job: BM25's candidates reranked by texts read together and texts read apart, at equal cost of training."""

import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from ranker.comparison import Comparison, compare
from ranker.data.dataset import Dataset
from ranker.data.records import Qrels
from ranker.data.run import Run
from ranker.errors import TrainingError
from ranker.evaluation import Evaluation, evaluate, parse_measures
from ranker.experiment import Lessons, fit, judged, training_split
from ranker.index.dense import build_faiss, check_faiss, open_faiss
from ranker.index.dense_config import DenseConfig
from ranker.index.encoding import encode_collection
from ranker.index.firststage import bm25_run
from ranker.limits import DEFAULT_MEASURES
from ranker.model.backbone import layers_of
from ranker.model.config import PlainConfig, RankerConfig
from ranker.model.loading import create_model, load_model
from ranker.reranking import check_depth, rerank
from ranker.scoring.pairs import Cut
from ranker.scoring.scorer import Scorer
from ranker.scoring.speed import Speed
from ranker.training.config import TrainingConfig
from ranker.training.learner import Step, Trained

HEADLINE: Final = "RR@10"
"""The measure that the verdict is about: MS MARCO's own, for questions that one passage answers."""

_ENDLESS: Final = 10_000
"""Epochs: the minutes end a training."""

OnStep = Callable[[Step], object]
Progress = Callable[[str], AbstractContextManager[OnStep]]


@dataclass(frozen=True)
class ReproductionConfig:
    """The same for every arm: groups, their order, and ``minutes_each`` of training.

    ``depth`` is how many of BM25's passages are reranked, and how deep negatives are drawn. ``frozen_layers`` keep the
    backbone's weights, the embeddings among them, so that names that no training passage holds still mean something.
    Raises: what its parts raise for a setting that no training, model or run has.
    """

    seed: int = 1
    minutes_each: float = 4.5
    depth: int = 30
    length: int = 160
    negatives: int = 3
    groups_per_step: int = 16
    learning_rate: float = 2e-4
    frozen_layers: int = 3
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        """Refuses, before any work, what would be refused in the middle of it."""
        if not self.minutes_each > 0:
            raise TrainingError(f"minutes_each is {self.minutes_each}, expected more than 0.")
        check_depth(self.depth)
        self.training()
        self.reading("cross")

    def reading(self, mode: str) -> RankerConfig:
        """How a model of a mode reads."""
        return RankerConfig(mode, length=self.length, query_length=min(48, self.length // 2))

    def training(self) -> TrainingConfig:
        """How every arm is trained."""
        return TrainingConfig(
            negatives=self.negatives,
            groups_per_step=self.groups_per_step,
            learning_rate=self.learning_rate,
            epochs=_ENDLESS,
            max_minutes=self.minutes_each,
            validations=3,
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
    cut: Cut
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


def reproduce(
    dataset: Dataset, backbone: str, config: ReproductionConfig, speed: Speed, progress: Progress
) -> Reproduction:
    """Runs the whole experiment; choices are made on train and dev, and test is scored once, at the end.

    Raises: what its parts raise.
    """
    check_faiss()
    job = _Job(dataset, backbone, config, speed, progress)
    bm25, cls, mean, dual, faiss, cross = arm_names(config)
    arms = {
        bm25: Arm(job.first_stage, None, 0, job.first_stage_seconds, Cut(0, 0, 0), None),
        cls: job.reranked(cls, job.untrained("cls"), None),
        mean: job.reranked(mean, job.untrained("mean"), None),
    }
    scorer, trained = job.trained("dual")
    arms[dual] = job.reranked(dual, scorer, trained)
    arms[faiss] = job.found(faiss, scorer)
    arms[cross] = job.reranked(cross, *job.trained("cross"))
    measures = parse_measures(DEFAULT_MEASURES)
    evaluations = tuple(evaluate(arm.run, job.test.qrels, measures) for arm in arms.values())
    comparisons = {name: compare(evaluations, name, missing="zero") for name in (bm25, dual)}
    return Reproduction(job.test.qrels, arms, evaluations, comparisons)


class _Job:
    """What all arms share: the data, BM25's candidates, and the budget."""

    def __init__(
        self, dataset: Dataset, backbone: str, config: ReproductionConfig, speed: Speed, progress: Progress
    ) -> None:
        self.dataset, self.backbone, self.config, self.speed, self.progress = dataset, backbone, config, speed, progress
        started = time.monotonic()
        found = bm25_run(dataset, ("train", "dev", "test"), config.depth)
        self.first_stage_seconds = time.monotonic() - started
        self.train = training_split(dataset, "train", found)
        self.dev, self.test = (judged(dataset, split, found) for split in ("dev", "test"))
        self.first_stage = self.test.run

    def trained(self, mode: str) -> tuple[Scorer, Trained]:
        config = self.config
        model = create_model(config.reading(mode), self.backbone, config.seed, config.trust_remote_code)
        scorer = Scorer(model, self.speed)
        training = config.training()
        training = replace(
            training, frozen_layers=min(training.frozen_layers, layers_of(scorer.model.encoder.backbone))
        )
        with self.progress(mode) as on_step:
            lessons = Lessons(self.dataset.collection, self.train, self.dev, config.depth)
            return scorer, fit(scorer, lessons, training, on_step)

    def untrained(self, pooling: str) -> Scorer:
        plain = PlainConfig(pooling)
        return Scorer(load_model(self.backbone, "dual", plain, self.config.trust_remote_code), self.speed)

    def reranked(self, name: str, scorer: Scorer, trained: Trained | None) -> Arm:
        started = time.monotonic()
        done = rerank(
            scorer, self.first_stage, self.test.queries, self.dataset.collection, self.config.depth, lambda _: None
        )
        run = Run(name, done.run.rankings)
        return Arm(run, scorer, done.pairs, time.monotonic() - started, done.cut, trained)

    def found(self, name: str, scorer: Scorer) -> Arm:
        """What the dual encoder finds by itself in the whole collection."""
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            left = Path(folder, "left")
            cut = encode_collection(scorer, self.dataset.collection, Path(folder), lambda _: None, left)
            build_faiss(Path(folder), scorer.model.width, DenseConfig())
            index = open_faiss(Path(folder), DenseConfig())
        queries = scorer.queries(query.text for query in self.test.queries.values())
        run = index.search(self.test.queries, scorer.vectors(queries, lambda _: None), self.config.depth)
        cut = replace(cut, queries=int((queries.lost > 0).sum()))
        return Arm(replace(run, name=name), scorer, 0, time.monotonic() - started, cut, None)
