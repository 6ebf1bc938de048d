"""Text to ids and back. Who types `<Pos>` or `<|im_end|>` gets their letters, never the special token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from loc3r_ros.errors import ConfigError, PromptError

END_OF_TEXT = "<|endoftext|>"
MESSAGE_START = "<|im_start|>"
MESSAGE_END = "<|im_end|>"
POSITION = "<Pos>"
ORIENTATION = "<Ori>"
SPECIAL_TOKENS = (END_OF_TEXT, MESSAGE_START, MESSAGE_END, POSITION, ORIENTATION)
"""In the order of their ids, in every tokenizer of ours and of Qwen2."""

QWEN2_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2 cuts text before byte-pair encoding: words, single digits, marks, line ends."""

MAX_CHARACTERS_PER_TOKEN = 32
"""No real text has longer tokens on average: longer texts are refused before they cost time."""

FILE_NAME = "tokenizer.json"


class TextTokenizer:
    """A byte-level tokenizer with the five special tokens of the prompt."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        found = {token: tokenizer.token_to_id(token) for token in SPECIAL_TOKENS}
        self._special = {token: index for token, index in found.items() if index is not None}
        if missing := [token for token in found if token not in self._special]:
            raise ConfigError(f"The tokenizer lacks {', '.join(missing)}: it was not made for Loc3R-VLM.")
        self._tokenizer = Tokenizer.from_str(_all_special(tokenizer.to_str()))
        self._tokenizer.encode_special_tokens = True  # typed special tokens are plain text
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    @classmethod
    def load(cls, path: Path) -> TextTokenizer:
        """Read a `tokenizer.json`, or the one in a folder; ConfigError where it is missing or damaged."""
        path = path / FILE_NAME if path.is_dir() else path
        try:
            return cls(Tokenizer.from_str(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise ConfigError(f"The tokenizer {path} cannot be read: {error.strerror}.") from error
        except ConfigError:
            raise
        except Exception as error:  # tokenizers raises bare exceptions
            raise ConfigError(f"The tokenizer {path} is damaged: {error}.") from error

    def save(self, path: Path) -> None:
        """Write a `tokenizer.json`, into the folder where `path` is one."""
        path = path / FILE_NAME if path.is_dir() else path
        path.write_text(self._tokenizer.to_str(), encoding="utf-8")

    @property
    def size(self) -> int:
        """One more than the largest id."""
        return max(self._tokenizer.get_vocab().values()) + 1

    def special(self, token: str) -> int:
        """Return the id of one of SPECIAL_TOKENS."""
        return self._special[token]

    def encode(self, text: str, limit: int, what: str = "text") -> list[int]:
        """Return the ids of a user's text, none of them special.

        Args:
            text: anything; lone surrogates become question marks.
            limit: the most ids that are allowed.
            what: what to call the text in the error.

        Raises:
            PromptError: where the text is too long.
        """
        if len(text) <= limit * MAX_CHARACTERS_PER_TOKEN:
            ids: list[int] = self._tokenizer.encode(
                text.encode("utf-8", "replace").decode(), add_special_tokens=False
            ).ids
            if len(ids) <= limit:
                return ids
        raise PromptError(
            f"The {what} is too long ({len(text)} characters): at most {limit} tokens, about {4 * limit} characters, "
            "are read. Say it in fewer words."
        )

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids, without special tokens; bytes that are no UTF-8 become U+FFFD."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text


class TextStream:
    """Turns ids into text as they come, and holds back bytes of characters that are not complete."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._held: list[int] = []

    def push(self, token: int) -> str:
        """Return the text that one more id completes; empty while a character is incomplete."""
        self._held.append(token)
        text = self._tokenizer.decode(self._held)
        if text.endswith("\ufffd"):
            return ""
        self._held = []
        return text

    def finish(self) -> str:
        """Return what was held back."""
        text, self._held = self._tokenizer.decode(self._held), []
        return text


def _all_special(text: str) -> str:
    """Mark every added token of a serialised tokenizer as special, so that no typed text is mistaken for it."""
    values: dict[str, Any] = json.loads(text)
    for token in values["added_tokens"]:
        token |= {"special": True, "normalized": False, "lstrip": False, "rstrip": False}
    return json.dumps(values, ensure_ascii=False)


def byte_level(model: models.BPE) -> Tokenizer:
    """Return a tokenizer that cuts and writes text as Qwen2's."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def add_special_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """Add those of SPECIAL_TOKENS that are missing, with the next free ids, and return the tokenizer."""
    missing = [token for token in SPECIAL_TOKENS if tokenizer.token_to_id(token) is None]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in missing])
    return tokenizer


def load_qwen2(folder: Path) -> TextTokenizer:
    """Read the tokenizer of a Hugging Face folder of the Qwen2 family, from one file or from vocabulary and merges.

    `<Pos>` and `<Ori>` are added where the folder has none: they take the next ids, 151646 and 151647 for Qwen2.

    Raises:
        ConfigError: where the files are missing or damaged.
    """
    try:
        if (folder / FILE_NAME).exists():
            tokenizer = Tokenizer.from_file(str(folder / FILE_NAME))
        else:
            tokenizer = byte_level(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    except Exception as error:  # tokenizers raises bare exceptions
        raise ConfigError(
            f"{folder} has no tokenizer that can be read (tokenizer.json, or vocab.json and merges.txt): {error}."
        ) from error
    return TextTokenizer(add_special_tokens(tokenizer))
