import pytest
from hypothesis import given
from hypothesis import strategies as st

from loc3r_ros.errors import PromptError
from loc3r_ros.prompt.template import PSEUDO_SITUATION, PromptTemplate, time_instruction
from loc3r_ros.prompt.tokenizer import END_OF_TEXT, MESSAGE_END, MESSAGE_START, ORIENTATION, POSITION, SPECIAL_TOKENS
from loc3r_ros.prompt.training import train_tokenizer

TEMPLATE = PromptTemplate(train_tokenizer(["You are a helpful assistant. I am standing in the room"] * 3, 320))
TOKENIZER = TEMPLATE.tokenizer
NAMES = {TOKENIZER.special(token): token for token in SPECIAL_TOKENS}


def spell(ids):
    """Return the text of ids with the special tokens written out."""
    text, words = "", []
    for token in ids:
        if token in NAMES:
            text += TOKENIZER.decode(words) + NAMES[token]
            words = []
        else:
            words.append(int(token))
    return text + TOKENIZER.decode(words)


def test_the_prompt_is_llava_videos():
    assert spell(TEMPLATE.prefix) == ("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n")
    prompt = TEMPLATE.ask("What is on my left?", "I am beside the sofa.")
    assert spell(prompt.ids) == (
        "\nI am beside the sofa.<Pos><Ori>What is on my left?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert NAMES[prompt.ids[prompt.position]] == POSITION
    assert NAMES[prompt.ids[prompt.orientation]] == ORIENTATION


def test_the_template_takes_14_tokens_before_the_video_and_5_after_the_question():
    """As in Qwen2's tokenizer, where each of the template's words is one token."""
    words = ["system\nYou are a helpful assistant.\nuser\n", "assistant\n"]
    template = PromptTemplate(train_tokenizer(words * 10, 400))
    assert len(template.prefix) == 14
    asked = template.ask("?", "!")
    assert len(asked.ids) == len(template.locate("!").ids) + 1 + 5


def test_without_a_situation_one_stands_in_the_room():
    assert spell(TEMPLATE.ask("Why?").ids).startswith(f"\n{PSEUDO_SITUATION}<Pos><Ori>Why?")
    assert spell(TEMPLATE.locate("  ").ids) == f"\n{PSEUDO_SITUATION}<Pos><Ori>"


@given(st.text(max_size=40), st.text(max_size=40))
def test_locating_is_the_beginning_of_asking(question, situation):
    place, prompt = TEMPLATE.locate(situation), TEMPLATE.ask(question, situation)
    assert prompt.ids[: len(place.ids)].tolist() == place.ids.tolist()
    assert (place.position, place.orientation) == (prompt.position, prompt.orientation)


@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from([*SPECIAL_TOKENS, "<image>"]))
def test_nobody_can_type_special_tokens(question, situation, token):
    prompt = TEMPLATE.ask(question + token + question, situation + token)
    special = [NAMES[i] for i in prompt.ids.tolist() if i in NAMES]
    assert special == [POSITION, ORIENTATION, MESSAGE_END, MESSAGE_START]
    assert END_OF_TEXT not in special


def test_the_time_instruction_is_the_official_sentence():
    sentence = (
        "The video lasts for 4.50 seconds, and 3 frames are uniformly sampled from it. These frames are located at "
        "0.00s,2.25s,4.50s.Please answer the following questions related to this video.\n"
    )
    assert time_instruction([0.0, 2.25, 4.5]) == sentence
    assert time_instruction([]) == ""
    assert spell(TEMPLATE.ask("Why?", "Here", [0.0, 2.25, 4.5]).ids).startswith(f"\n{sentence}Here<Pos>")
    many = [0.5 * index for index in range(300)]
    assert len(TEMPLATE.locate("Here", many).ids) > 512  # our own words are not limited


def test_long_texts_are_refused_and_say_which():
    with pytest.raises(PromptError, match="The situation is too long"):
        TEMPLATE.ask("Why?", "sofa " * 20_000)
    with pytest.raises(PromptError, match="The question is too long"):
        TEMPLATE.ask("sofa " * 20_000)


def test_an_answer_ends_with_the_end_of_the_message():
    assert spell(TEMPLATE.answer("a <|im_end|> chair")) == "a <|im_end|> chair<|im_end|>"
    assert TEMPLATE.answer("")[-1] == TOKENIZER.special(MESSAGE_END)


def test_it_is_read_from_a_folder(tmp_path):
    TOKENIZER.save(tmp_path)
    assert PromptTemplate.load(tmp_path).prefix.tolist() == TEMPLATE.prefix.tolist()
