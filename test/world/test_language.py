import pytest

from loc3r_ros.world.draw import Draw
from loc3r_ros.world.language import QUESTIONS, describe, plural, put, vocabulary, words
from loc3r_ros.world.viewpoints import Clause, Relation


def texts_of(samples):
    for sample in samples:
        yield from (situation.text for situation in sample.situations)
        for question in sample.questions:
            yield from (question.text, question.answer)


def test_all_texts_are_of_the_vocabulary_and_it_is_small(samples):
    known = vocabulary()
    for text in texts_of(samples):
        assert set(words(text)) <= known, text
    assert len(known) < 180


def test_sentences_are_well_formed(samples):
    for sample in samples:
        for text in (*(one.text for one in sample.situations), *(one.text for one in sample.questions)):
            assert text[0].isupper(), text
            assert text[-1] in ".?", text
            assert not any(wrong in text for wrong in ("  ", " .", " ,", "..", "{", "the the")), text


def test_one_situation_can_be_put_in_very_many_ways():
    clauses = [Clause(Relation.BESIDE, 0), Clause(Relation.FACING, 1), Clause(Relation.LEFT, 2)]
    names = {0: "the sofa", 1: "the TV", 2: "the red chair"}
    texts = {describe(clauses, names, Draw(seed, "test")) for seed in range(300)}
    assert len(texts) > 150
    for text in texts:
        for name in names.values():
            assert text.lower().count(name.lower()) == 1, text
        assert " left" in text


@pytest.mark.parametrize("kind", QUESTIONS)
def test_questions_have_several_wordings(kind):
    texts = {put(kind, Draw(seed, "test"), "the bed", "the box", "the bin") for seed in range(40)}
    assert len(texts) == len(QUESTIONS[kind]) >= 2
    assert all(text.endswith("?") for text in texts)


def test_plurals():
    assert [plural(word) for word in ("chair", "box", "shelf", "TV")] == ["chairs", "boxes", "shelves", "TVs"]
