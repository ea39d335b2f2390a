"""The measurements of gpu.py, in a process of their own: an error of the device spoils a process for all that follows.

    python benchmarks/gpu_tasks.py PLAN

PLAN is a file of JSON. Each task that is begun and each result is a line of JSON in the file ``results`` that it names.
The process ends early, with status 3, after an error of the device; whoever started it starts another for the rest.
"""

import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from gpu_contenders import OfRanker, OfSentenceTransformers, can_flatten, fastest_batch, seconds_of
from gpu_models import Workload, arithmetic, made_up_workload, save_random_model
from gpu_parity import parity
from transformers import AutoConfig

ROUNDS: Final = 3

_MOST_SECONDS: Final = 10.0
"""For one cell of the table: more would not make it more exact."""

_ROUND: Final = 0.06
"""Of a cell's time, what one contender's round is to take: three rounds of four, and the search for batches."""

_EXIT_SPOILT: Final = 3


class Plan(NamedTuple):
    """``deadline`` is by the clock of ``time.time``; ``pack`` is the folder of real texts and weights, or empty."""

    tasks: list[list[Any]]
    results: str
    work: str
    pack: str
    device: str
    rehearse: bool
    deadline: float

    @property
    def seconds_left(self) -> float:
        """Until the deadline."""
        return self.deadline - time.time()


def main() -> None:
    """Does every task of the plan, or as many as there is time for."""
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text()))
    kinds: dict[str, Callable[..., dict[str, Any]]] = {"parity": parity_of, "pairs": pairs_per_second}
    with Path(plan.results).open("a") as file:

        def tell(**facts: Any) -> None:
            file.write(json.dumps(facts) + "\n")
            file.flush()

        for number, (kind, *words) in enumerate(plan.tasks):
            task = [kind, *words]
            if plan.seconds_left <= 0:
                tell(task=task, error="no time was left")
                continue
            tell(task=task, begun=True)
            try:
                tell(task=task, **kinds[kind](plan, *words, left=len(plan.tasks) - number))
            except Exception as error:
                traceback.print_exc()
                tell(task=task, error=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
                if "CUDA error" in str(error):
                    sys.exit(_EXIT_SPOILT)
            finally:
                torch.cuda.empty_cache()


def parity_of(plan: Plan, mode: str, precision: str, left: int) -> dict[str, Any]:  # noqa: ARG001
    """How far packed scores are from those of transformers on padded batches, and from its float32 on the CPU."""
    return parity(Path(plan.pack), Path(plan.work), mode, precision, plan.device, 24 if plan.rehearse else 512)


def pairs_per_second(plan: Plan, precision: str, name: str, shortest: int, longest: int, left: int) -> dict[str, Any]:
    """Both contenders' rates on the same pairs, taken in turn, and the arithmetic of these pairs."""
    seconds = min(0.3 if plan.rehearse else _MOST_SECONDS, plan.seconds_left / left)
    folder = _random_model(plan, name)
    work = made_up_workload(shortest, longest, *((4_000, 512) if plan.rehearse else (2_000_000, 30_000)))
    ours = _ours(folder, precision, plan.device)
    sizes = (8, 32) if plan.rehearse else (32, 128, 512, 2_048)
    trials = []
    for flattened in (False, True)[: 1 + can_flatten(precision)]:
        peer = _theirs(folder, precision, plan.device, flattened)
        trials.append((*fastest_batch(peer, work.texts, sizes, seconds * _ROUND), flattened))
    batch, rate, flattened = max(trials, key=lambda trial: trial[1])
    pairs = min(len(work.passages), max(batch, round(rate * seconds * _ROUND / batch) * batch))
    work = work.head(pairs)
    rates, difference = _raced(ours, _theirs(folder, precision, plan.device, flattened), work, batch)
    gflop = arithmetic(AutoConfig.from_pretrained(folder), work.lengths) / 1e9
    return {"pairs": pairs, "batch": batch, "flattened": flattened, "gflop": gflop, "difference": difference, **rates}


def _raced(
    ours: OfRanker, theirs: OfSentenceTransformers, work: Workload, batch: int
) -> tuple[dict[str, float], float]:
    """Pairs per second, the medians of the rounds; and the largest difference of a score."""
    texts = work.texts
    tokens, features = ours.prepare(work), theirs.prepare(texts, batch)
    difference = float(np.abs(ours.scores(tokens) - theirs.scores(features)).max())
    contenders: dict[str, Callable[[], object]] = {
        "ranker": lambda: ours.scores(ours.prepare(work)),
        "ranker, tokens ready": lambda: ours.scores(tokens),
        "peer": lambda: theirs.predict(texts, batch),
        "peer, tokens ready": lambda: theirs.scores(features),
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, contender in contenders.items():
            times[name].append(seconds_of(contender))
    rates = {name: len(texts) / statistics.median(taken) for name, taken in times.items()}
    return rates, difference


def _random_model(plan: Plan, name: str) -> Path:
    folder = Path(plan.work) / "models" / name
    if not (folder / "tokenizer.json").exists():
        save_random_model(name, plan.rehearse, folder)
    return folder


@lru_cache(maxsize=1)
def _ours(folder: Path, precision: str, device: str) -> OfRanker:
    return OfRanker(folder, precision, device)


@lru_cache(maxsize=2)
def _theirs(folder: Path, precision: str, device: str, flattened: bool) -> OfSentenceTransformers:
    return OfSentenceTransformers(folder, precision, device, flattened)


if __name__ == "__main__":
    main()
