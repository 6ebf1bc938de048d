"""Appending frame by frame is exact: the cache, the heads and the answers are those of one run of the whole prompt."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from loc3r_ros.export.source import random_source
from loc3r_ros.localizer.question import Question
from loc3r_ros.model.config import preset
from loc3r_ros.model.language import generate
from loc3r_ros.prompt.template import PromptTemplate

torch.set_num_threads(1)
FRAMES = 3


@torch.inference_mode()
def one_shot(source, pictures, ids):
    """Run the whole prompt at once, as the paper's code does; return the embeddings, hidden states and cache."""
    model, state = source.model, source.prior.initial_state()
    pixels = torch.stack(
        [(torch.from_numpy(picture).permute(2, 0, 1).float() / 255 - 0.5) / 0.5 for picture in pictures]
    )
    tokens = []
    for image in pixels:  # which the prior may see at another size
        seen = F.interpolate(image[None], model.config.pose_prior.image_size, mode="bilinear", align_corners=False)
        observation, state = source.prior.step(seen, state)
        tokens.append(observation.camera_token)
    video = model.video_tokens(pixels[None], torch.stack(tokens, dim=1))
    embed = model.language.embed_tokens
    embeddings = torch.cat([embed(torch.tensor([source.head_ids])), video, embed(torch.from_numpy(ids)[None])], dim=1)
    hidden, cache = model.language(embeddings)
    return embeddings, hidden[0], cache


@pytest.mark.parametrize("size", ["tiny", "nano", pytest.param("mid", marks=pytest.mark.slow)])
def test_frame_by_frame_equals_one_shot(film_of, size):
    film, source = film_of(size), random_source(preset(size))
    memory = film.memory(capacity=FRAMES, block=1)
    for number in range(FRAMES):
        memory.observe(film.frame(number))
    template = PromptTemplate(source.tokenizer)
    prompt = template.ask("What is on my left?", "I am standing beside the sofa, facing the TV.")
    embeddings, hidden, cache = one_shot(source, [film.picture(number) for number in range(FRAMES)], prompt.ids)
    snapshot = memory.snapshot
    length = snapshot.cache.length
    assert length == snapshot.next_position == embeddings.shape[1] - len(prompt.ids)

    rows = snapshot.cache.read()
    for layer, pair in enumerate(cache):
        for kind, tensor in (("key", pair.keys), ("value", pair.values)):
            expected = tensor[0].transpose(0, 1)[:length].numpy()
            np.testing.assert_allclose(rows[f"{kind}.{layer}"], expected, atol=1e-4, rtol=0)

    layout = source.model.config.layout
    patches = layout.patch_indices(FRAMES, len(source.head_ids))
    with torch.inference_mode():
        gaussian = source.model.heads.layout_of(hidden[patches])
        position = source.model.heads.position_of(hidden[length + prompt.position])
        heading = source.model.heads.heading_logits(hidden[length + prompt.orientation])
    for entry, mean in zip(snapshot.entries, gaussian.mean.numpy(), strict=True):
        np.testing.assert_allclose(entry.layout[:, :2], mean, atol=1e-4, rtol=0)

    question = Question(film.engines, snapshot, prompt, answer_tokens=12)
    np.testing.assert_allclose(question.position[:2], position.mean.numpy(), atol=1e-4, rtol=0)
    np.testing.assert_allclose(question.orientation, heading.numpy(), atol=1e-4, rtol=0)
    with torch.inference_mode():
        expected = list(generate(source.model.language, embeddings, max_tokens=12))
    assert [token.id for token in question.answer()] == expected


def test_a_question_leaves_the_prefix_as_it_was(film):
    memory = film.memory()
    for number in range(3):
        memory.observe(film.frame(number))
    snapshot = memory.snapshot
    before = snapshot.cache.read()
    template = PromptTemplate(random_source(preset("tiny")).tokenizer)
    first = Question(film.engines, snapshot, template.locate("Here."), 0)
    list(Question(film.engines, snapshot, template.ask("What?"), 6).answer())
    memory.observe(film.frame(3))
    for name, rows in snapshot.cache.read().items():
        np.testing.assert_array_equal(rows, before[name])
    again = Question(film.engines, snapshot, template.locate("Here."), 0)
    np.testing.assert_array_equal(first.position, again.position)
    assert memory.snapshot.cache.length > snapshot.cache.length


def test_a_question_costs_only_its_own_tokens(film):
    """No run may have more tokens than the question, whatever is in memory."""
    memory = film.memory()
    for number in range(4):
        memory.observe(film.frame(number))
    prompt = PromptTemplate(random_source(preset("tiny")).tokenizer).ask("What?")
    lengths = []

    class Counting:
        spec = film.engines.language.spec

        def run(self, inputs, into=None):
            lengths.append(len(inputs["embeddings"]))
            return film.engines.language.run(inputs, into)

    engines = type(film.engines)(**(vars(film.engines) | {"language": Counting()}))
    tokens = list(Question(engines, memory.snapshot, prompt, 5).answer())
    assert lengths == [len(prompt.ids)] + [1] * (len(lengths) - 1)
    assert len(lengths) == max(len(tokens), 1) + (0 if len(tokens) == 5 else min(len(tokens), 1))


def test_frames_that_are_not_kept_leave_no_trace(film):
    busy, calm = film.memory(), film.memory()
    turning = np.diag([1.0, 1.0, 1.0, 1.0])
    for number in range(6):
        memory_pose = turning.copy()
        memory_pose[0, 3] = float(number // 2)
        busy._buffer.policy = calm._buffer.policy = type(busy._buffer.policy)(0.5, 10.0)
        busy.observe(film.frame(number, memory_pose))
        if number % 2 == 0:
            calm.observe(film.frame(number, memory_pose))
    assert [k.stamp for k in busy.keyframes] == [k.stamp for k in calm.keyframes] and len(calm.keyframes) == 3
    for name, rows in busy.snapshot.cache.read().items():
        np.testing.assert_array_equal(rows, calm.snapshot.cache.read()[name])
