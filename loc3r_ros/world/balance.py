"""Balance: no words of a question may betray its answer.

Questions are taken or left, one after another, so that for each cue - the few words of a question that could betray its
answer - every outcome stays equally frequent. This is structural: it counts, it learns nothing, so it cannot overshoot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from loc3r_ros.world.facts import Cue
from loc3r_ros.world.questions import Question
from loc3r_ros.world.sample import Sample


class Balancer:
    """Takes a question only where its answer is not ahead in any of its cues.

    The state grows with the number of different cues (some thousands), not with the number of questions. Each stream of
    scenes, for example each worker of a loader, needs a balancer of its own and is balanced by itself.
    """

    def __init__(self) -> None:
        self._outcomes: Counter[tuple[tuple[str, ...], str]] = Counter()
        self._totals: Counter[tuple[str, ...]] = Counter()

    def take(self, question: Question) -> bool:
        """Say whether to keep a question, and count it if so."""
        if not all(self._is_behind(cue) for cue in question.cues):
            return False
        for cue in question.cues:
            self._outcomes[cue.key, cue.outcome] += 1
            self._totals[cue.key] += 1
        return True

    def _is_behind(self, cue: Cue) -> bool:
        even = self._totals[cue.key] / cue.outcomes
        return self._outcomes[cue.key, cue.outcome] <= even + cue.tolerance * (even + 1)


def balanced(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Yield samples with their questions thinned to a balance over the whole stream."""
    balancer = Balancer()
    for sample in samples:
        yield replace(sample, questions=tuple(question for question in sample.questions if balancer.take(question)))
