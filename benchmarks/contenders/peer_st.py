"""sentence-transformers' ``CrossEncoder.predict``: FOLDER SETTINGS."""

import json
import os
import sys
from pathlib import Path

from sentence_transformers import CrossEncoder
from turns import read_pairs, take_turns, write_scores


def main(folder: Path, settings: dict[str, object]) -> None:
    """Plain torch, in the ``dtype`` given."""
    model = CrossEncoder(
        (folder / "model").read_text(),
        max_length=int((folder / "length").read_text()),
        device="cpu",
        model_kwargs={"torch_dtype": settings.get("dtype", "float32")},
    )
    predict_in_turns(model, folder, settings)


def predict_in_turns(model: CrossEncoder, folder: Path, settings: dict[str, object]) -> None:
    """All pairs in one call, or with ``by_query`` those of a query."""
    batch = int(str(settings["batch"]))

    def predict(pairs: list[tuple[str, str]]) -> list[float]:
        return [float(score) for score in model.predict(pairs, batch_size=batch, show_progress_bar=False)]

    def once() -> None:
        found = read_pairs(folder)
        if settings.get("by_query"):
            scores = [score for hits in found.values() for score in predict([(q, text) for q, _, text in hits])]
        else:
            scores = predict([(q, text) for hits in found.values() for q, _, text in hits])
        left = iter(scores)
        scored = {query_id: [(doc_id, next(left)) for _, doc_id, _ in hits] for query_id, hits in found.items()}
        write_scores(folder / f"{os.getpid()}.run", scored)

    take_turns(once)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
