"""Whether an answer in words is right."""

from __future__ import annotations

import re

from loc3r_ros.world.blind import mean_relative_accuracy

ARTICLE = re.compile(r"^(?:the|a|an) ")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def normalised(text: str) -> str:
    """Return a text in lower case without needless spaces, an article at its beginning or marks at its end."""
    words = " ".join(text.lower().split()).rstrip(".?!, ")
    return ARTICLE.sub("", words)


def is_exact(reply: str, answer: str) -> bool:
    """Say whether two texts are the same, once normalised."""
    return normalised(reply) == normalised(answer)


def number_in(text: str) -> float:
    """Return the first number of a text, NaN where there is none."""
    match = NUMBER.search(text)
    return float(match[0]) if match else float("nan")


def relative_accuracy(reply: str, answer: str) -> float:
    """Return the mean relative accuracy, 0..1, of a reply to a question whose answer is a number (VSI-Bench).

    A reply without a number scores 0.
    """
    return mean_relative_accuracy([number_in(reply)], [float(answer)])
