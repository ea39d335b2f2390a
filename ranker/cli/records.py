"""Records that commands write beside their results, and the lines that they say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ranker.cli.options import command_line, say
from ranker.wording import counted

if TYPE_CHECKING:
    from ranker.data.manifest import RunManifest
    from ranker.experiments.forecast import Moment
    from ranker.reranking.rerank import Reranked
    from ranker.scoring.scorer import Scorer
    from ranker.scoring.tokens import Truncation
    from ranker.settings.training import TrainingConfig
    from ranker.training.loop import Step, Trained

_TOLD_EVERY: Final = 60.0
"""Seconds between two lines of a training whose progress no terminal shows."""

_MANY_TIES: Final = 0.01
"""Equal scores of different passages, as a share of all: float32 logits of a head that works have next to none."""


def write_result(reranked: Reranked, output: Path, force: bool, manifest: RunManifest) -> None:
    """Writes a reranked run with its manifest, and says in a line what was done and what was cut."""
    from ranker.data.run_files import write_with_manifest

    write_with_manifest(reranked.run, output, manifest, force)
    precision = manifest.scoring.precision if manifest.scoring else ""
    _write_windows(reranked, windows_path(output))
    lost = told_cut(reranked.truncation, reranked.answers_lost)
    rate = f"{counted(manifest.facts['pairs_per_second'], 'pair')}/s in {precision}"
    known = f", {reranked.remembered:.0%} remembered" if reranked.remembered else ""
    done = f"{counted(len(reranked.run), 'query')}, {counted(reranked.pairs, 'pair')}"
    say(f"{output}: {done}{known} at {rate}{lost}.")
    if reranked.ties > _MANY_TIES * reranked.pairs:
        say(_saturated(reranked, precision))


def told_cut(cut: Truncation, answers: int = 0) -> str:
    """The clause of a line that says how much was truncated; empty where nothing was."""
    lost = f"; {counted(cut.pairs, 'passage')} cut, {counted(cut.tokens, 'token')} lost" if cut.pairs else ""
    lost += f", and {counted(answers, 'answer')} with them" if answers else ""
    return lost + (f"; {counted(cut.queries, 'query')} cut" if cut.queries else "")


def windows_path(output: Path) -> Path:
    """Where a run's best windows are told, if any of its passages was read in several."""
    return output.with_name(f"{output.name}.windows.tsv")


def _write_windows(reranked: Reranked, path: Path) -> None:
    """A line for each passage read in windows; what an earlier run that was replaced has left is taken away."""
    from ranker.files.atomic import atomic_file

    if not reranked.windows:
        path.unlink(missing_ok=True)
        return
    with atomic_file(path, force=True) as beside, beside.open("w", encoding="utf-8") as file:
        rows = (reranked.windows[0]._fields, *reranked.windows)
        file.writelines("\t".join(map(str, row)) + "\n" for row in rows)


def _saturated(reranked: Reranked, precision: str) -> str:
    """Why so many scores are equal, and what to do."""
    share = f"{reranked.ties / reranked.pairs:.1%} of the passages have the score of another that reads otherwise"
    advice = "the model does not tell them apart" if precision == "float32" else "try --precision float32"
    return f"{share}, and keep the order in which they came; {advice}."


def say_unknown(scorer: Scorer, tell: Callable[[str], None] = say) -> None:
    """Says how many tokens of queries and passages the tokenizer does not know, where they are not few."""
    from ranker.scoring.scorer import unknown_tokens_sentences

    for sentence in unknown_tokens_sentences(scorer):
        tell(sentence)


def training_record(
    dataset: dict[str, Any], origin: dict[str, Any], scorer: Scorer, config: TrainingConfig, trained: Trained
) -> dict[str, Any]:
    """How a model came to be; ``origin`` is what it was made from, beside the ``dataset``."""
    from ranker.data.manifest import versions

    return {
        "command": command_line(),
        "dataset": dataset,
        **origin,
        "training": asdict(config.resolved(scorer.model.config)),
        **trained.record(),
        "device": scorer.backend.device_name,
        "precision": scorer.precision,
        "kernels": scorer.backend.kernels,
        "versions": versions(),
    }


@contextmanager
def training_progress(label: str) -> Iterator[Callable[[Step], None]]:
    """A bar on stderr with the loss, pairs per second and the time left; a line a minute where that is no terminal."""
    from tqdm import tqdm

    form = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=1.0, desc=f"train {label}", disable=None, leave=False, bar_format=form) as bar:
        pairs, told = 0, time.monotonic()

        def on_step(step: Step) -> None:
            nonlocal pairs, told
            pairs += step.pairs
            if bar.disable:
                if time.monotonic() - told >= _TOLD_EVERY:
                    told = time.monotonic()
                    say(f"train {label}: step {step.number}, {step.progress:.0%} done, loss {step.loss:.4f}.")
                return
            elapsed = float(bar.format_dict["elapsed"]) or 1.0
            bar.set_postfix_str(f"loss {step.loss:.4f}, {counted(pairs / elapsed, 'pair', '.0f')}/s", refresh=False)
            bar.update(step.progress - bar.n)

        yield on_step


@contextmanager
def countdown() -> Iterator[Callable[[Moment], None]]:
    """Says how long a job will take, and shows on stderr what is being done and the time left."""
    from tqdm import tqdm

    with tqdm(total=1.0, disable=None, leave=False, bar_format="{desc}: {bar} {postfix}") as bar:
        doing = ""

        def on_moment(moment: Moment) -> None:
            nonlocal doing
            left = _told_time(moment.left)
            if not doing:
                say(f"This will take about {_told_time(moment.left)} here, by a probe.")
            elif bar.disable and moment.doing != doing:
                say(f"{moment.doing}: about {left} left.")
            doing = moment.doing
            bar.set_description_str(doing, refresh=False)
            bar.set_postfix_str(f"about {left} left", refresh=False)
            bar.update(moment.spent / max(moment.spent + moment.left, 1e-9) - bar.n)

        yield on_moment


def _told_time(seconds: float) -> str:
    """As precise as such a thing is known."""
    minutes = round(seconds / 60)
    return counted(minutes, "minute") if minutes else counted(max(1, round(seconds)), "second")
