"""A new language model keeps what its tokens are."""

import pytest
import torch
from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb

from loc3r_ros.data.dense import COLOUR_NAMES
from loc3r_ros.model.config import preset
from loc3r_ros.model.language import rotary
from loc3r_ros.model.loc3r import Loc3R
from loc3r_ros.prompt.tokenizer import TextTokenizer
from loc3r_ros.resources import find_resource
from loc3r_ros.train.beginning import ALONG, COPIED, EMBEDDING, SAID, begin_reading, neighbour_biases, word_forms
from loc3r_ros.train.grounding import Taught, attention_of
from loc3r_ros.train.lessons import SHARPNESS, readings

TOKENIZER = TextTokenizer.load(find_resource("models/nano"))


def alike(states, embeddings):
    """Return the mean cosine between what tokens are and what a layer knows of them."""
    return float(torch.cosine_similarity(states, embeddings, dim=-1).mean())


def kept(model, ids):
    """Return how alike the states after each layer and the embeddings are."""
    embeddings, scores = model.language.embed_tokens(ids), []
    handles = [
        layer.register_forward_hook(lambda _, __, out: scores.append(alike(out, embeddings)))
        for layer in model.language.layers
    ]
    model.language(embeddings)
    for handle in handles:
        handle.remove()
    return scores


@torch.no_grad()
def test_every_layer_knows_what_a_token_is():
    torch.manual_seed(0)
    model = Loc3R(preset("nano"))
    ids = torch.randint(0, 2048, (2, 40))
    tower = {name: tensor.clone() for name, tensor in model.vision.state_dict().items()}
    before = kept(model, ids)
    begin_reading(model, TOKENIZER)
    after = kept(model, ids)
    assert after[3] > 0.5 and after[3] > 2 * before[3], (before, after)
    assert all(torch.equal(tensor, tower[name]) for name, tensor in model.vision.state_dict().items())


@torch.no_grad()
def test_the_forms_of_a_word_begin_alike():
    torch.manual_seed(0)
    model = Loc3R(preset("nano"))
    begin_reading(model, TOKENIZER)
    words = {text: TOKENIZER.encode(text, 1)[0] for text in (" red", "red", " sofa", "sofa")}
    states = torch.nn.functional.normalize(model.language.embed_tokens.weight, dim=1)
    pairs = torch.tensor([[TOKENIZER.encode(text, 1)[0] for text in (name, f" {name}")] for name in COLOUR_NAMES])
    alike = states[pairs[:, 0]] @ states[pairs[:, 1]].T
    others = alike[~torch.eye(len(alike), dtype=torch.bool)]
    assert alike.diagonal().mean() > 0.55 and alike.diagonal().min() > others.max() and others.abs().mean() < 0.2
    forms = {form.token: form for form in word_forms(TOKENIZER)}
    assert forms[words[" red"]].word == forms[words["red"]].word != forms[words["sofa"]].word
    assert forms[words[" red"]].kind == forms[words[" sofa"]].kind != forms[words["sofa"]].kind
    many = forms[TOKENIZER.encode(" sofas", 1)[0]]
    assert many.word == forms[words["sofa"]].word
    assert many.kind not in {forms[token].kind for token in words.values()}


@torch.no_grad()
def test_all_kinds_of_tokens_begin_at_one_size():
    torch.manual_seed(0)
    model = Loc3R(preset("nano"))
    begin_reading(model, TOKENIZER)
    patches = model.projector(torch.randn(50, model.config.vision.hidden_size))
    cameras = model.camera(torch.randn(50, model.config.pose_prior.camera_dim))
    words = model.language.embed_tokens.weight
    for tokens in (patches, cameras, words, model.newline):
        assert 0.4 * EMBEDDING < float(tokens.square().mean().sqrt()) < 1.6 * EMBEDDING
    logits = model.language.logits(model.language(words[None, :60])[0])
    assert float(logits.std()) < 1.5


@pytest.mark.parametrize(("head_dim", "theta"), [(48, 1e6), (64, 1e6), (16, 1e4)])
def test_the_nearest_of_the_tokens_before_is_looked_at(head_dim, theta):
    key, query = neighbour_biases(head_dim, theta)
    cosine, sine = rotary(torch.arange(700, 760)[None], head_dim, theta, torch.float32)
    both = (one.expand(1, 1, 60, -1) for one in (query, key))
    queries, keys = apply_rotary_pos_emb(*both, cosine, sine)
    logits = (queries @ keys.mT)[0, 0] / head_dim**0.5
    paid = logits.masked_fill(torch.ones(60, 60).triu(1) > 0, -torch.inf).softmax(dim=-1)[1:]
    assert (paid.argmax(dim=-1) == torch.arange(59)).all()
    assert paid.diagonal().min() > 0.45


@torch.no_grad()
def test_half_of_the_first_layers_heads_look_back():
    torch.manual_seed(0)
    model = Loc3R(preset("nano"))
    begin_reading(model, TOKENIZER)
    attention = model.language.layers[0].self_attn
    rows = attention.q_proj.bias.view(-1, attention.head_dim).abs().sum(dim=1) > 0
    assert rows.tolist() == [True, True, False, False]
    assert (attention.k_proj.bias.view(-1, attention.head_dim).abs().sum(dim=1) > 0).tolist() == [True, False]


@torch.no_grad()
def test_taught_heads_hand_on_words_and_places_and_answers_can_tell_them_apart():
    torch.manual_seed(0)
    model = Loc3R(preset("nano"))
    begin_reading(model, TOKENIZER)
    language, taught = model.language, Taught.of(model.language)
    token = language.embed_tokens.weight[TOKENIZER.encode(" sofa", 1)[0]]
    places = model.heads.layout.weight

    def handed(layer, head, what):
        attention = attention_of(language, layer)
        size, shared = attention.head_dim, attention.num_key_value_groups
        values = attention.v_proj.weight.unflatten(0, (-1, size))[head // shared]
        return attention.o_proj.weight.unflatten(1, (-1, size))[:, head] @ (values @ what)

    for layer in {*taught.words, taught.poses}:
        for head in (2, 3):
            torch.testing.assert_close(handed(layer, head, places[0]), COPIED * places[0])
            assert torch.cosine_similarity(handed(layer, head, token), token, dim=0) > 0.7
    heard = [handed(taught.answers, head, places[0]) for head in range(4)]  # `<Pos>`, `<Ori>`, first and last name
    torch.testing.assert_close(heard[2], COPIED * places[0])
    products = torch.stack(heard) @ torch.stack(heard).T
    torch.testing.assert_close(products, torch.diag(products.diagonal()), atol=1e-5, rtol=0)
    assert products.diagonal().min() > 0
    others = [handed(taught.relations, head, places[0]) for head in range(4)]  # on the left, on the right, the other's
    for other in others:  # what a pose refers to besides is not taken for the first
        assert other.norm() > 0.9 * COPIED * places[0].norm() and abs(other @ places[0]) < 1e-5
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs(others[one] @ others[other]) < 1e-5
    for head in (2, 3):  # which answers choose a name
        torch.testing.assert_close(handed(taught.choices, head, places[0]), COPIED * places[0])
    amount = readings(192).amount
    torch.testing.assert_close(handed(taught.answers, 2, amount), COPIED * amount, atol=0.02, rtol=0)


@torch.no_grad()
def test_names_begin_to_look_as_sharply_as_they_are_taught_to_where_they_read_places():
    torch.manual_seed(0)
    model = Loc3R(preset("nano"))
    begin_reading(model, TOKENIZER)
    layer = Taught.of(model.language).words[-1]
    earlier, later = attention_of(model.language, layer).q_proj.weight.chunk(2)
    assert float(later.std() / earlier.std()) == pytest.approx(SHARPNESS, rel=0.05)


@torch.no_grad()
def test_words_for_what_answers_know_begin_along_it():
    torch.manual_seed(0)
    model = Loc3R(preset("nano"))
    begin_reading(model, TOKENIZER)
    known = readings(192)
    words = {word: model.language.embed_tokens.weight[TOKENIZER.encode(word, 1)[0]] for word in SAID}
    for direction, one, other in ((0, "forward", "backward"), (1, "left", "right")):
        along = known.seen[:, direction]
        assert words[one] @ along > ALONG / 2 and words[other] @ along < -ALONG / 2
    assert words["yes"] @ known.side > ALONG / 2 and words["no"] @ known.side < -ALONG / 2


@torch.no_grad()
def test_a_model_begins_the_same_from_the_same_seed():
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        model = Loc3R(preset("nano"))
        begin_reading(model, TOKENIZER)
        states.append(model.state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
