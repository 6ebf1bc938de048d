import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models

from loc3r_ros.errors import ConfigError, PromptError
from loc3r_ros.prompt.tokenizer import (
    SPECIAL_TOKENS,
    TextStream,
    TextTokenizer,
    add_special_tokens,
    byte_level,
    load_qwen2,
)
from loc3r_ros.prompt.training import train_tokenizer

TEXTS = ["I am standing beside the sofa, facing the TV.", "What is on my left?", "How many chairs are there? 12"] * 4
TOKENIZER = train_tokenizer(TEXTS, 400)
SPECIAL_IDS = {TOKENIZER.special(token) for token in SPECIAL_TOKENS}
HOSTILE = st.lists(st.sampled_from([*SPECIAL_TOKENS, "<image>", "<", "Pos>", "<|", "|>", " ", "\n", "é", "🐈", "a"]))


def test_special_tokens_have_the_first_ids():
    assert [TOKENIZER.special(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]


@given(st.text())
def test_any_text_survives(text):
    ids = TOKENIZER.encode(text, limit=10_000)
    assert not SPECIAL_IDS & set(ids)
    assert TOKENIZER.decode(ids) == unicodedata.normalize("NFC", text)


@given(HOSTILE.map("".join))
def test_typed_special_tokens_stay_text(text):
    ids = TOKENIZER.encode(text, limit=10_000)
    assert not SPECIAL_IDS & set(ids)
    assert TOKENIZER.decode(ids) == text


@given(st.text(alphabet=st.characters(categories=["Cs", "Cc", "Lu"])))
def test_lone_surrogates_and_control_characters_are_read(text):
    assert all(0 <= i < TOKENIZER.size for i in TOKENIZER.encode(text, limit=10_000))


def test_added_tokens_that_are_not_special_stay_text_too(tmp_path):
    path = tmp_path / "tokenizer.json"
    TOKENIZER.save(tmp_path)
    values = json.loads(path.read_text())
    for token in values["added_tokens"]:
        token |= {"special": False, "normalized": True, "lstrip": True}
    path.write_text(json.dumps(values))
    ids = TextTokenizer.load(tmp_path).encode("go to <Pos> <|im_end|>", limit=100)
    assert not SPECIAL_IDS & set(ids)


@pytest.mark.parametrize("text", ["chair " * 20_000, "x" * 10_000_000, "\u00e9" * 600])
def test_long_texts_are_refused_with_a_sentence(text):
    with pytest.raises(PromptError, match=f"The question is too long .{len(text)} characters.: at most 512 tokens"):
        TOKENIZER.encode(text, limit=512, what="question")


def test_single_digits_as_in_qwen2():
    assert len(TOKENIZER.encode("1234", limit=10)) == 4


@settings(max_examples=30)
@given(st.text(max_size=30))
def test_streaming_gives_the_same_text(text):
    ids = TOKENIZER.encode(text, limit=1000)
    stream = TextStream(TOKENIZER)
    pieces = [stream.push(token) for token in ids]
    assert "\ufffd" not in "".join(pieces)[:-1] or "\ufffd" in text
    assert "".join(pieces) + stream.finish() == TOKENIZER.decode(ids)


def test_streaming_holds_back_half_a_character():
    ids = TOKENIZER.encode("🐈", limit=10)
    stream = TextStream(TOKENIZER)
    assert [stream.push(token) for token in ids[:-1]] == [""] * (len(ids) - 1)
    assert len(ids) > 1
    assert stream.push(ids[-1]) == "🐈"
    stream.push(ids[0])
    assert stream.finish() == "\ufffd"


def test_ids_beyond_the_vocabulary_are_no_text():
    assert TOKENIZER.decode([TOKENIZER.size + 50]) == ""


def test_files_that_are_no_tokenizer_are_said(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        TextTokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="damaged"):
        TextTokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text(byte_level(models.BPE({"a": 0}, [])).to_str())
    with pytest.raises(ConfigError, match=r"lacks <\|endoftext\|>, "):
        TextTokenizer.load(tmp_path)


def test_vocabulary_and_merges_make_the_same_tokenizer(tmp_path):
    """LLaVA-Video comes with Qwen2's vocab.json and merges.txt: added tokens take the ids after the vocabulary."""
    TOKENIZER.save(tmp_path)
    model = json.loads((tmp_path / "tokenizer.json").read_text())["model"]
    (tmp_path / "tokenizer.json").unlink()
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]  # older tokenizers: str
    words = [token for token in sorted(model["vocab"], key=model["vocab"].get) if token not in SPECIAL_TOKENS]
    (tmp_path / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(words)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges))
    loaded = load_qwen2(tmp_path)
    assert [loaded.special(token) for token in SPECIAL_TOKENS] == [len(words) + i for i in range(5)]
    ids = loaded.encode(TEXTS[0], limit=100)
    assert [token + len(SPECIAL_TOKENS) for token in ids] == TOKENIZER.encode(TEXTS[0], limit=100)


def test_adding_special_tokens_twice_changes_nothing():
    tokenizer = add_special_tokens(byte_level(models.BPE({"a": 0}, [])))
    before = tokenizer.get_vocab()
    assert add_special_tokens(tokenizer).get_vocab() == before


def test_load_qwen2_says_what_it_needs(tmp_path):
    with pytest.raises(ConfigError, match=r"vocab\.json and merges\.txt"):
        load_qwen2(tmp_path)
