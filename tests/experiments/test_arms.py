"""The arms of a study and the jobs that make them."""

from dataclasses import replace

import pytest

from ranker.errors import RankerError
from ranker.experiments.arms import StudyConfig, arms_of, jobs_of
from ranker.settings.model import MODES
from ranker.settings.training import TrainingConfig

TIMED = TrainingConfig(max_minutes=1.0, validations=0)


def study(**settings):
    return StudyConfig(**{"training": TIMED, **settings})


def test_a_name_begins_with_the_mode_and_says_what_is_frozen():
    arms = arms_of(study(ablations=True))
    for arm in arms:
        assert arm.name.startswith(arm.mode)
        assert ("frozen" in arm.name) == arm.frozen
    assert len({arm.name for arm in arms}) == len(arms)


def test_every_mode_is_there_frozen_and_fine_tuned():
    found = [arm.name for arm in arms_of(study())]
    for mode in MODES:
        assert mode in found
        assert any(name.startswith(f"{mode}-frozen") for name in found)


def test_dual_is_trained_by_the_papers_loss_and_contrastively():
    config = study(modes=("dual",), tunings=("fine-tuned",))
    arms = {arm.name: arm for arm in arms_of(config)}
    assert set(arms) == {"dual", "dual-classification"}
    paper, ours = (config.training_of(arms[name], 1) for name in ("dual-classification", "dual"))
    assert (paper.loss, paper.temperature) == ("pointwise", 1.0)
    assert ours.resolved(config.reading(arms["dual"])).loss == "contrastive"


def test_ablations_differ_from_cross_in_what_is_read_alone():
    config = study(modes=("cross",), tunings=("fine-tuned",), ablations=True)
    readings = {arm.name: config.reading(arm) for arm in arms_of(config)}
    assert not readings["cross-no-markers"].markers
    assert readings["cross-no-stopwords"].stopwords == "drop"
    assert readings["cross-random-stopwords"].stopwords == "random"
    assert readings["cross"].markers
    assert readings["cross"].stopwords == "keep"


def test_frozen_arms_of_a_seed_share_one_pass_but_those_that_read_word_embeddings_have_their_own():
    config = study(seeds=(1, 2), tunings=("frozen",))
    panels = [job for job in jobs_of(arms_of(config), config.seeds) if job.seed is not None]
    words = {frozenset(("knrm-frozen", "conv-knrm-frozen"))}
    assert [len(job.arms) for job in panels if {arm.name for arm in job.arms} not in words] == [len(MODES) - 3] * 2
    assert [len(job.arms) for job in panels if {arm.name for arm in job.arms} in words] == [2, 2]


def test_one_seed_of_everything_comes_before_the_next():
    config = study(seeds=(5, 6))
    seeds = [job.seed for job in jobs_of(arms_of(config), config.seeds)]
    assert seeds == sorted(seeds, key=lambda seed: (seed is not None, seed or 0))


def test_every_arm_has_the_same_budget_and_the_same_groups():
    config = study()
    given = {
        (training.max_minutes, training.seed, training.negatives, training.groups_per_step)
        for training in (config.training_of(arm, 7) for arm in arms_of(config) if arm.learns)
    }
    assert given == {(1.0, 7, TIMED.negatives, TIMED.groups_per_step)}


def test_lowest_layers_are_kept_by_every_arm_but_by_those_that_would_have_nothing_to_tune():
    config = study(training=replace(TIMED, frozen_layers=2))
    kept = {arm.name: config.training_of(arm, 1).frozen_layers for arm in arms_of(config) if arm.learns}
    assert {name for name, layers in kept.items() if layers != 2} == {"knrm", "conv-knrm"}
    assert kept["knrm"] == kept["conv-knrm"] == 0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"modes": ("cross", "crosses")}, "mode is 'crosses', expected one of dual, cross, "),
        ({"tunings": ("thawed",)}, "tuning is 'thawed', expected one of fine-tuned, frozen"),
        ({"seeds": ()}, "seeds of the study are none; expected each once"),
        ({"modes": ("cross", "cross")}, "modes of the study are cross, cross; expected each once"),
        ({"training": TrainingConfig(max_minutes=1.0)}, "validations is 4, expected 0"),
        ({"training": TrainingConfig(validations=0)}, "minutes_each and steps_each are 0"),
    ],
)
def test_settings_of_no_study_are_refused(settings, sentence):
    with pytest.raises(RankerError, match=sentence):
        study(**settings)


def test_the_record_grows_with_modes_and_seeds_without_becoming_another_study():
    one = study(modes=("cross",), seeds=(1,)).record()
    assert study(seeds=(1, 2), ablations=True).record() == one
    assert study(depth=20).record() != one


def test_whether_a_models_code_is_trusted_decides_no_score() -> None:
    assert study(trust_remote_code=True).record() == study().record()


def test_any_mode_that_reads_apart_has_nothing_to_learn_while_it_is_frozen(monkeypatch):
    monkeypatch.setitem(MODES, "apart", MODES["dual"])
    arms = arms_of(study(modes=("apart", "cross"), tunings=("frozen",)))
    assert [(arm.name, arm.mode, arm.learns) for arm in arms] == [
        ("apart-frozen-cls", "apart", False),
        ("apart-frozen-mean", "apart", False),
        ("cross-frozen", "cross", True),
    ]


@pytest.mark.parametrize("depth", [0, 100_001, "50", True])
def test_a_study_of_a_depth_that_no_run_has_is_refused(depth):
    with pytest.raises(RankerError, match=rf"^depth is {depth!r}, expected 1 to 100000 passages\.$"):
        study(depth=depth)
