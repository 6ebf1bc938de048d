from dataclasses import replace

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from loc3r_ros.model.config import preset
from loc3r_ros.model.language import LanguageModel, attention_mask, cache_length, generate, penalise


@pytest.fixture
def language():
    torch.manual_seed(0)
    model = LanguageModel(replace(preset("tiny").language, tie_embeddings=False)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def qwen2_like(language):
    """Return transformers' own Qwen2 with the same weights."""
    config = language.config
    theirs = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            rms_norm_eps=config.norm_eps,
            tie_word_embeddings=False,
        )
    ).eval()
    weights = {(k if k.startswith("lm_head") else f"model.{k}"): v for k, v in language.state_dict().items()}
    theirs.load_state_dict(weights)
    return theirs


@torch.no_grad()
def test_it_is_transformers_qwen2(language):
    ids = torch.randint(0, 320, (2, 11))
    hidden, _ = language(language.embed_tokens(ids))
    torch.testing.assert_close(language.logits(hidden), qwen2_like(language)(ids).logits, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("pieces", [[1] * 12, [5, 7], [4, 1, 4, 3], [12]])
def test_appending_equals_one_pass(language, pieces):
    embeddings = torch.randn(2, 12, language.config.hidden_size)
    whole, whole_cache = language(embeddings)
    cache, parts = None, []
    for part in embeddings.split(pieces, dim=1):
        hidden, cache = language(part, cache)
        parts.append(hidden)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-4, rtol=0)
    torch.testing.assert_close(cache[1].keys, whole_cache[1].keys, atol=1e-4, rtol=0)
    assert cache_length(cache) == 12


@torch.no_grad()
def test_a_cache_is_a_value(language):
    _, past = language(torch.randn(1, 6, language.config.hidden_size))
    before = [tensor.clone() for layer in past for tensor in layer]
    question = torch.randn(1, 4, language.config.hidden_size)
    first, _ = language(question, past)
    language(torch.randn(1, 9, language.config.hidden_size), past)
    again, _ = language(question, past)
    assert torch.equal(first, again)
    assert all(torch.equal(a, b) for a, b in zip(before, [t for layer in past for t in layer], strict=True))
    assert cache_length(past) == 6


@torch.no_grad()
def test_unseen_tokens_change_nothing(language):
    width = language.config.hidden_size
    embeddings = torch.randn(1, 8, width)
    kept = [0, 1, 4, 5, 7]
    seen = torch.zeros(1, 8, dtype=torch.bool)
    seen[0, kept] = True
    positions = (seen.long().cumsum(1) - 1).clamp_min(0)
    masked, _ = language(embeddings, positions=positions, seen=seen)
    alone, _ = language(embeddings[:, kept])
    torch.testing.assert_close(masked[:, kept], alone, atol=1e-4, rtol=0)
    assert torch.isfinite(masked).all()


@torch.no_grad()
def test_nothing_seen_is_not_nan(language):
    hidden, _ = language(torch.randn(1, 5, language.config.hidden_size), seen=torch.zeros(1, 5, dtype=torch.bool))
    assert torch.isfinite(hidden).all()


def test_masks():
    nothing = attention_mask(3, 0, torch.zeros(1, 3, dtype=torch.bool), torch.device("cpu"))
    assert nothing[0, 0].tolist() == torch.eye(3, dtype=torch.bool).tolist()  # no row is empty, whatever the backend
    assert attention_mask(7, 0, None, torch.device("cpu")) is None
    assert attention_mask(1, 9, None, torch.device("cpu")) is None
    assert attention_mask(2, 2, None, torch.device("cpu"))[0, 0].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


@torch.no_grad()
def test_greedy_tokens_are_those_of_transformers(language):
    theirs = qwen2_like(language)
    embeddings = language.embed_tokens(torch.randint(0, 320, (1, 7)))
    expected = theirs.generate(
        inputs_embeds=embeddings,
        max_new_tokens=12,
        do_sample=False,
        repetition_penalty=1.3,
        pad_token_id=0,
        eos_token_id=None,
    )
    language.config = replace(language.config, repetition_penalty=1.3)
    assert list(generate(language, embeddings, max_tokens=12, stop=False)) == expected[0].tolist()


@torch.no_grad()
def test_a_stop_token_ends_the_answer(language):
    embeddings = torch.randn(1, 5, language.config.hidden_size)
    tokens = list(generate(language, embeddings, max_tokens=10, stop=False))
    language.config = replace(language.config, stop_tokens=(tokens[3],))
    assert list(generate(language, embeddings, max_tokens=10)) == tokens[: tokens.index(tokens[3])]


def test_the_penalty_makes_repetition_less_likely_whatever_the_sign():
    logits = torch.tensor([[2.0, -2.0, 1.0]])
    assert penalise(logits, [0, 1, 0], 2.0).tolist() == [[1.0, -4.0, 1.0]]
    assert penalise(logits, [0, 1], 1.0) is logits
