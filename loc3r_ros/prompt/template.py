"""The prompt of LLaVA-Video (`qwen_1_5`, ChatML) with Loc3R-VLM's `<Pos>` and `<Ori>` between situation and question.

<|im_start|>system
You are a helpful assistant.<|im_end|>
<|im_start|>user
VIDEO
{time instruction}{situation}<Pos><Ori>{question}<|im_end|>
<|im_start|>assistant

What stands before the video never changes; the line ends after VIDEO and after "assistant" belong to the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from loc3r_ros.prompt.tokenizer import MESSAGE_END, MESSAGE_START, ORIENTATION, POSITION, TextTokenizer

SYSTEM_MESSAGE = "You are a helpful assistant."
PSEUDO_SITUATION = "I am standing in the room"
"""Stands in for the situation where there is none, as in the paper's training."""

MAX_TEXT_TOKENS = 512
"""The longest situation, and the longest question."""
_NO_LIMIT = 1 << 20


@dataclass(frozen=True)
class PromptIds:
    """The ids after the video.

    Attributes:
        ids: (S,) int64.
        position: index of `<Pos>` in ids.
        orientation: index of `<Ori>` in ids.
    """

    ids: npt.NDArray[np.int64]
    position: int
    orientation: int


class PromptTemplate:
    """Builds prompts with one tokenizer."""

    def __init__(self, tokenizer: TextTokenizer, max_text_tokens: int = MAX_TEXT_TOKENS) -> None:
        self.tokenizer = tokenizer
        self.max_text_tokens = max_text_tokens

    @classmethod
    def load(cls, folder: Path) -> PromptTemplate:
        """Read the tokenizer of a model's or an engine set's folder; ConfigError where it is missing or damaged."""
        return cls(TextTokenizer.load(folder))

    @property
    def prefix(self) -> npt.NDArray[np.int64]:
        """The ids before the video: 14 with Qwen2's tokenizer."""
        ids = [*self._message("system", SYSTEM_MESSAGE), *self._text("\n")]
        return _array([*ids, self._special(MESSAGE_START), *self._text("user\n")])

    def locate(self, situation: str, times: Sequence[float] = ()) -> PromptIds:
        """Return the ids that localize a situation: they end with `<Ori>`, since what follows it changes nothing.

        Args:
            situation: who stands where; empty for the pseudo-situation.
            times: seconds of the frames, for the time instruction; empty leaves it out.

        Raises:
            PromptError: where the situation is too long.
        """
        text = self._user_text(situation.strip() or PSEUDO_SITUATION, "situation")
        before = [*self._text("\n" + time_instruction(times)), *text]
        ids = [*before, self._special(POSITION), self._special(ORIENTATION)]
        return PromptIds(_array(ids), len(before), len(before) + 1)

    def ask(self, question: str, situation: str = "", times: Sequence[float] = ()) -> PromptIds:
        """Return the ids that the answer follows.

        Args:
            question: what is asked.
            situation: from where; empty for the pseudo-situation.
            times: seconds of the frames, for the time instruction; empty leaves it out.

        Raises:
            PromptError: where a text is too long.
        """
        place = self.locate(situation, times)
        end = [self._special(MESSAGE_END), *self._text("\n"), self._special(MESSAGE_START), *self._text("assistant\n")]
        ids = [*place.ids, *self._user_text(question.strip(), "question"), *end]
        return PromptIds(_array(ids), place.position, place.orientation)

    def answer(self, text: str) -> npt.NDArray[np.int64]:
        """Return the ids of an answer with the token that ends it, which training supervises."""
        return _array([*self._user_text(text, "answer"), self._special(MESSAGE_END)])

    def _message(self, role: str, text: str) -> list[int]:
        return [self._special(MESSAGE_START), *self._text(f"{role}\n{text}"), self._special(MESSAGE_END)]

    def _special(self, token: str) -> int:
        return self.tokenizer.special(token)

    def _text(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, limit=_NO_LIMIT)

    def _user_text(self, text: str, what: str) -> list[int]:
        return self.tokenizer.encode(text, limit=self.max_text_tokens, what=what)


def time_instruction(times: Sequence[float]) -> str:
    """Return LLaVA-Video's sentence about the frames' times, seconds from the first; empty without times."""
    if not times:
        return ""
    located = ",".join(f"{time:.2f}s" for time in times)
    return (
        f"The video lasts for {times[-1]:.2f} seconds, and {len(times)} frames are uniformly sampled from it. "
        f"These frames are located at {located}.Please answer the following questions related to this video.\n"
    )


def _array(ids: Sequence[int]) -> npt.NDArray[np.int64]:
    return np.asarray(ids, dtype=np.int64)
