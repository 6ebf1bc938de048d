import subprocess
import sys

import pytest

from loc3r_ros.errors import ConfigError
from loc3r_ros.prompt.english import COMMON_WORDS, word_corpus
from loc3r_ros.prompt.training import train_tokenizer

TEXTS = [f"the {colour} {thing} is on my left" for colour in ("red", "blue") for thing in ("sofa", "chair", "table")]


def test_the_same_texts_give_the_same_tokenizer(tmp_path):
    train_tokenizer(TEXTS, 320).save(tmp_path)
    other = tmp_path / "other"
    script = f"""
from pathlib import Path
from loc3r_ros.prompt.english import COMMON_WORDS, word_corpus
from loc3r_ros.prompt.training import train_tokenizer
train_tokenizer({TEXTS!r}, 320).save(Path({str(other)!r}))
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    assert other.read_bytes() == (tmp_path / "tokenizer.json").read_bytes()


def test_every_byte_can_be_written():
    tokenizer = train_tokenizer([], 300)
    assert tokenizer.size == 261
    text = "".join(map(chr, range(256))) + "漢字🐈"
    assert tokenizer.decode(tokenizer.encode(text, limit=1000)) == text


def test_frequent_words_become_one_token():
    tokenizer = train_tokenizer(TEXTS * 10, 330)
    assert len(tokenizer.encode(" left", limit=10)) == 1
    assert len(train_tokenizer(TEXTS, 262).encode(" left", limit=10)) > 1


def test_a_size_without_room_for_bytes_is_refused():
    with pytest.raises(ConfigError, match="take 261"):
        train_tokenizer(TEXTS, 260)


def test_common_words_need_few_tokens():
    tokenizer = train_tokenizer(word_corpus(COMMON_WORDS), 2048)
    text = "Please tell me which chair is nearest to the wooden table in the corner of the kitchen."
    assert len(tokenizer.encode(text, limit=100)) <= 1.5 * len(text.split())


def test_the_word_list_is_a_sorted_set():
    assert list(COMMON_WORDS) == sorted(set(COMMON_WORDS))
    assert " ".join(word_corpus(["near"], weight=2)) == " near near Near"
