"""One question to a snapshot: its tokens on the shared prefix, then the answer token by token."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from loc3r_ros.engines import EngineSet
from loc3r_ros.engines.protocol import Array
from loc3r_ros.memory.cache import Cache
from loc3r_ros.memory.language import Heads, append_tokens
from loc3r_ros.memory.snapshot import Snapshot
from loc3r_ros.prompt.template import PromptIds

MAX_ANSWER_TOKENS = 256


@dataclass(frozen=True)
class Token:
    """A token of an answer and the probability that the model gave it."""

    id: int
    probability: float


class Question:
    """The tokens of one prompt behind a snapshot's; they live in a cache of their own, the snapshot is not touched."""

    def __init__(self, engines: EngineSet, snapshot: Snapshot, prompt: PromptIds, answer_tokens: int) -> None:
        """Run the prompt.

        Args:
            engines: the model.
            snapshot: what is remembered.
            prompt: ids behind the video.
            answer_tokens: the longest answer; 0 where only the place is asked for.
        """
        self._engines = engines
        self._snapshot = snapshot
        self._answer_tokens = answer_tokens
        capacity = len(prompt.ids) + answer_tokens
        self._suffix = Cache(engines.backend, engines.manifest.language, capacity, engines.suffix_rows)
        last = [len(prompt.ids) - 1] if answer_tokens else []
        heads = self._run(prompt.ids, position_rows=[prompt.position], orientation_rows=[prompt.orientation], last=last)
        self.position, self.orientation = heads.position[0], heads.orientation[0]
        self._logits = heads.logits

    def answer(self) -> Iterator[Token]:
        """Yield the answer's tokens, the likeliest each time; whoever stops asking stops the work."""
        language = self._engines.manifest.language
        generated: list[int] = []
        for count in range(1, self._answer_tokens + 1):
            logits = self._logits[0]
            token = int(np.argmax(penalised(logits, generated, language.repetition_penalty)))
            if token in language.stop_tokens:
                return
            generated.append(token)
            yield Token(token, probability(logits, token))
            if count < self._answer_tokens:
                self.push(token)

    def push(self, token: int) -> None:
        """Append one token, whatever it is; what follows it is asked for next."""
        self._logits = self._run(np.array([token]), last=[0]).logits

    def _run(
        self,
        ids: Array,
        last: list[int],
        position_rows: list[int] | None = None,
        orientation_rows: list[int] | None = None,
    ) -> Heads:
        suffix = self._suffix.view()
        return append_tokens(
            self._engines,
            self._engines.embedding[ids],
            self._snapshot.next_position + suffix.length,
            self._snapshot.cache,
            suffix,
            self._suffix,
            position_rows=position_rows or [],
            orientation_rows=orientation_rows or [],
            logit_rows=last,
        )


def penalised(logits: Array, generated: list[int], penalty: float) -> Array:
    """Return the logits with those of generated ids made less likely (CTRL's repetition penalty)."""
    if penalty == 1.0 or not generated:
        return logits
    changed, ids = logits.copy(), np.unique(generated)
    changed[ids] = np.where(changed[ids] > 0, changed[ids] / penalty, changed[ids] * penalty)
    return changed


def probability(logits: Array, token: int) -> float:
    """Return the probability that softmax gives a token."""
    shifted = logits.astype(np.float64) - float(logits.max())
    return float(np.exp(shifted[token]) / np.exp(shifted).sum())


def likelihood(tokens: Sequence[Token]) -> float:
    """Return the geometric mean of the tokens' probabilities; 0 where there is none."""
    logs = [math.log(max(token.probability, 1e-12)) for token in tokens]
    return math.exp(sum(logs) / len(logs)) if logs else 0.0
