"""What a machine with a GPU is given, as one file: texts, judgments, BM25's candidates, weights, and a few packages."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import torch

from ranker import Dataset, Run, load_model, open_dataset, read_run, write_run

DEPTH: Final = 20
"""Candidates of a question: as deep as negatives are drawn, and as dev is reranked to choose weights."""

PYTHON: Final = "3.12"
"""On the machine with the GPU."""

_PACKAGES: Final = ("ir-measures", "pytrec-eval-terrier", "babel")
"""What ranker imports to train, and machines for deep learning lack; the rest of its requirements they have."""

_LOCALES: Final = ("root", "en", "zh")
"""Of babel's, which take 35 MiB, those that ranker looks for when it is imported."""

_PLATFORMS: Final = tuple(f"manylinux_2_{minor}_x86_64" for minor in (17, 24, 27, 28, 31, 34))


def fill_pack(folder: Path, data: str, model: str, runs: Path | None, queries: int, packages: bool) -> dict[str, int]:
    """Writes a dataset's texts and judgments, candidates for its questions, weights and packages; gives the counts.

    Of train so many ``queries`` are taken in even steps, or all of them for 0, with only the passages that they need.
    ``runs`` is a folder with candidates for train and dev; without, BM25 finds them.
    """
    if packages:
        _install(folder / "site")
    with tempfile.TemporaryDirectory() as name:
        counts = _write_dataset(open_dataset(data), runs or _candidates(data, Path(name)), folder, queries)
    (folder / "model").mkdir()
    load_model(model).to(torch.bfloat16).save(folder / "model")
    return counts


def close_pack(folder: Path, file: Path, most: float) -> float:
    """Makes one file of the folder, and gives its MiB.

    Raises: SystemExit with a sentence where that is more than ``most``.
    """
    made = Path(shutil.make_archive(str(folder.with_name("made")), "zip", folder))
    mib = made.stat().st_size / 2**20
    if mib > most:
        sys.exit(
            f"{file}: would be {mib:.2f} MiB, expected at most {most:g}; take fewer of train's questions: --queries."
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(made, file)
    return mib


def _candidates(data: str, folder: Path) -> Path:
    """A folder with a run for train and one for dev."""

    def ranker(*words: object) -> None:
        subprocess.run([sys.executable, "-m", "ranker", *map(str, words)], check=True)

    ranker("index", data, "--output", folder / "bm25")
    for split in ("train", "dev"):
        output = folder / "runs" / f"{split}.run"
        output.parent.mkdir(exist_ok=True)
        ranker("retrieve", data, "--index", folder / "bm25", "--split", split, "--depth", DEPTH, "--output", output)
    return folder / "runs"


def _write_dataset(data: Dataset, runs: Path, folder: Path, queries: int) -> dict[str, int]:
    """A folder in BEIR layout, ``qa``, and the runs of what is left; how much of each there is."""
    (folder / "qa" / "qrels").mkdir(parents=True)
    (folder / "runs").mkdir()
    doc_ids: dict[str, None] = {}
    asked: dict[str, str] = {}
    counts = {}
    for split in ("train", "dev"):
        run, qrels, texts = _run_of(runs, split), data.qrels(split), data.queries(split)
        chosen = _evenly([name for name in run if name in texts], queries if split == "train" else 0)
        kept = Run("bm25", {query_id: run[query_id].head(DEPTH) for query_id in chosen})
        write_run(kept, folder / "runs" / f"{split}.run", force=False)
        _write_judgments({query_id: qrels[query_id] for query_id in chosen}, folder / "qa" / "qrels" / f"{split}.tsv")
        asked |= {query_id: texts[query_id].text for query_id in chosen}
        for query_id in chosen:
            doc_ids |= dict.fromkeys((*kept[query_id].doc_ids, *qrels[query_id]))
        counts[split] = len(chosen)
    passages = (data.collection[doc_id] for doc_id in sorted(doc_ids))
    records = ({"_id": passage.doc_id, "title": passage.title, "text": passage.text} for passage in passages)
    _write_lines(folder / "qa" / "corpus.jsonl", records)
    _write_lines(folder / "qa" / "queries.jsonl", ({"_id": name, "text": text} for name, text in asked.items()))
    return counts | {"passages": len(doc_ids)}


def _run_of(runs: Path, split: str) -> Run:
    plain = runs / f"{split}.run"
    return read_run(plain if plain.exists() else runs / f"{split}.run.gz")


def _evenly(names: Sequence[str], most: int) -> list[str]:
    """So many of the names in even steps, or all of them for 0."""
    count = min(most or len(names), len(names))
    return [names[number * len(names) // count] for number in range(count)]


def _write_lines(path: Path, records: Iterable[Mapping[str, str]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _write_judgments(qrels: Mapping[str, Mapping[str, int]], path: Path) -> None:
    lines = (
        f"{query_id}\t{doc_id}\t{grade}\n" for query_id, judged in qrels.items() for doc_id, grade in judged.items()
    )
    path.write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))


def _install(folder: Path) -> None:
    """Packages as they lie in site-packages on Linux, without what nothing reads of them."""
    words = ["--no-deps", "--no-compile", "--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}"]
    words += [f"--platform={platform}" for platform in _PLATFORMS]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
    subprocess.run([*pip, *words, *_PACKAGES], check=True)
    for file in (folder / "babel" / "locale-data").iterdir():
        if file.stem not in _LOCALES:
            file.unlink()
