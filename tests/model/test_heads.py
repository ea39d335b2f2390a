"""Every head against its equation, written out as slowly and plainly as it stands in the paper."""

import math

import pytest
import torch

from ranker.model.heads import HEADS
from ranker.model.inputs import Input, Views, pad
from ranker.model.loading import create_model
from ranker.settings.model import MODES, RankerConfig

TOGETHER = sorted(set(MODES) - {"dual"})
PAIRS, LAYERS, WIDTH = 5, 3, 32
QUERY_LENGTHS, PASSAGE_LENGTHS = (4, 1, 3, 6, 2), (7, 9, 1, 5, 12)


def head_of(tiny, mode, **settings):
    model = create_model(RankerConfig(mode, query_length=16, length=40, **settings), str(tiny()), seed=5)
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.head.requires_grad_(False)


@pytest.fixture(scope="module")
def views():
    """Random views of five pairs; behind the end of a text stands rubbish that no score may see."""
    generator = torch.Generator().manual_seed(11)

    def side(lengths):
        tokens = torch.randn(PAIRS, LAYERS, max(lengths), WIDTH, generator=generator)
        mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
        return torch.where(mask[:, None, :, None], tokens, torch.full_like(tokens, 1e3)), mask

    (query, query_mask), (passage, passage_mask) = side(QUERY_LENGTHS), side(PASSAGE_LENGTHS)
    cls = torch.randn(PAIRS, LAYERS, WIDTH, generator=generator)
    return Views(query, passage, query_mask, passage_mask, cls)


def words(views, pair, layer):
    """The vectors of the words of a pair, as lists."""
    query = [views.query[pair, layer, i] for i in range(QUERY_LENGTHS[pair])]
    return query, [views.passage[pair, layer, j] for j in range(PASSAGE_LENGTHS[pair])]


def cosine(one, other):
    return float(one @ other) / max(1e-12, float(one.norm() * other.norm()))


def scores(head, views):
    with torch.inference_mode():
        return head(views).tolist()


def affine(layer, vector):
    return float(layer.weight[0] @ vector + layer.bias[0])


def test_mult_int_is_the_sum_of_a_linear_on_each_layers_cls(tiny, views):
    head = head_of(tiny, "mult-int")
    expected = [sum(affine(head.weights[k], views.cls[p, k]) for k in range(LAYERS)) for p in range(PAIRS)]
    assert scores(head, views) == pytest.approx(expected, abs=1e-4)


def test_term_trans_is_the_mean_cosine_of_all_pairs_of_projected_words_by_layer(tiny, views):
    head = head_of(tiny, "term-trans")
    expected = []
    for pair in range(PAIRS):
        score = float(head.layers.bias[0])
        for layer in range(LAYERS):
            matrix = head.projections[layer].weight
            query, passage = ([torch.relu(matrix @ word) for word in side] for side in words(views, pair, layer))
            cosines = [cosine(q, p) for q in query for p in passage]
            score += float(head.layers.weight[0, layer]) * sum(cosines) / len(cosines)
        expected.append(score)
    assert scores(head, views) == pytest.approx(expected, abs=1e-4)


def test_token_pool_is_a_linear_on_the_mean_of_all_words(tiny, views):
    head = head_of(tiny, "token-pool")
    expected = []
    for pair in range(PAIRS):
        query, passage = words(views, pair, LAYERS - 1)
        expected.append(affine(head.weights, sum(query + passage) / len(query + passage)))
    assert scores(head, views) == pytest.approx(expected, abs=1e-4)


def test_layer_mean_is_a_linear_on_the_mean_of_all_layers(tiny, views):
    head = head_of(tiny, "layer-mean")
    expected = [affine(head.weights, sum(views.cls[p, k] for k in range(LAYERS)) / LAYERS) for p in range(PAIRS)]
    assert scores(head, views) == pytest.approx(expected, abs=1e-4)


def test_layer_attention_is_a_linear_on_what_each_head_attends_to(tiny, views):
    head = head_of(tiny, "layer-attention")
    heads, size = head.attention.shape
    expected = []
    for pair in range(PAIRS):
        attended = []
        for number in range(heads):
            rows = slice(number * size, (number + 1) * size)
            keys = [head.keys.weight[rows] @ views.cls[pair, k] + head.keys.bias[rows] for k in range(LAYERS)]
            values = [head.values.weight[rows] @ views.cls[pair, k] + head.values.bias[rows] for k in range(LAYERS)]
            powers = [math.exp(float(head.attention[number] @ key)) for key in keys]
            attended.append(sum(power / sum(powers) * value for power, value in zip(powers, values, strict=True)))
        expected.append(affine(head.weights, torch.cat(attended)))
    assert scores(head, views) == pytest.approx(expected, abs=1e-4)


MEANS = (1.0, 0.9, 0.7, 0.5, 0.3, 0.1, -0.1, -0.3, -0.5, -0.7, -0.9)


def soft_counts(query, passage):
    """Equations 4 to 6 of Xiong et al. 2017 for the words of one pair."""
    features = []
    for mean in MEANS:
        width = 0.001 if mean == 1.0 else 0.1
        total = 0.0
        for q in query:
            count = sum(math.exp(-((cosine(q, p) - mean) ** 2) / (2 * width**2)) for p in passage)
            total += 0.01 * math.log(max(count, 1e-10))
        features.append(total)
    return features


def test_knrm_counts_similar_words_softly(tiny, views):
    head = head_of(tiny, "knrm")
    expected = [
        affine(head.weights, torch.tensor(soft_counts(*words(views, pair, LAYERS - 1)))) for pair in range(PAIRS)
    ]
    assert scores(head, views) == pytest.approx(expected, abs=1e-4)


def test_conv_knrm_counts_similar_n_grams_of_every_two_lengths(tiny, views):
    head = head_of(tiny, "conv-knrm")

    def ngrams(side, convolution):
        length = convolution.kernel_size[0]
        padded = [*side, *[torch.zeros(WIDTH)] * (length - 1)]
        return [
            torch.relu(sum(convolution.weight[:, :, k] @ padded[i + k] for k in range(length)) + convolution.bias)
            for i in range(len(side))
        ]

    expected = []
    for pair in range(PAIRS):
        query, passage = words(views, pair, LAYERS - 1)
        features = []
        for one in head.convolutions:
            for other in head.convolutions:
                features += soft_counts(ngrams(query, one), ngrams(passage, other))
        expected.append(affine(head.weights, torch.tensor(features)))
    assert scores(head, views) == pytest.approx(expected, abs=1e-4)


def test_cedr_knrm_counts_on_every_layer_and_sees_the_last_cls(tiny, views):
    head = head_of(tiny, "cedr-knrm")
    expected = []
    for pair in range(PAIRS):
        features = [count for layer in range(LAYERS) for count in soft_counts(*words(views, pair, layer))]
        expected.append(affine(head.weights, torch.cat((torch.tensor(features), views.cls[pair, -1]))))
    assert scores(head, views) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("mode", TOGETHER)
def test_a_head_has_one_finite_score_for_each_pair_and_learns(tiny, views, mode):
    head = head_of(tiny, mode).requires_grad_(True)
    found = head(views)
    assert found.shape == (PAIRS,)
    assert torch.isfinite(found).all()
    found.sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("mode", TOGETHER)
def test_a_pair_scores_the_same_alone_as_among_longer_ones(tiny, views, mode):
    head = head_of(tiny, mode)
    among = scores(head, views)
    for pair in range(PAIRS):
        q, p = QUERY_LENGTHS[pair], PASSAGE_LENGTHS[pair]
        alone = Views(
            views.query[pair : pair + 1, :, :q], views.passage[pair : pair + 1, :, :p],
            views.query_mask[pair : pair + 1, :q], views.passage_mask[pair : pair + 1, :p], views.cls[pair : pair + 1],
        )  # fmt: skip
        assert scores(head, alone) == pytest.approx([among[pair]], abs=1e-4)


@pytest.mark.parametrize("mode", TOGETHER)
def test_a_text_without_words_has_a_finite_score_and_gradient(tiny, mode):
    head = head_of(tiny, mode).requires_grad_(True)
    empty = torch.zeros(1, LAYERS, 1, WIDTH, requires_grad=True)
    nothing = torch.zeros(1, 1, dtype=torch.bool)
    score = head(Views(empty, empty, nothing, nothing, torch.zeros(1, LAYERS, WIDTH)))
    score.sum().backward()
    assert torch.isfinite(score).all()
    assert empty.grad is None or torch.isfinite(empty.grad).all()


def test_every_mode_has_a_head_and_every_head_a_mode():
    assert list(HEADS) == list(MODES)


@pytest.mark.parametrize("mode", TOGETHER)
def test_an_encoder_keeps_no_more_than_the_head_reads(tiny, mode):
    model = create_model(RankerConfig(mode, query_length=16, length=40), str(tiny()), seed=5)
    ids = torch.arange(5, 14).numpy().astype("int32")
    parts = torch.tensor([0, 1, 1, 0, 2, 2, 2, 2, 0]).numpy().astype("int32")
    needs = model.config.needs
    found = model.encoder.together(pad([Input(ids, ids * 0, parts)], 0), needs)
    layers = LAYERS if needs.layers == "all" else 1
    assert found.cls.shape == (1, layers, WIDTH)
    assert found.query.shape == (1, layers, 2 if needs.tokens else 0, WIDTH)
    assert found.passage.shape == (1, layers, 4 if needs.tokens else 0, WIDTH)


def test_the_words_of_each_text_are_its_own_and_in_order(tiny):
    model = create_model(RankerConfig("cedr-knrm", query_length=16, length=40), str(tiny()), seed=5)
    first = Input(
        *(
            torch.tensor(one).int().numpy()
            for one in ([2, 7, 8, 3, 9, 10, 3], [0, 0, 0, 0, 1, 1, 1], [0, 1, 1, 0, 2, 2, 0])
        )
    )
    second = Input(*(torch.tensor(one).int().numpy() for one in ([2, 7, 3, 9, 3], [0, 0, 0, 1, 1], [0, 1, 0, 2, 0])))
    batch = pad([first, second], 0)
    with torch.inference_mode():
        views = model.encoder.together(batch, model.config.needs)
        hidden = model.encoder.backbone(
            input_ids=batch.ids,
            attention_mask=batch.mask.long(),
            token_type_ids=batch.segments,
            output_hidden_states=True,
        ).hidden_states[1:]
    for layer, states in enumerate(hidden):
        assert torch.equal(views.query[0, layer], states[0, 1:3])
        assert torch.equal(views.passage[0, layer], states[0, 4:6])
        assert torch.equal(views.query[1, layer, :1], states[1, 1:2])
        assert torch.equal(views.passage[1, layer, :1], states[1, 3:4])
        assert torch.equal(views.cls[:, layer], states[:, 0])
    assert views.query_mask.tolist() == [[True, True], [True, False]]


def test_knrm_reads_the_embeddings_before_any_layer(tiny):
    model = create_model(RankerConfig("knrm", query_length=16, length=40), str(tiny()), seed=5)
    one = Input(*(torch.tensor(ids).int().numpy() for ids in ([2, 7, 8, 3, 9, 3], [0] * 6, [0, 1, 1, 0, 2, 0])))
    views = model.encoder.together(pad([one], 0), model.config.needs)
    table = model.encoder.backbone.get_input_embeddings().weight
    assert torch.equal(views.query[0, 0], table[[7, 8]])
    assert torch.equal(views.passage[0, 0], table[[9]])
