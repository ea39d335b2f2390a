"""A folder whose files do not fit each other is refused by the name of what does not fit; what is harmless is not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM

from ranker.errors import ModelError
from ranker.model.files import quiet
from ranker.model.loading import create_model, load_model
from ranker.settings.model import RankerConfig

WEIGHTS, INDEX, TOKENIZER, CONFIG = "model.safetensors", "model.safetensors.index.json", "tokenizer.json", "config.json"
TOKENS = 48
DENSE = "bert.encoder.layer.1.output.dense.weight"
TYPES = ["bert", "roberta", "camembert", "xlm-roberta", "electra", "distilbert", "mpnet", "deberta-v2", "modernbert"]


@pytest.fixture
def folder(tiny, tmp_path) -> Callable[..., Path]:
    """A copy of a tiny model's folder, to be changed."""

    def copy(model_type: str = "bert", labels: int = 1) -> Path:
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        return shutil.copytree(tiny(model_type, labels=labels), tmp_path / "model")

    return copy


def refusal(path: Path, load: Callable[[str], object] = load_model) -> str:
    """What is said of a folder, behind its name."""
    with pytest.raises(ModelError) as error:
        load(str(path))
    sentence = str(error.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert sentence.startswith(f"{path}: ")
    return sentence.removeprefix(f"{path}: ")


def as_backbone(path: str) -> object:
    return create_model(RankerConfig("mult-int", query_length=8, length=32), path, seed=1)


def edit(path: Path, change: Callable[[dict], object]) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def reweigh(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(path)
    change(weights)
    save_file({name: weight.contiguous() for name, weight in weights.items()}, path, metadata={"format": "pt"})


# tokenizer


@pytest.mark.parametrize("load", [load_model, as_backbone])
@pytest.mark.parametrize("number", [TOKENS, 999_999, 2**31 + 5])
def test_a_token_whose_id_has_no_embedding_is_refused_with_both_sizes(folder, number, load):
    path = folder()
    edit(path / TOKENIZER, lambda record: record["model"]["vocab"].update(rome=number))
    assert refusal(path, load) == (
        f"its tokenizer has 48 tokens with ids up to {number} ('rome'), but the model has embeddings of 48, 0 to 47; "
        "it needs the tokenizer that it was trained with."
    )


def test_more_tokens_than_embeddings_are_refused_at_loading_with_both_sizes(folder):
    path = folder()
    token = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    added = [{"id": TOKENS + number, "content": word, **token} for number, word in enumerate(("oman", "panda"))]
    edit(path / TOKENIZER, lambda record: record["added_tokens"].extend(added))
    assert refusal(path) == (
        "its tokenizer has 50 tokens with ids up to 49 ('panda'), but the model has embeddings of 48, 0 to 47; "
        "it needs the tokenizer that it was trained with."
    )


def test_fewer_tokens_than_embeddings_are_fine(folder):
    path = folder()
    edit(path / TOKENIZER, lambda record: record["model"]["vocab"].pop("z"))
    load_model(str(path))


@pytest.mark.parametrize("number", [-1, 2**32 + 5, 1.5, "7"])
def test_an_id_that_is_none_is_refused(folder, number):
    path = folder()
    edit(path / TOKENIZER, lambda record: record["model"]["vocab"].update(rome=number))
    assert refusal(path).startswith("cannot be loaded as a model: ")


def test_two_words_of_one_id_are_refused(folder):
    path = folder()
    edit(path / TOKENIZER, lambda record: record["model"]["vocab"].update(rome=record["model"]["vocab"]["cairo"]))
    assert refusal(path) == "its tokenizer has one id, 30, for 'cairo' and 'rome'; expected one for each token."


def test_a_marker_whose_id_has_no_embedding_is_refused(folder):
    path = folder()
    edit(path / TOKENIZER, lambda record: record["post_processor"]["special_tokens"]["[CLS]"].update(ids=[7_777]))
    assert "with ids up to 7777 (a marker), but the model has embeddings of 48" in refusal(path)


@pytest.mark.parametrize("segment", [2, 2**31])
def test_a_segment_that_the_model_does_not_have_is_refused(folder, segment):
    path = folder()
    edit(path / TOKENIZER, lambda record: record["post_processor"]["pair"][-1]["SpecialToken"].update(type_id=segment))
    assert refusal(path) == (
        f"its tokenizer marks texts with segment {segment}, but type_vocab_size in config.json is 2, expected more "
        "than that."
    )


def test_segments_are_nothing_to_a_model_that_reads_none(folder):
    path = folder("roberta")
    edit(path / TOKENIZER, lambda record: record["post_processor"]["pair"][-1]["SpecialToken"].update(type_id=3))
    load_model(str(path))


# types of weights


@pytest.mark.parametrize("load", [load_model, as_backbone])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (torch.int8, "I8"),
        (torch.int32, "I32"),
        (torch.bool, "BOOL"),
        (torch.complex64, "C64"),
        (torch.float8_e4m3fn, "F8_E4M3"),
    ],
)
def test_weights_that_are_not_plain_numbers_are_refused(folder, kind, name, load, recwarn):
    path = folder()
    reweigh(path / WEIGHTS, lambda weights: weights.update({DENSE: weights[DENSE].to(kind)}))
    assert refusal(path, load) == (
        f"{WEIGHTS} has the weights {DENSE} of type {name}, expected F16, BF16, F32 or F64; save it again in one of "
        "these."
    )
    assert not recwarn.list


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_are_read(folder, kind):
    path = folder()
    reweigh(path / WEIGHTS, lambda weights: weights.update({name: one.to(kind) for name, one in weights.items()}))
    assert {weight.dtype for weight in load_model(str(path)).parameters()} == {torch.float32}


# weights and configuration


@pytest.mark.parametrize("labels", [0, 1])
@pytest.mark.parametrize("model_type", TYPES)
def test_more_layers_in_the_weights_than_in_the_configuration_are_refused(folder, model_type, labels):
    path = folder(model_type, labels)
    key = "n_layers" if model_type == "distilbert" else "num_hidden_layers"
    edit(path / CONFIG, lambda record: (record.update({key: 2}), record.pop("layer_types", None)))
    for load in (load_model, as_backbone):
        said = refusal(path, load)
        assert said.endswith(" among them; config.json must be that of the weights, as for num_hidden_layers.")
        assert "weights for which the model of its config.json has no place, " in said
        assert ".2." in said


@pytest.mark.parametrize(
    "name", ["bert.encoder.layer.0.output.lora_A.weight", "bert.embeddings.extra.weight", "classifier.more.weight"]
)
def test_weights_of_a_part_that_has_no_place_for_them_are_refused(folder, name):
    path = folder()
    reweigh(path / WEIGHTS, lambda weights: weights.update({name: torch.ones(2, 2)}))
    assert refusal(path).startswith(
        f"has 1 weight for which the model of its config.json has no place, {name} among them; "
    )


def test_a_head_that_is_to_be_replaced_may_be_any(folder):
    path = folder()
    reweigh(path / WEIGHTS, lambda weights: weights.update({"classifier.more.weight": torch.ones(2, 2)}))
    as_backbone(str(path))


@pytest.mark.parametrize("labels", [0, 1])
def test_heads_of_other_tasks_and_what_older_versions_wrote_are_harmless(folder, labels):
    path = folder("bert", labels)
    prefix = "bert." if labels else ""
    harmless = {
        f"{prefix}embeddings.position_ids": torch.arange(64)[None],
        f"{prefix}embeddings.token_type_ids": torch.zeros(1, 64, dtype=torch.int64),
        "cls.predictions.bias": torch.ones(48),
        "cls.seq_relationship.weight": torch.ones(2, 32),
        "lm_head.weight": torch.ones(48, 32),
        "qa_outputs.weight": torch.ones(2, 32),
    }
    expected = load_model(str(path)).digest()
    reweigh(path / WEIGHTS, lambda weights: weights.update(harmless))
    assert load_model(str(path)).digest() == expected


@pytest.mark.parametrize("model_type", TYPES)
def test_a_model_of_the_masked_words_is_a_backbone(tiny, folder, model_type):
    path = folder(model_type, 0)
    with quiet():
        AutoModelForMaskedLM.from_pretrained(path).save_pretrained(path)
    for mode in ("cross", "mult-int"):
        create_model(RankerConfig(mode, query_length=8, length=32), str(path), seed=1)


# files


@pytest.fixture
def in_parts(folder) -> Callable[[object], Path]:
    """A model whose index says that all weights are in one file."""

    def write(part: object) -> Path:
        path = folder()
        names = list(load_file(path / WEIGHTS))
        (path / WEIGHTS).rename(path / "part.safetensors")
        (path / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, part)}))
        return path

    return write


def test_an_index_that_names_a_file_beside_it_is_followed(in_parts):
    load_model(str(in_parts("part.safetensors")))


@pytest.mark.parametrize("part", ["../outside.safetensors", "/etc/hostname", "a/../../outside", 3, None, "", "a\0b"])
def test_an_index_that_points_out_of_the_folder_is_refused(in_parts, tmp_path, part):
    path = in_parts(part)
    shutil.copy(path / "part.safetensors", tmp_path / "outside.safetensors")
    assert (
        refusal(path) == f"{INDEX} names {part!r}, expected the name of a .safetensors file in the model's own folder."
    )


@pytest.mark.parametrize("part", [".", "weights.bin", "model.pt"])
def test_an_index_that_names_anything_but_safetensors_is_refused(in_parts, part):
    """transformers would go on to unpickle it."""
    assert refusal(in_parts(part)).endswith("expected the name of a .safetensors file in the model's own folder.")


@pytest.mark.parametrize("part", ["none.safetensors", "x" * 5_000 + ".safetensors"])
def test_an_index_that_names_what_is_not_there_is_refused(in_parts, part):
    said = refusal(in_parts(part))
    assert said.startswith(f"{INDEX} names ")
    assert said.endswith(", which is not there.")


@pytest.mark.parametrize("content", ["{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": "a"}'])
def test_an_index_that_says_nothing_is_refused(in_parts, content):
    path = in_parts("part.safetensors")
    (path / INDEX).write_text(content)
    assert refusal(path) == f"{INDEX} has no weight_map that says where each weight is."


def test_an_index_without_metadata_is_refused(in_parts):
    path = in_parts("part.safetensors")
    named = json.loads((path / INDEX).read_text())["weight_map"]
    (path / INDEX).write_text(json.dumps({"weight_map": named}))
    assert refusal(path) == f"{INDEX} has no metadata, expected an object such as {{'total_size': BYTES}}."


def test_types_are_looked_at_in_every_part(in_parts):
    path = in_parts("part.safetensors")
    reweigh(path / "part.safetensors", lambda weights: weights.update({DENSE: weights[DENSE].to(torch.int8)}))
    assert refusal(path).startswith(f"part.safetensors has the weights {DENSE} of type I8, ")


def test_an_index_beside_the_whole_is_not_looked_at(folder):
    path = folder()
    (path / INDEX).write_text(json.dumps({"weight_map": {DENSE: "../outside.safetensors"}}))
    load_model(str(path))


# configuration


@pytest.mark.parametrize(
    ("model_type", "key", "value", "allowed"),
    [
        ("bert", "hidden_act", "gelou", "one of gelu, "),
        ("modernbert", "hidden_activation", ["gelu"], "one of gelu, "),
        ("distilbert", "activation", None, "one of gelu, "),
        ("bert", "layer_norm_eps", "small", "0 to below 1."),
        ("modernbert", "norm_eps", -1.0, "0 to below 1."),
        ("bert", "num_attention_heads", 0, "1 to "),
        ("distilbert", "n_heads", 0, "1 to "),
        ("bert", "hidden_size", 0, "1 to "),
        ("bert", "intermediate_size", "big", "1 to "),
    ],
)
def test_a_setting_of_which_no_model_can_be_built_is_refused_by_its_name(folder, model_type, key, value, allowed):
    path = folder(model_type)
    edit(path / CONFIG, lambda record: record.update({key: value}))
    said = refusal(path)
    assert said.startswith(f"{key} in config.json is {value!r}, expected ")
    assert allowed.removeprefix("one of ").rstrip(", ") in said


def test_what_a_library_says_in_a_word_is_told_with_its_kind(folder):
    path = folder()
    edit(path / CONFIG, lambda record: record.pop("model_type"))
    assert len(refusal(path).split()) > 8


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("load", [load_model, as_backbone])
def test_weights_that_are_no_finite_numbers_are_refused(folder, number, load):
    path = folder()
    reweigh(path / WEIGHTS, lambda weights: weights[DENSE].view(-1)[7:8].fill_(number))
    assert refusal(path, load) == f"its weights {named(load)} are not all finite numbers; no score can come of them."


def named(load: Callable[[str], object]) -> str:
    """What the weight is called in the class that is loaded."""
    return DENSE if load is load_model else DENSE.removeprefix("bert.")
