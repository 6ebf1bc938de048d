"""The small tokenizer of models that are trained from nothing."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import models, pre_tokenizers, trainers

from loc3r_ros.errors import ConfigError
from loc3r_ros.prompt.tokenizer import SPECIAL_TOKENS, TextTokenizer, byte_level

BYTES = 256


def train_tokenizer(texts: Iterable[str], size: int) -> TextTokenizer:
    """Train a byte-level BPE tokenizer: the special tokens are ids 0 to 4, then every byte, then merges.

    The same texts in the same order give the same tokenizer; any text can be written with it.

    Args:
        texts: what to learn from; how often a word appears counts.
        size: the largest number of ids; few texts give fewer.

    Raises:
        ConfigError: where the size leaves no room for every byte.
    """
    least = BYTES + len(SPECIAL_TOKENS)
    if size < least:
        raise ConfigError(f"A tokenizer of {size} ids is too small: every byte and the special tokens take {least}.")
    tokenizer = byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return TextTokenizer(tokenizer)
