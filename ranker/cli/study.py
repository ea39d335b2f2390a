"""``ranker study``: every way to use the backbone, side by side, going on where it stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from ranker.cli.cluster import cluster_options, joined_cluster
from ranker.cli.options import (
    FIRST_STAGE_LANGUAGE,
    PATH,
    Choice,
    claim,
    command_line,
    language_option,
    progress,
    say,
    say_oddities,
    say_queries_found,
    show,
    split_option,
    trust_option,
)
from ranker.cli.records import training_progress
from ranker.cli.settings import MODEL_HELP, checkpoint_option, settings_of, settings_options
from ranker.experiments.arms import ENDLESS, TUNINGS, StudyConfig
from ranker.limits import MAX_DEPTH, MAX_SEED
from ranker.settings.compute import Compute
from ranker.settings.model import MODES, RankerConfig
from ranker.settings.training import TrainingConfig

_SHARED_BY_ARMS = (
    "negatives", "groups_per_step", "learning_rate", "weight_decay", "warmup", "clip", "head_learning_rate",
    "frozen_layers", "dropout",
)  # fmt: skip


@click.command("study")
@click.argument("dataset")
@click.option("--run", "run_path", type=PATH, help="The run that is reranked; without, BM25's of the split.")
@click.option(
    "--train-run",
    "train_runs",
    type=PATH,
    multiple=True,
    help="A run with candidates of train that negatives are drawn from; without any, BM25's.",
)
@click.option(
    "--mode",
    "modes",
    type=Choice(tuple(MODES)),
    multiple=True,
    help="A mode; may be given several times.  [default: all]",
)
@click.option("--tuning", "tunings", type=Choice(tuple(TUNINGS)), multiple=True, help="Which of both.  [default: both]")
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(0, MAX_SEED),
    multiple=True,
    default=StudyConfig.seeds,
    show_default=True,
    help="A seed; may be given several times.",
)
@click.option(
    "--ablations", is_flag=True, help="Cross also without markers, without stopwords, and without some of these."
)
@click.option(
    "--minutes-each",
    default=5.0,
    show_default=True,
    help="Minutes of training for each arm and seed; scoring the test comes on top.",
)
@click.option(
    "--steps-each",
    default=0,
    type=click.IntRange(0),
    help="Steps instead of minutes, the same on any machine; then slow arms have more time.",
)
@click.option(
    "--depth",
    default=StudyConfig.depth,
    show_default=True,
    type=click.IntRange(1, MAX_DEPTH),
    help="How far down the run is reranked.",
)
@click.option(
    "--negative-depth",
    default=StudyConfig.negative_depth,
    show_default=True,
    type=click.IntRange(1, MAX_DEPTH),
    help="How far down BM25's run negatives are drawn.",
)
@click.option("--train", "train_name", help="The dataset to train on.  [default: the DATASET]")
@click.option("--model", "backbone", default="offline", show_default=True, help=MODEL_HELP)
@trust_option
@split_option
@click.option(
    "--measure",
    "-m",
    "measures",
    multiple=True,
    default=("RR@10", "nDCG@10"),
    show_default=True,
    help="A measure; the first decides claims.",
)
@click.option(
    "--models",
    type=PATH,
    metavar="FOLDER",
    help="Where trained models are kept, and found by other studies that train on the same.",
)
@checkpoint_option
@language_option(FIRST_STAGE_LANGUAGE)
@settings_options(RankerConfig, only=("query_length", "length"))
@settings_options(TrainingConfig, only=_SHARED_BY_ARMS)
@settings_options(Compute)
@cluster_options
@click.option(
    "-o",
    "--output",
    type=PATH,
    required=True,
    metavar="FOLDER",
    help="Runs and report; what is there already is not done again.",
)
@click.pass_context
def study_command(
    context: click.Context,
    dataset: str,
    run_path: Path | None,
    train_runs: tuple[Path, ...],
    modes: tuple[str, ...],
    tunings: tuple[str, ...],
    seeds: tuple[int, ...],
    ablations: bool,
    minutes_each: float,
    steps_each: int,
    depth: int,
    negative_depth: int,
    train_name: str | None,
    backbone: str,
    trust_remote_code: bool,
    split: str,
    measures: tuple[str, ...],
    models: Path | None,
    checkpoint_minutes: float,
    language: str | None,
    output: Path,
) -> None:
    """Compare every way to use BERT for ranking, at equal cost.

    Each mode is trained fine-tuned and frozen, for the same minutes on the same groups, and reranks the same passages.
    The report says what became of the papers' claims. A study that was stopped goes on where it stopped.
    """
    from ranker.evaluation.measures import beyond_judgments, parse_measures
    from ranker.experiments.arms import StudyConfig
    from ranker.experiments.report import markdown
    from ranker.experiments.results import ReportHeader
    from ranker.experiments.run import Display
    from ranker.experiments.study import Study, StudyRequest, leaks_sentence, study_leaks
    from ranker.model.loading import check_backbone

    claim(output, force=True)
    reading = settings_of(context, RankerConfig, {"mode": "cross"})
    config = StudyConfig(
        modes=modes or StudyConfig.modes,
        seeds=seeds,
        tunings=tunings or StudyConfig.tunings,
        ablations=ablations,
        backbone=backbone,
        trust_remote_code=trust_remote_code,
        depth=depth,
        negative_depth=negative_depth,
        length=reading.length,
        query_length=reading.query_length,
        training=replace(
            settings_of(context, TrainingConfig),
            max_minutes=0.0 if steps_each else minutes_each,
            max_steps=steps_each,
            validations=0,
            epochs=ENDLESS,
        ),
    )
    parsed = parse_measures(measures)
    check_backbone(reading, backbone, trust_remote_code)
    request = StudyRequest(
        dataset=dataset,
        split=split,
        output=str(output),
        config=config,
        compute=settings_of(context, Compute),
        run=None if run_path is None else str(run_path),
        train=train_name,
        train_runs=tuple(map(str, train_runs)),
        models=None if models is None else str(models),
        checkpoint_minutes=checkpoint_minutes,
        language=language or "",
        command=command_line(),
    )
    study = Study(request, Display(training_progress, progress, say))
    for data in dict.fromkeys((study.test, study.train)):
        say_oddities(data)
    say_queries_found(study.data.test.run)
    for sentence in beyond_judgments(parsed, study.data.test.qrels):
        say(sentence)
    study.folder.begin(study.settings)
    leaks = study_leaks(study.data, study.test.name, negative_depth)
    if leaks:
        say(leaks_sentence(leaks))
    with joined_cluster(context) as cluster:
        if cluster is None:
            study.run_all()
        else:
            study.share_all(cluster)
    title = f"{study.test.name} {split}: ways to use BERT for ranking"
    settings = {**study.settings, "leaks": leaks.record()}
    header = ReportHeader(title, settings, parsed, parsed[0].name, depth, leaks_sentence(leaks))
    result = study.folder.result(study.jobs, study.data, header)
    study.folder.write_report(result)
    show(markdown(result), newline=False)
