"""The spellings other tools rely on, and options made from the fields of settings."""

import json
import re
from dataclasses import dataclass, fields

import click
import pytest
from click.testing import CliRunner

from ranker.cli.main import cli
from ranker.cli.settings import settings_of, settings_options
from ranker.data.run_files import run_name
from ranker.settings.compute import Compute
from ranker.settings.fields import setting
from ranker.settings.model import RankerConfig
from ranker.settings.training import TrainingConfig

CONTRACT = {
    "import": {"--output", "-o", "--force"},
    "index": {"--kind", "--model", "--output", "-o", "--language", "--k1", "--b", "--rm3", "--force"},
    "retrieve": {"--index", "--split", "--depth", "--output", "-o", "--force"},
    "train": {
        "--mode",
        "--frozen",
        "--run",
        "--model",
        "--split",
        "--pooling",
        "--max-minutes",
        "--output",
        "-o",
        "--force",
    },
    "rerank": {"--run", "--mode", "--model", "--split", "--depth", "--output", "-o", "--force"},
    "evaluate": {"--measure", "-m", "--per-query", "--format", "--split"},
    "compare": {"--baseline", "--measure", "-m", "--split", "--format"},
    "study": {"--run", "--mode", "--seed", "--minutes-each", "--split", "--model", "--measure", "-m", "--output", "-o"},
    "explain": {"--mode", "--model", "--split", "--query", "--passage", "--query-id", "--doc-id", "--output", "-o"},
    "depth": {"--first", "--measure", "-m", "--split", "--format"},
    "verify": {"--dataset", "--model", "--queries", "--seed"},
    "fuse": {"--method", "--weight", "--output", "-o", "--force"},
    "validate": set(),
    "doctor": set(),
    "reproduce": {"--dataset", "--model", "--seed", "--output", "-o", "--force"},
}


def options_of(command):
    return {name for parameter in cli.commands[command].params for name in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("command", sorted(CONTRACT))
def test_a_command_has_the_options_of_the_contract(command):
    assert options_of(command) >= CONTRACT[command]


def test_there_is_no_command_without_a_contract():
    assert set(cli.commands) == set(CONTRACT)


@pytest.mark.parametrize("command", sorted(CONTRACT))
def test_every_option_says_what_it_is_for(command):
    for parameter in cli.commands[command].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{command} {parameter.opts}"
            assert parameter.help.partition("  [")[0].endswith("."), f"{command} {parameter.opts}"


@pytest.mark.parametrize("command", sorted(CONTRACT))
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_begins_with_the_usage_and_a_sentence(ranker, command, flag):
    said = ranker(command, flag)
    assert said.status == 0
    assert said.out.startswith(f"Usage: ranker {command}")
    assert re.match(r"Usage: .*\n\n  [A-Z][^.]+\.\n", said.out)


def test_every_command_says_in_the_list_what_it_does(ranker):
    said = ranker("--help")
    for command in CONTRACT:
        assert re.search(rf"^  {command} +[A-Z]\w+", said.out, re.MULTILINE), command


@pytest.mark.parametrize(("command", "settings"), [("train", TrainingConfig), ("train", Compute), ("rerank", Compute)])
def test_every_setting_is_an_option_with_its_default(command, settings):
    parameters = {parameter.name: parameter for parameter in cli.commands[command].params}
    for field in fields(settings):
        assert "--" + field.name.replace("_", "-") in options_of(command)
        assert parameters[field.name].default == field.default


def test_how_a_model_reads_is_chosen_when_it_is_trained():
    chosen = {"--" + field.name.replace("_", "-") for field in fields(RankerConfig) if field.name != "label"}
    assert options_of("train") >= chosen


@dataclass(frozen=True)
class Toy:
    """One setting of each kind."""

    size: int = setting(3, "How many")
    rate: float = setting(0.5, "How fast")
    kind: str = setting("plain", "Which", choices={"plain": "as it is", "fancy": "with frills"})
    loud: bool = setting(False, "Shout")
    careful: bool = setting(True, "Look twice")
    hidden: int = setting(1, least=0)
    plain: int = 0


def toy(*words, only=()):
    @click.command()
    @settings_options(Toy, only=only)
    @click.pass_context
    def command(context):
        click.echo(settings_of(context, Toy))

    return CliRunner().invoke(command, words)


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ((), Toy()),
        (("--size", "7", "--rate", "2"), Toy(size=7, rate=2.0)),
        (("--kind", "fancy"), Toy(kind="fancy")),
        (("--loud",), Toy(loud=True)),
        (("--no-careful",), Toy(careful=False)),
        (("--careful",), Toy()),
    ],
)
def test_options_become_the_settings_they_name(words, settings):
    assert toy(*words).output == f"{settings}\n"


@pytest.mark.parametrize("words", [("--size", "many"), ("--kind", "other"), ("--no-loud",), ("--speed", "3")])
def test_a_value_that_is_of_no_such_kind_is_wrong_usage(words):
    said = toy(*words)
    assert said.exit_code == 2
    assert said.stderr.count("Error: ") == 1


def test_options_stand_in_the_order_of_their_settings_and_only_those_with_help_are_there():
    shown = re.findall(r"^  --(\w+)", toy("--help").output, flags=re.MULTILINE)
    assert shown == ["size", "rate", "kind", "loud", "careful", "help"]


def test_a_command_may_have_only_some_of_the_settings():
    assert toy("--size", "7", only=("size",)).output == f"{Toy(size=7)}\n"
    assert toy("--rate", "2", only=("size",)).exit_code == 2


def test_the_help_of_a_setting_shows_its_default():
    said = toy("--help").output
    assert "How many.  [default: 3]" in said
    assert "--careful / --no-careful" in said


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/cross.seed1.run.gz", "cross.seed1"),
        ("bm25.run", "bm25"),
        ("bm25.txt", "bm25"),
        ("run.dl19.trec", "run.dl19"),
        ("a b.run", "a-b"),
        ("bm25", "bm25"),
    ],
)
def test_a_run_is_called_by_its_file(tmp_path, path, name):
    assert run_name(tmp_path / path) == name


def test_settings_reach_the_training_and_its_record(ranker, dataset, first_run, tiny, tmp_path):
    said = ranker(
        "train", dataset, "--mode", "dual", "--model", tiny(), "--run", first_run, "--length", 40,
        "--query-length", 12, "--negatives", 2, "--loss", "pairwise", "--temperature", 0.1, "--frozen-layers", 2,
        "--no-dropout", "--seed", 9, "--pooling", "mean", "--precision", "float32", "-o", tmp_path / "dual",
    )  # fmt: skip
    assert said.status == 0, said.err
    record = json.loads((tmp_path / "dual" / "training.json").read_text())
    asked = {"loss": "pairwise", "negatives": 2, "temperature": 0.1, "frozen_layers": 2, "dropout": False, "seed": 9}
    assert {key: record["training"][key] for key in asked} == asked
    model = json.loads((tmp_path / "dual" / "ranker.json").read_text())
    assert (model["mode"], model["pooling"], model["length"], model["query_length"]) == ("dual", "mean", 40, 12)
    assert len(record["losses"]) == record["steps"]
    assert record["precision"] == "float32"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--learning-rate", 2), "learning_rate is 2.0, expected 1e-09 to 1.0."),
        (("--negatives", 0), "negatives is 0, expected 1 to 1000."),
        (("--epochs", 0), "epochs is 0, expected 1 to 10000."),
        (("--length", 3), "length is 3, expected 8 to 8192 tokens."),
        (("--query-length", 300), "query_length is 300, expected less than the length of 256."),
        (("--frozen-layers", 9), "9 layers to freeze, but the backbone has 3 and the embeddings: at most 4."),
        (("--tokens-per-batch", -1), "tokens_per_batch is -1, expected 0 or more."),
        (("--loss", "contrastive"), "loss contrastive needs a mode that reads apart, but the mode is 'cross'."),
    ],
)
def test_a_setting_that_cannot_be_is_one_sentence(ranker, dataset, tiny, tmp_path, words, sentence):
    said = ranker(
        "train", dataset, "--mode", "cross", "--model", tiny("bert", max_position_embeddings=300),
        "-o", tmp_path / "none", *words,
    )  # fmt: skip
    assert said.status == 1
    assert said.err.splitlines()[-1] == f"Error: {sentence}"
    assert list(tmp_path.iterdir()) == []
