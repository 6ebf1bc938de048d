"""The words of the world: how situations and questions may be put. Few words, many orders and synonyms.

`{x}`, `{y}` and `{z}` stand for names such as "the sofa" or "the red chair". A wording is chosen without regard to the
answer.
"""

from __future__ import annotations

import re

from loc3r_ros.world.draw import Draw
from loc3r_ros.world.furniture import CATEGORIES
from loc3r_ros.world.materials import COLOURS
from loc3r_ros.world.viewpoints import Clause, Relation

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")
SIDES = ("in front of me", "on my left", "behind me", "on my right")
"""Sectors of 90 degrees, counter-clockwise from straight ahead."""
DIRECTIONS = ("forward", "left", "backward", "right")
TURNS = ("go straight", "turn left", "turn back", "turn right")
PLURALS = {"shelf": "shelves", "box": "boxes"}

_STANCE = ("I am standing", "I am", "I stand", "I'm standing", "I have stopped")
_PLACE = {
    Relation.BESIDE: ("beside", "next to", "close to", "by", "near"),
    Relation.IN_FRONT_OF: ("in front of", "right in front of", "just in front of"),
}
_STARTS = {
    Relation.BESIDE: ("{x} is right beside me", "{x} is next to me", "{x} is close to me"),
    Relation.IN_FRONT_OF: ("I am standing in front of {x}", "I am in front of {x}"),
    Relation.FACING: ("I am facing {x}", "I am looking at {x}", "I look towards {x}", "{x} is straight ahead of me"),
    Relation.LEFT: ("{x} is on my left", "{x} is to my left", "on my left is {x}", "to my left there is {x}"),
    Relation.RIGHT: ("{x} is on my right", "{x} is to my right", "on my right is {x}", "to my right there is {x}"),
    Relation.BEHIND: ("{x} is behind me", "behind me is {x}", "my back is towards {x}"),
}
_JOINED = {
    Relation.FACING: ("facing {x}", "looking at {x}", "looking towards {x}"),
    Relation.LEFT: ("with {x} on my left", "with {x} to my left"),
    Relation.RIGHT: ("with {x} on my right", "with {x} to my right"),
    Relation.BEHIND: ("with {x} behind me", "with my back to {x}"),
}

QUESTIONS: dict[str, tuple[str, ...]] = {
    "what": ("What is {x}?", "What do I find {x}?", "Which object is {x}?"),
    "is": ("Is {x} {y}?", "Do I have {x} {y}?", "Is it true that {x} is {y}?"),
    "count": ("How many {x} are there?", "How many {x} can you count?", "What is the number of {x}?"),
    "can": ("Can I see {x} without turning?", "Can I see {x} from here without turning?", "Is {x} in my view?"),
    "direction": (
        "Which direction should I go to reach {x}?",
        "Which way should I go to get to {x}?",
        "In which direction is {x}?",
    ),
    "colour": ("What colour is {x}?", "What is the colour of {x}?", "Which colour does {x} have?"),
    "closer": (
        "Which is closer to me, {x} or {y}?",
        "Which one is nearer to me, {x} or {y}?",
        "What is closer to where I stand, {x} or {y}?",
    ),
    "distance": (
        "How far is {x} from {y}, in metres?",
        "How many metres are there between {x} and {y}?",
        "What is the distance from {x} to {y}, in metres?",
    ),
    "size": (
        "How long is the longest side of {x}, in centimetres?",
        "How many centimetres does the longest side of {x} measure?",
    ),
    "room": (
        "What is the floor area of {x}, in square metres?",
        "How many square metres is the floor area of {x}?",
        "How large is the floor area of {x}, in square metres?",
    ),
    "route": (
        "I walk from {x} to {y}. What must I do next to reach {z}?",
        "I go from {x} to {y}. Which way must I turn to get to {z}?",
        "Coming from {x}, I stand at {y}. What should I do to reach {z}?",
    ),
    "order": (
        "Which appeared first in the video, {x} or {y}?",
        "Which one was seen first, {x} or {y}?",
        "What came into view first, {x} or {y}?",
    ),
}
"""Wordings of each type of question."""


def plural(category: str) -> str:
    """Return the plural of a category."""
    return PLURALS.get(category, category + "s")


def rooms_phrase(count: int) -> str:
    """Return what a question about the floor area calls one room, or both."""
    return "this room" if count == 1 else "the two rooms together"


def put(kind: str, draw: Draw, x: str = "", y: str = "", z: str = "") -> str:
    """Put a question in one of the wordings of its type."""
    return draw.choice(QUESTIONS[kind]).format(x=x, y=y, z=z)


def describe(clauses: list[Clause], names: dict[int, str], draw: Draw) -> str:
    """Put a situation in words.

    Args:
        clauses: the place first, then what is faced, then the rest.
        names: what to call each piece of furniture that the clauses mention.
        draw: chooses order and words.
    """
    place, facing, *rest = clauses
    named = [(clause.relation, names[clause.furniture]) for clause in (facing, *rest)]
    order = draw.integer(4)
    if order == 0:  # one sentence, place first
        joined = [draw.choice(_JOINED[relation]).format(x=name) for relation, name in named]
        return f"{_stand(place, names, draw)}, {_list(joined)}."
    if order == 1:  # one sentence, gaze first
        look, *more = [draw.choice(_JOINED[relation]).format(x=name) for relation, name in named]
        sentence = f"{_capital(look)}, {_stand(place, names, draw)}"
        return f"{sentence}, {_list(more)}." if more else f"{sentence}."
    if order == 2:  # the place with the gaze, then a sentence for each of the rest
        look = draw.choice(_JOINED[Relation.FACING]).format(x=named[0][1])
        sentences = [f"{_stand(place, names, draw)}, {look}"]
        sentences += [draw.choice(_STARTS[relation]).format(x=name) for relation, name in named[1:]]
        return " ".join(f"{_capital(sentence)}." for sentence in sentences)
    named.append((place.relation, names[place.furniture]))
    sentences = [draw.choice(_STARTS[relation]).format(x=name) for relation, name in named]
    return " ".join(f"{_capital(sentence)}." for sentence in draw.shuffled(sentences))


def vocabulary() -> frozenset[str]:
    """Return every word, in lower case, that a situation, a question or an answer in words may hold."""
    phrases = [text for texts in QUESTIONS.values() for text in texts]
    phrases += [text for table in (_PLACE, _STARTS, _JOINED) for texts in table.values() for text in texts]
    phrases += [*_STANCE, *NUMBERS, *SIDES, *DIRECTIONS, *TURNS, *CATEGORIES, *map(plural, CATEGORIES), *COLOURS]
    phrases += [rooms_phrase(1), rooms_phrase(2), "the", "and", "yes", "no"]
    return frozenset(word for phrase in phrases for word in words(phrase.format(x="", y="", z="")))


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, without its marks and numbers."""
    return re.findall(r"[a-z']+", text.lower())


def _stand(place: Clause, names: dict[int, str], draw: Draw) -> str:
    where = draw.choice(_PLACE[place.relation])
    return f"{draw.choice(_STANCE)} {where} {names[place.furniture]}"


def _list(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
