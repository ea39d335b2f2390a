"""The arms of a study, each a way to use the backbone, and the settings that are the same for all."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, NamedTuple

from ranker.errors import RankerError, TrainingError
from ranker.limits import MAX_DEPTH
from ranker.settings.fields import check, check_choice, setting
from ranker.settings.model import MODES, RankerConfig
from ranker.settings.training import TrainingConfig

FIRST_STAGE: Final = "bm25"
"""The name of the run that is reranked."""

ENDLESS: Final = 10_000
"""Epochs of a training that minutes or steps end."""

PUBLISHED_STEPS: Final = 500
"""Steps of each training of the published reproduction: counted in steps, it is the same on every machine."""

TUNINGS: Final = {
    "fine-tuned": "backbone and head learn",
    "frozen": "the backbone stays as it is, and the head learns on what it says",
}


class Arm(NamedTuple):
    """One way to use the backbone; its name begins with its mode.

    ``loss`` "none" is of an arm that has nothing to learn, and no seeds.
    """

    name: str
    mode: str
    frozen: bool = False
    loss: str = "auto"
    pooling: str = "cls"
    markers: bool = True
    stopwords: str = "keep"

    @property
    def learns(self) -> bool:
        """Whether there is anything to train."""
        return self.loss != "none"

    @property
    def shares_backbone(self) -> bool:
        """Whether it shares the one pass of the frozen backbone over the data."""
        return self.frozen and self.learns


@dataclass(frozen=True)
class StudyConfig:
    """Settings of a study that are the same for every arm: groups by seed, length of training, lengths of texts.

    ``tunings`` are of ``fine-tuned`` and ``frozen``; ``arms`` names the wanted arms, where not all are. ``depth`` is
    how far the run is reranked. With ``dense``, fine-tuned arms that read apart also search the whole collection
    by FAISS. Every arm keeps its last weights: choosing by dev would cost some of them part of their minutes.
    Raises: RankerError for a mode or tuning that there is not, one of them or a seed twice, and no end of training.
    """

    modes: tuple[str, ...] = tuple(MODES)
    seeds: tuple[int, ...] = (1, 2, 3)
    tunings: tuple[str, ...] = tuple(TUNINGS)
    ablations: bool = False
    arms: tuple[str, ...] = ()
    dense: bool = False
    backbone: str = "offline"
    trust_remote_code: bool = False
    depth: int = setting(50, least=1, most=MAX_DEPTH, expected=f"1 to {MAX_DEPTH} passages")
    negative_depth: int = setting(50, least=1, most=MAX_DEPTH, expected=f"1 to {MAX_DEPTH} passages")
    length: int = RankerConfig.length
    query_length: int = RankerConfig.query_length
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(validations=0))

    def __post_init__(self) -> None:
        """Refuses what no study can be made of."""
        check(self, RankerError)
        for mode in self.modes:
            check_choice("mode", mode, MODES, RankerError)
        for tuning in self.tunings:
            check_choice("tuning", tuning, TUNINGS, RankerError)
        for name, given in (("mode", self.modes), ("seed", self.seeds), ("tuning", self.tunings)):
            if not given or len(set(given)) < len(given):
                said = ", ".join(map(str, given)) or "none"
                raise RankerError(f"{name}s of the study are {said}; expected each once, and at least one.")
        if self.training.validations:
            raise RankerError(f"validations is {self.training.validations}, expected 0: dev chooses no arm's weights.")
        if not self.training.max_minutes and not self.training.max_steps:
            raise RankerError("minutes_each and steps_each are 0, expected one of them: every arm has the same budget.")

    def reading(self, arm: Arm) -> RankerConfig:
        """How the model of an arm reads."""
        return RankerConfig(
            arm.mode,
            pooling=arm.pooling,
            query_length=self.query_length,
            length=self.length,
            frozen=arm.frozen,
            markers=arm.markers,
            stopwords=arm.stopwords,
        )

    def training_of(self, arm: Arm, seed: int) -> TrainingConfig:
        """How an arm is trained.

        One that is fine-tuned and reads the word embeddings alone learns these, whatever else keeps its layers; else it
        would be the frozen one again.
        """
        kept = 0 if reads_words(arm) and not arm.frozen else self.training.frozen_layers
        temperature = _TEMPERATURES.get(arm.name, 0.0)
        return replace(self.training, loss=arm.loss, seed=seed, temperature=temperature, frozen_layers=kept)

    def record(self) -> dict[str, Any]:
        """The settings that decide a score, under which alone a study is resumed. Its modes and seeds may grow."""
        others = ("modes", "seeds", "tunings", "ablations", "arms", "dense", "trust_remote_code")
        return {key: value for key, value in asdict(self).items() if key not in others}


STANDARD: Final = "cross"
"""The arm that the others are held against, and whose words are left out one by one to see how many decide."""

_TEMPERATURES: Final = {"dual-classification": 1.0}
"""The paper's BERT (Rep) classifies the cosine as it is."""

_ABLATIONS: Final = (
    Arm("cross-no-markers", "cross", markers=False),
    Arm("cross-no-stopwords", "cross", stopwords="drop"),
    Arm("cross-random-stopwords", "cross", stopwords="random"),
)
"""Of Qiao et al. 2019, section 4.3."""


def arms_of(config: StudyConfig) -> list[Arm]:
    """The arms of a study, first what costs nothing, then the frozen ones, then the fine-tuned."""
    arms: list[Arm] = []
    if "frozen" in config.tunings:
        for mode in config.modes:
            if MODES[mode].apart:
                arms += [Arm(f"{mode}-frozen-{pooling}", mode, True, "none", pooling) for pooling in ("cls", "mean")]
        arms += [Arm(f"{mode}-frozen", mode, frozen=True) for mode in config.modes if not MODES[mode].apart]
    if "fine-tuned" in config.tunings:
        for mode in config.modes:
            arms.append(Arm(mode, mode))
            if mode == "dual":
                arms.append(Arm("dual-classification", "dual", loss="pointwise"))
    arms += _ABLATIONS if config.ablations else ()
    return [arm for arm in arms if not config.arms or arm.name in config.arms]


def reproduction(
    backbone: str = "offline",
    seed: int = 1,
    steps_each: int = PUBLISHED_STEPS,
    minutes_each: float = 0.0,
    depth: int = 30,
    length: int = 160,
    trust_remote_code: bool = False,
) -> StudyConfig:
    """The study of ``ranker reproduce``: a cross and a dual encoder trained on the same groups, and the untrained one.

    The settings were chosen on train and dev: the lowest layers, with the embeddings, keep their weights, so that names
    that no training passage holds still mean something.
    Raises: RankerError for a setting that no training, model or run has.
    """
    if steps_each < 1:
        raise TrainingError(f"steps_each is {steps_each}, expected 1 or more.")
    if not minutes_each >= 0:
        raise TrainingError(f"minutes_each is {minutes_each}, expected 0, for no limit, or more.")
    training = TrainingConfig(
        negatives=3,
        groups_per_step=8,
        learning_rate=1e-4,
        epochs=ENDLESS,
        max_minutes=minutes_each,
        max_steps=steps_each,
        validations=0,
        seed=seed,
        frozen_layers=3,
        dropout=False,
    )
    return StudyConfig(
        modes=("dual", "cross"),
        seeds=(seed,),
        arms=("dual-frozen-cls", "dual-frozen-mean", "dual", STANDARD),
        dense=True,
        backbone=backbone,
        trust_remote_code=trust_remote_code,
        depth=depth,
        negative_depth=depth,
        length=length,
        query_length=min(48, length // 2),
        training=training,
    )


class Job(NamedTuple):
    """Arms that one training makes, for one seed (None where there is nothing to learn)."""

    arms: tuple[Arm, ...]
    seed: int | None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the runs of its arms."""
        return tuple(name_of(arm, self.seed) for arm in self.arms)


def name_of(arm: Arm, seed: int | None) -> str:
    """The name of the run of an arm under a seed, and of its model."""
    return arm.name if seed is None else f"{arm.name}.seed{seed}"


def dense_name(job: Job) -> str:
    """The name of the run by which the arm of a job searches the whole collection."""
    return name_of(job.arms[0]._replace(name=f"{job.arms[0].name}-faiss"), job.seed)


def searches(job: Job, config: StudyConfig) -> bool:
    """Whether the arm of a job also searches the whole collection."""
    return config.dense and job.arms[0].learns and MODES[job.arms[0].mode].apart


def jobs_of(arms: Sequence[Arm], seeds: Sequence[int]) -> Iterator[Job]:
    """The work of a study, seed by seed, so that one seed of everything is there early.

    Frozen arms that read the same layers of the same texts are one job.
    """
    for arm in arms:
        if not arm.learns:
            yield Job((arm,), None)
    for seed in seeds:
        panels: dict[bool, list[Arm]] = {}
        for arm in arms:
            if arm.shares_backbone:
                panels.setdefault(reads_words(arm), []).append(arm)
        yield from (Job(tuple(panel), seed) for panel in panels.values())
        yield from (Job((arm,), seed) for arm in arms if arm.learns and not arm.shares_backbone)


def reads_words(arm: Arm) -> bool:
    """Whether its head reads the word embeddings alone, and so shares no pass with the others."""
    return MODES[arm.mode].needs.layers == "words"
