"""What is saved is what is opened; a folder that is anything else is refused in one sentence."""

import json
import logging
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging as transformers_logging

from ranker.errors import ModelError
from ranker.model.files import quiet
from ranker.model.loading import create_model, load_model
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs
from ranker.settings.compute import Compute
from ranker.settings.model import MODES, RankerConfig

WEIGHTS, HEAD, CONFIG, OURS = "model.safetensors", "head.safetensors", "config.json", "ranker.json"
WITH_HEADS = sorted(set(MODES) - {"dual", "cross"})
QUERIES = ["what is the capital of france", "which river"]
PASSAGES = ["paris is the capital of france", "the nile lies in egypt and the thames in england", "rome"]


def model_of(folder, mode="cross", seed=5, **settings):
    return create_model(RankerConfig(mode, **{"query_length": 16, "length": 60, **settings}), str(folder), seed)


def scores(model):
    scorer = Scorer(model, Compute("float32", "cpu"))
    rows = np.array([(query, passage) for query in range(len(QUERIES)) for passage in range(len(PASSAGES))])
    return scorer.scores(Pairs(scorer.queries(QUERIES), scorer.passages(PASSAGES), rows), lambda _: None)


@pytest.fixture
def saved(tiny, tmp_path):
    """Writes the folder of a model of a mode, every weight of it moved as training would."""

    def save(mode="cross", name="model", **settings):
        model = model_of(tiny(), mode, **settings)
        generator = torch.Generator().manual_seed(9)
        for weight in model.parameters():
            weight.data += torch.randn(weight.shape, generator=generator) * 0.05
        model.save(tmp_path / name)
        return model, tmp_path / name

    return save


def refusal(source, mode=None):
    with pytest.raises(ModelError) as error:
        load_model(str(source), mode)
    sentence = str(error.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def reweigh(path, change):
    weights = load_file(path)
    change(weights)
    save_file({name: weight.contiguous() for name, weight in weights.items()}, path, metadata={"format": "pt"})


@pytest.mark.parametrize("mode", MODES)
def test_a_trained_model_opened_again_has_the_same_weights_bit_for_bit_and_the_same_scores(saved, mode):
    model, folder = saved(mode)
    again = load_model(str(folder), mode)
    before, after = model.state_dict(), again.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert scores(again) == pytest.approx(scores(model), abs=1e-6)
    assert again.digest() == model.digest()


@pytest.mark.parametrize("mode", ["cross", "cedr-knrm"])
def test_the_same_weights_at_other_places_in_memory_are_the_same_model(saved, mode):
    model, folder = saved(mode)
    again = load_model(str(folder), mode)
    for one in (model, again):  # from a file they may lie at odd addresses, where kernels round otherwise
        for weight in one.parameters():
            weight.data = weight.data.clone()
    assert scores(again).tobytes() == scores(model).tobytes()


@pytest.mark.parametrize("mode", ["cross", "layer-attention"])
def test_saving_what_was_opened_writes_the_same_files(saved, tmp_path, mode):
    _, folder = saved(mode)
    load_model(str(folder)).save(tmp_path / "again")
    for name in (WEIGHTS, HEAD, OURS, "tokenizer.json"):
        assert (folder / name).exists() is (tmp_path / "again" / name).exists()
        if (folder / name).exists():
            assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


@pytest.mark.parametrize("mode", MODES)
def test_a_folder_has_a_file_for_the_head_where_the_stock_model_has_no_place_for_it(saved, mode):
    _, folder = saved(mode)
    assert (folder / HEAD).is_file() is (mode in WITH_HEADS)


def test_how_a_model_reads_is_saved_with_it(saved):
    settings = {"pooling": "mean", "similarity": "dot", "frozen": True, "stopwords": "drop", "length": 50}
    _, folder = saved("dual", **settings)
    expected = RankerConfig("dual", query_length=16, query_prompt="", passage_prompt="", **settings)
    assert load_model(str(folder)).config == expected


def test_a_frozen_model_is_frozen_when_it_is_opened_again(saved):
    _, folder = saved("mult-int", frozen=True)
    again = load_model(str(folder))
    assert not any(weight.requires_grad for weight in again.encoder.backbone.parameters())
    assert all(weight.requires_grad for weight in again.head_parameters())


def test_an_opened_model_is_in_evaluation_and_in_float32(saved):
    _, folder = saved("cedr-knrm")
    again = load_model(str(folder))
    assert not any(module.training for module in again.modules())
    assert {weight.dtype for weight in again.parameters()} == {torch.float32}


def test_weights_in_half_precision_are_opened_in_float32(saved):
    _, folder = saved()
    reweigh(folder / WEIGHTS, lambda weights: weights.update({name: one.half() for name, one in weights.items()}))
    edit(folder / CONFIG, dtype="float16")
    assert {weight.dtype for weight in load_model(str(folder)).parameters()} == {torch.float32}


def test_a_model_in_several_files_is_the_same_model(saved, tmp_path):
    model, folder = saved()
    model.stock.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    for name in ("tokenizer.json", "tokenizer_config.json", OURS):
        shutil.copy(folder / name, tmp_path / "parts" / name)
    assert not (tmp_path / "parts" / WEIGHTS).exists()
    assert load_model(str(tmp_path / "parts")).digest() == model.digest()


@pytest.mark.parametrize("mode", ["dual", "mult-int", "knrm"])
def test_a_model_trained_here_serves_as_the_backbone_of_another_mode(saved, mode):
    trained, folder = saved("term-trans")
    model = model_of(folder, mode)
    expected = trained.encoder.backbone.state_dict()
    assert all(torch.equal(weight, expected[name]) for name, weight in model.encoder.backbone.state_dict().items())


def test_a_classifier_trained_on_goes_on_with_its_own_head_whatever_the_seed(saved):
    _, folder = saved("cross")
    assert model_of(folder, seed=1).digest() == model_of(folder, seed=2).digest()


@pytest.mark.parametrize("labels", [1, 2])
def test_a_classifier_that_is_trained_on_keeps_its_classes(tiny, tmp_path, labels):
    model = model_of(tiny("bert", labels=labels))
    model.save(tmp_path / "model")
    again = load_model(str(tmp_path / "model"))
    assert again.stock.num_labels == model.stock.num_labels == labels
    assert scores(again) == pytest.approx(scores(model), abs=1e-6)


def test_a_classifier_of_three_classes_still_serves_as_a_backbone(tiny):
    assert np.isfinite(scores(model_of(tiny("bert", labels=3), "mult-int"))).all()


def test_the_seed_draws_the_head_and_leaves_the_backbone(tiny):
    one, same, other = (model_of(tiny(), "layer-attention", seed=seed) for seed in (1, 1, 2))
    pairs = zip(one.encoder.backbone.parameters(), other.encoder.backbone.parameters(), strict=True)
    assert all(torch.equal(first, second) for first, second in pairs)
    assert torch.equal(one.head.attention, same.head.attention)
    assert not torch.equal(one.head.attention, other.head.attention)


@pytest.mark.parametrize("where", ["stock", "head"])
def test_the_digest_sees_a_change_of_one_number_and_not_a_change_of_state(saved, where):
    model, _ = saved("mult-int")
    before = model.digest()
    assert model.train().requires_grad_(False).digest() == before
    weight = next(getattr(model, where).parameters())
    weight.view(-1)[-1] += 1e-3
    assert model.digest() != before


@pytest.mark.parametrize("mode", sorted(set(MODES) - {"knrm"}))
def test_a_model_serves_no_mode_but_its_own(saved, mode):
    _, folder = saved("knrm")
    expected = f"{folder}: is a model of mode 'knrm', but --mode is {mode!r}; train one, or name another."
    assert refusal(folder, mode) == expected


def test_a_head_of_another_mode_is_refused(saved):
    _, folder = saved("layer-attention")
    _, other = saved("mult-int", "other")
    shutil.copy(other / HEAD, folder / HEAD)
    assert refusal(folder).startswith(f"{folder / HEAD}: gives no head of mode 'layer-attention': ")


@pytest.mark.parametrize("content", [None, b"", b"garbage", b"\x08\x00\x00\x00\x00\x00\x00\x00nonsense"])
def test_a_head_that_is_gone_or_garbage_is_refused(saved, content):
    _, folder = saved("mult-int")
    (folder / HEAD).unlink() if content is None else (folder / HEAD).write_bytes(content)
    assert refusal(folder).startswith(f"{folder / HEAD}: gives no head of mode 'mult-int': ")


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: weights.pop("weights.bias"),
        lambda weights: weights.update(more=torch.zeros(1)),
        lambda weights: weights.update({"weights.weight": torch.zeros(1, 48)}),
    ],
    ids=["one is missing", "one too many", "of another width"],
)
def test_a_head_that_does_not_fit_is_refused(saved, change):
    _, folder = saved("layer-mean")
    reweigh(folder / HEAD, change)
    assert refusal(folder).startswith(f"{folder / HEAD}: gives no head of mode 'layer-mean': ")


@pytest.mark.parametrize("mode", ["cross", "dual", "knrm", "cedr-knrm"])
def test_weights_of_another_shape_are_refused(saved, mode):
    _, folder = saved(mode)
    name = next(name for name in load_file(folder / WEIGHTS) if name.endswith("layer.1.output.dense.weight"))
    reweigh(folder / WEIGHTS, lambda weights: weights.update({name: torch.zeros(8, 8)}))
    said = f"{folder}: its weights {name} are of shape (8, 8), but config.json says (32, 48)"
    assert refusal(folder) == f"{said}; it needs the config.json of the weights."


@pytest.mark.parametrize("mode", ["cross", "dual", "knrm", "cedr-knrm"])
def test_a_layer_that_is_gone_is_refused_by_its_name(saved, mode):
    _, folder = saved(mode)
    path = folder / WEIGHTS
    reweigh(path, lambda weights: [weights.pop(name) for name in list(weights) if "encoder.layer.1." in name])
    assert refusal(folder).startswith(f"{folder}: lacks 16 of its weights, ")


def test_a_classifier_without_its_classifier_is_refused(saved):
    _, folder = saved("cross")
    reweigh(folder / WEIGHTS, lambda weights: [weights.pop(f"classifier.{part}") for part in ("weight", "bias")])
    assert refusal(folder).startswith(f"{folder}: lacks 2 of its weights, classifier.bias among them")


@pytest.mark.parametrize("changes", [{"hidden_size": 16}, {"num_hidden_layers": 5}, {"vocab_size": 99}])
def test_a_config_that_speaks_of_another_model_is_refused(saved, changes):
    _, folder = saved()
    edit(folder / CONFIG, **changes)
    assert refusal(folder).startswith(f"{folder}: ")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model_type": 3}', '{"model_type": "no such"}'])
def test_a_config_that_names_no_model_is_refused(saved, content):
    _, folder = saved()
    (folder / CONFIG).write_text(content)
    assert refusal(folder).startswith((f"{folder}: ", f"{folder / CONFIG}: "))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_weights_cut_short_are_refused(saved, share):
    _, folder = saved()
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: int(len(whole) * share)])
    assert refusal(folder).startswith(f"{folder}: model.safetensors cannot be read: ")


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "pytorch_model-00001-of-00002.bin",
        "model.pt",
        "model.ckpt",
        "model.pth",
    ],
)
def test_a_pickle_is_named_and_never_opened(saved, name):
    _, folder = saved()
    (folder / WEIGHTS).rename(folder / name)
    expected = f"has its weights in {name}, a pickle, which can run code when it is opened; expected safetensors: "
    expected += "convert it where you trust it, by save_pretrained of a recent transformers."
    assert refusal(folder) == f"{folder}: {expected}"


def test_a_pickle_beside_safetensors_is_left_alone(saved):
    model, folder = saved()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert load_model(str(folder)).digest() == model.digest()


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": "1.0"}'])
def test_a_tokenizer_that_is_garbage_is_refused(saved, content):
    _, folder = saved()
    (folder / "tokenizer.json").write_bytes(content)
    assert refusal(folder).startswith(f"{folder}: ")


def test_a_model_without_its_words_is_refused(saved):
    _, folder = saved()
    (folder / "tokenizer.json").unlink()
    assert refusal(folder).startswith(f"{folder}: cannot be loaded as a model: ")


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "file").write_text("weights")
    expected = "is no model; expected a model directory, a hub name or 'offline'."
    assert refusal(tmp_path / "file") == f"{tmp_path / 'file'}: {expected}"
    assert refusal("./no-such-folder") == f"./no-such-folder: {expected}"
    assert refusal("a/b/c") == f"a/b/c: {expected}"


def test_a_length_beyond_the_positions_becomes_what_there_are_positions_for(saved):
    _, folder = saved()
    edit(folder / OURS, length=512)
    assert load_model(str(folder)).config.length == 64


def test_opening_and_saving_say_nothing(saved, tmp_path, capfd):
    _, folder = saved("cedr-knrm")
    capfd.readouterr()  # of making the tiny model
    load_model(str(folder)).save(tmp_path / "again")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["transformers", "huggingface_hub"])
def test_attempts_to_load_are_not_talked_of(name):
    logger = logging.getLogger(f"{name}.some.module")
    before = logger.isEnabledFor(logging.WARNING)
    with quiet():
        assert not logger.isEnabledFor(logging.WARNING)
        assert logger.isEnabledFor(logging.ERROR)
    assert logger.isEnabledFor(logging.WARNING) == before


def test_transformers_talks_again_after_it_was_quiet():
    logger, bar = logging.getLogger("transformers"), transformers_logging.is_progress_bar_enabled()
    before = logger.level

    def fail():
        assert logger.level == logging.ERROR
        assert not transformers_logging.is_progress_bar_enabled()
        raise KeyError

    logger.setLevel(logging.INFO)
    transformers_logging.enable_progress_bar()
    try:
        with pytest.raises(KeyError), quiet():
            fail()
        assert logger.level == logging.INFO
        assert transformers_logging.is_progress_bar_enabled()
    finally:
        logger.setLevel(before)
        if not bar:
            transformers_logging.disable_progress_bar()


# code that a model brings


CODE = """from pathlib import Path
from transformers import BertConfig, BertModel
Path({ran!r}).touch()
class OwnConfig(BertConfig):
    pass
class OwnModel(BertModel):
    config_class = OwnConfig
"""


@pytest.fixture
def with_code(tiny, tmp_path):
    """A tiny BERT whose folder brings classes of its own, and the file that they make when they are loaded."""
    folder, ran = tmp_path / "own", tmp_path / "ran"
    shutil.copytree(tiny(), folder)
    (folder / "own.py").write_text(CODE.format(ran=str(ran)))
    edit(folder / CONFIG, auto_map={"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"})
    return folder, ran


def test_code_that_a_model_brings_is_never_run_unasked(with_code, capfd):
    folder, ran = with_code
    expected = "brings Python code (auto_map in config.json), which runs only where --trust-remote-code is given."
    assert refusal(folder) == f"{folder}: {expected}"
    with pytest.raises(ModelError, match="which runs only where --trust-remote-code is given"):
        model_of(folder)
    assert not ran.exists()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("model_type", ["own", "../own"])
def test_code_of_a_model_that_nobody_knows_is_refused_without_a_question(with_code, model_type):
    folder, ran = with_code
    edit(folder / CONFIG, model_type=model_type)
    assert "which runs only where --trust-remote-code is given" in refusal(folder)
    assert not ran.exists()


def test_code_that_a_model_brings_is_run_where_it_is_trusted(with_code, monkeypatch, tmp_path):
    folder, ran = with_code
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    model = load_model(str(folder), trust_remote_code=True)
    assert ran.exists()
    assert type(model.stock).__name__ == "OwnModel"


def test_a_tokenizer_that_brings_code_does_not_run_it(with_code):
    folder, ran = with_code
    edit(folder / CONFIG, auto_map=None)
    settings = json.loads((folder / CONFIG).read_text())
    del settings["auto_map"]
    (folder / CONFIG).write_text(json.dumps(settings))
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "own.OwnModel"]})
    load_model(str(folder))
    assert not ran.exists()


def test_a_kernel_of_the_hub_is_code_too(saved):
    _, folder = saved()
    edit(folder / CONFIG, attn_implementation="somebody/kernel")
    expected = (
        "brings Python code (attn_implementation in config.json), which runs only where --trust-remote-code is given."
    )
    assert refusal(folder) == f"{folder}: {expected}"


# sizes that nobody has


@pytest.mark.parametrize("size", [10**12, -1, "3", 1.5, None, [3]])
@pytest.mark.parametrize(
    "key", ["num_hidden_layers", "hidden_size", "vocab_size", "max_position_embeddings", "num_labels"]
)
def test_a_size_that_no_model_has_is_refused_before_it_is_built(saved, key, size):
    _, folder = saved()
    edit(folder / CONFIG, **{key: size})
    least = 1 if key == "hidden_size" else 0
    assert refusal(folder).startswith(f"{folder}: {key} in config.json is {size!r}, expected {least} to ")


@pytest.mark.parametrize(
    "key", ["hidden_act", "num_attention_heads", "architectures", "layer_norm_eps", "id2label", "dtype"]
)
@pytest.mark.parametrize("value", [[[]], {"a": 1}, "x", 10**30, None, True, -1])
def test_a_setting_of_any_kind_is_opened_or_refused(saved, key, value):
    _, folder = saved()
    edit(folder / CONFIG, **{key: value})
    try:
        load_model(str(folder))
    except ModelError as error:
        assert str(error).startswith(f"{folder}: ")  # noqa: PT017


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a": ' * 100_000, b"{} " + b" " * 2**25, b'{"a": 1, "a": 1}'])
def test_a_config_too_deep_too_large_or_of_two_minds_is_refused(saved, content):
    _, folder = saved()
    (folder / CONFIG).write_bytes(content)
    assert refusal(folder).startswith(f"{folder / CONFIG}: ")
