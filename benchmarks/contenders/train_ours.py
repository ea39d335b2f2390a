"""``ranker``'s training: FOLDER SETTINGS."""

import json
import sys
from pathlib import Path

from turns import say_trained

from ranker.data.catalogue import open_dataset
from ranker.data.trec import read_run
from ranker.model.loading import load_model
from ranker.scoring.scorer import Scorer
from ranker.settings.compute import Compute
from ranker.settings.training import TrainingConfig
from ranker.training.fit import TrainingData, fit, training_split


def main(folder: Path, settings: dict[str, object]) -> None:
    """From texts to trained weights, which the process keeps to itself."""
    config = TrainingConfig(**json.loads((folder / "training.json").read_text()))
    scorer = Scorer(load_model((folder / "model").read_text(), "cross"), Compute(precision=str(settings["precision"])))
    data = open_dataset(str(folder))
    training = training_split(data, "train", read_run(folder / "first.run"))
    trained = fit(scorer, TrainingData(data.collection, training, None, 1_000), config, lambda _: None)
    say_trained(trained.seconds, list(trained.losses))


main(Path(sys.argv[1]), json.loads(sys.argv[2]))
