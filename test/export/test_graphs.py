"""The graphs that are exported say what the model says."""

import dataclasses

import numpy as np
import pytest
import torch

from loc3r_ros.errors import ConfigError
from loc3r_ros.export.graphs import LanguageGraph, PosePriorGraph, VisionGraph
from loc3r_ros.export.source import random_source
from loc3r_ros.model.config import preset
from loc3r_ros.model.cut3r import Cut3RState

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def source():
    return random_source(preset("tiny"))


def rows(*indices):
    return torch.tensor(indices, dtype=torch.int64)


def split_cache(cache, *lengths):
    """Return the tensors of a batched cache cut into spans of rows, each (rows, kv_heads, head_dim)."""
    flat = [tensor[0].transpose(0, 1).contiguous() for layer in cache for tensor in (layer.keys, layer.values)]
    return [list(part) for part in zip(*(torch.split(tensor, lengths) for tensor in flat), strict=True)]


def padded(tensor, count):
    """Append rows that nobody may see."""
    return torch.cat([tensor, torch.full((count, *tensor.shape[1:]), 1e3)])


@pytest.mark.parametrize("padding", [0, 11])
@pytest.mark.parametrize("lengths", [(14, 0, 5), (9, 4, 1), (1, 1, 30), (40, 12, 7)])
@torch.inference_mode()
def test_language_on_a_cut_cache_equals_the_whole_sequence(source, lengths, padding):
    model, language = source.model, source.model.language
    torch.manual_seed(sum(lengths))
    embeddings = torch.randn(1, sum(lengths), model.config.language.hidden_size)
    hidden, cache = language(embeddings)
    prefix, suffix, new = split_cache(cache, *lengths)
    start = lengths[0] + lengths[1]
    last = lengths[2] - 1
    graph = LanguageGraph(model)
    outputs = graph(
        embeddings[0, start:],
        rows(start),
        rows(lengths[0]),
        rows(lengths[1]),
        rows(0),
        rows(last),
        rows(last),
        rows(0, last),
        *(padded(tensor, padding) for tensor in (*prefix, *suffix)),
    )
    layout, position, orientation, logits, *found = outputs
    gaussian = model.heads.layout_of(hidden[0, start : start + 1])
    torch.testing.assert_close(layout, torch.cat([gaussian.mean, gaussian.log_variance], -1), atol=1e-5, rtol=0)
    torch.testing.assert_close(position[0, :2], model.heads.position_of(hidden[0, -1]).mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(orientation[0], model.heads.heading_logits(hidden[0, -1]), atol=1e-5, rtol=0)
    torch.testing.assert_close(logits, language.logits(hidden[0, [start, start + last]]), atol=1e-5, rtol=0)
    for ours, theirs in zip(found, new, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_nothing_is_computed_for_rows_that_nobody_asked_for(source):
    graph, config = LanguageGraph(source.model), source.model.config.language
    cache = [torch.randn(3, config.kv_heads, config.head_dim) for _ in range(4 * config.layers)]
    layout, position, orientation, logits, *_ = graph(
        torch.randn(2, config.hidden_size), rows(6), rows(3), rows(3), rows(), rows(), rows(), rows(), *cache
    )
    assert [len(output) for output in (layout, position, orientation, logits)] == [0, 0, 0, 0]


@torch.inference_mode()
def test_frame_tokens_are_camera_then_vision(source):
    model, size = source.model, source.model.config.vision.image_size
    picture = torch.randint(0, 256, (size, size, 3), dtype=torch.uint8)
    pixels = (picture.permute(2, 0, 1)[None].float() / 255 - 0.5) / 0.5
    state = source.prior.initial_state()
    zeros = [torch.zeros_like(state.tokens[0]), torch.zeros_like(state.memory[0])]
    token, pose, tokens, memory = PosePriorGraph(source.prior, model)(picture, *zeros, torch.tensor([True]))
    observation, after = source.prior.step(pixels, state)
    expected = model.frame_tokens(model.encode_frames(pixels), observation.camera_token)[0]
    torch.testing.assert_close(torch.cat([token, VisionGraph(model)(picture)[0]]), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(pose, observation.world_t_camera[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens, after.tokens[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(memory, after.memory[0], atol=1e-5, rtol=0)
    second = PosePriorGraph(source.prior, model)(picture, tokens, memory, torch.tensor([False]))
    expected_second, _ = source.prior.step(pixels, Cut3RState(tokens[None], memory[None], is_first=False))
    torch.testing.assert_close(second[1], expected_second.world_t_camera[0], atol=1e-5, rtol=0)


def test_a_prior_of_another_size_gets_the_frame_resized(source):
    config = preset("tiny")
    larger = dataclasses.replace(config, pose_prior=dataclasses.replace(config.pose_prior, image_size=(48, 64)))
    other = random_source(larger)
    zeros = [torch.zeros_like(tensor[0]) for tensor in other.prior.initial_state()[:2]]
    with torch.inference_mode():
        outputs = PosePriorGraph(other.prior, other.model)(
            torch.zeros(32, 32, 3, dtype=torch.uint8), *zeros, torch.tensor([True])
        )
    assert np.isfinite(outputs[1].numpy()).all()


@pytest.mark.parametrize("change", [{"newline": "one_token"}, {"camera": False}])
def test_a_model_that_cannot_stream_is_refused(change):
    config = preset("tiny")
    source = random_source(dataclasses.replace(config, video=dataclasses.replace(config.video, **change)))
    with pytest.raises(ConfigError, match=r"cannot be appended|no camera token"):
        source.graphs()
