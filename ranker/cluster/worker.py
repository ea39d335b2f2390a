"""What a worker of a cluster does for a model: scores of pairs, and vectors of texts."""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ranker.cluster.arrays import Arrays, packed, unpacked
from ranker.errors import ModelError
from ranker.files.atomic import as_output_error
from ranker.model.device import choose_device, choose_precision, kernels, name_of_device
from ranker.model.loading import load_model
from ranker.model.reranker import Reranker
from ranker.scoring.pairs import Pairs
from ranker.scoring.scorer import Matrix, Scorer
from ranker.scoring.text import Texts
from ranker.settings.compute import Compute
from ranker.settings.fields import from_json


class Place(NamedTuple):
    """Where workers compute: ``cpu`` or ``cuda``, in which precision, what the device is called, and its kernels."""

    device: str
    precision: str
    name: str
    kernels: str


class Result(NamedTuple):
    """Of a shard, one row for each of its inputs; tokens computed, how many were padding, and batches that did not fit.

    Shape: values (inputs, width).
    """

    values: Matrix
    tokens: int
    padding: int
    failures: int


def look(device: str, precision: str) -> Place:
    """How a worker that is asked for this would compute.

    Raises: SetupError as ``choose_device`` and ``choose_precision``.
    """
    found = choose_device(device)
    chosen = choose_precision(precision, found)
    return Place(found.type, chosen, name_of_device(found), kernels(chosen, found.type).name)


def sent_model(model: Reranker, compute: Compute, trust_remote_code: bool) -> bytes:
    """A model and how it is run, to be sent: workers need no folder or hub to find it in.

    Raises: OutputError where there is no room for its files on the way.
    """
    with as_output_error(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save(folder)
        files = {
            f"file {path.relative_to(folder)}": np.frombuffer(path.read_bytes(), dtype=np.uint8)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    facts = {
        "compute": asdict(compute),
        "sha256": model.digest(),
        "trusted": trust_remote_code,
        "source": model.source,
    }
    return packed({**files, "facts": np.array(json.dumps(facts))})


def sent_texts(texts: Texts) -> bytes:
    """Texts to encode, to be sent."""
    return packed(_arrays("passages", texts))


def sent_pairs(pairs: Pairs) -> bytes:
    """Pairs to score, with no text that none of them has."""
    sides, places = zip(*(np.unique(side, return_inverse=True) for side in pairs.rows.T), strict=True)
    return packed(
        {
            **_arrays("queries", pairs.queries.only(sides[0])),
            **_arrays("passages", pairs.passages.only(sides[1])),
            "rows": np.stack(places, axis=1),
        }
    )


def received(sent: bytes) -> Result:
    """What a worker has sent."""
    arrays = unpacked(sent)
    return Result(arrays["values"], *map(int, arrays["counts"]))


class ScoringWorker:
    """A model in a worker's process, in the precision and on the device that all workers have."""

    def __init__(self, setup: bytes) -> None:
        """Raises: ModelError where the model is not, by its digest, the one that was sent."""
        arrays = unpacked(setup)
        facts = json.loads(str(arrays.pop("facts")))
        with tempfile.TemporaryDirectory() as name:
            for key, content in arrays.items():
                path = Path(name) / key.removeprefix("file ")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.tobytes())
            model = load_model(name, trust_remote_code=facts["trusted"])
        if model.digest() != facts["sha256"]:
            raise ModelError(f"{facts['source']}: a worker reads it as {model.digest()}, expected {facts['sha256']}.")
        self._scorer = Scorer(model, from_json(Compute, facts["compute"]))

    def __call__(self, payload: bytes) -> bytes:
        """Scores where there are pairs, else vectors; a column of the former."""
        arrays, scorer = unpacked(payload), self._scorer
        token_counts, splitter = scorer.token_counts, scorer.splitter
        before = token_counts.tokens, token_counts.padding, splitter.failures
        passages = _texts("passages", arrays)
        if "rows" in arrays:
            pairs = Pairs(_texts("queries", arrays), passages, arrays["rows"])
            values = scorer.scores(pairs, _no_one)[:, None]
        else:
            values = scorer.vectors(passages, _no_one)
        counts = np.array([token_counts.tokens, token_counts.padding, splitter.failures]) - before
        return packed({"values": values, "counts": counts})


def _no_one(done: int) -> None:
    """Is told of what is done within a shard."""


def _arrays(name: str, texts: Texts) -> dict[str, Any]:
    return {f"{name} ids": texts.ids, f"{name} offsets": texts.offsets, f"{name} lost": texts.lost}


def _texts(name: str, arrays: Arrays) -> Texts:
    return Texts(arrays[f"{name} ids"], arrays[f"{name} offsets"], arrays[f"{name} lost"])
