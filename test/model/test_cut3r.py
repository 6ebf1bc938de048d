"""How CUT3R behaves over time, whatever its weights."""

import gc
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loc3r_ros.errors import ConfigError, ImageError
from loc3r_ros.model.config import preset
from loc3r_ros.model.cut3r import Cut3R
from loc3r_ros.model.cut3r.rope import image_positions, rope, rotate
from loc3r_ros.model.pose_prior import PosePrior

SIZE = 32
CONFIG = replace(preset("tiny").pose_prior, decoder_layers=3)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def build(**changes):
    torch.manual_seed(1)
    return Cut3R(replace(CONFIG, **changes)).eval()


def frames(count, batch=1, height=SIZE, width=SIZE):
    return torch.rand(count, batch, 3, height, width) * 2 - 1


@torch.inference_mode()
def run(network, images, state=None):
    """Return the camera tokens of the frames and the last state."""
    state = state or network.initial_state(images.shape[1])
    tokens = []
    for image in images:
        observation, state = network.step(image, state)
        tokens.append(observation.camera_token)
    return torch.stack(tokens), state


def test_it_is_a_pose_prior_that_says_what_it_can():
    network = build()
    assert isinstance(network, PosePrior)
    assert network.capabilities.token_dim == CONFIG.decoder_dim
    assert network.capabilities.metric and network.capabilities.constant_memory and network.capabilities.point_maps
    assert not build(dense_head="none").capabilities.point_maps


@torch.inference_mode()
def test_a_step_gives_a_token_and_a_rigid_pose():
    observation, state = build().step(frames(1, batch=2)[0], build().initial_state(2))
    assert observation.camera_token.shape == (2, CONFIG.decoder_dim)
    rotation = observation.world_t_camera[:, :3, :3]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(2, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(2))
    assert observation.world_t_camera[:, 3].tolist() == [[0, 0, 0, 1]] * 2
    assert state.tokens.shape == (2, CONFIG.state_tokens, CONFIG.decoder_dim)


def test_a_step_leaves_the_state_that_it_was_given():
    network, images = build(), frames(3)
    _, state = run(network, images[:2])
    copies = state.tokens.clone(), state.memory.clone()
    first, _ = run(network, images[2:], state)
    second, _ = run(network, images[2:], state)
    assert torch.equal(first, second)
    assert torch.equal(state.tokens, copies[0]) and torch.equal(state.memory, copies[1])


@torch.inference_mode()
def test_localizing_without_learning_gives_the_same_pose_and_keeps_the_state():
    for rule in ("cut3r", "ttt3r"):
        network, images = build(state_rule=rule), frames(3)
        _, state = run(network, images[:2])
        tables = network.tables((SIZE, SIZE), images.device)
        features = network.encode(images[2], tables)
        learned, _ = network.predict(features, tables, state)
        looked, kept = network.predict(features, tables, state, update=False)
        assert kept is state
        torch.testing.assert_close(looked.camera_token, learned.camera_token)


@pytest.mark.parametrize("dense_head", ["linear", "dpt"])
@torch.inference_mode()
def test_frame_by_frame_equals_the_whole_sequence(dense_head):
    network, images = build(dense_head=dense_head), frames(3, batch=2, height=48, width=32)
    tokens, _ = run(network, images)
    for dense in (False, True):
        predictions = network(images.transpose(0, 1), dense=dense)
        torch.testing.assert_close(tokens, torch.stack([p.camera_token for p in predictions]), atol=1e-5, rtol=1e-4)
    assert predictions[0].point_maps.points_world.shape == (2, 48, 32, 3)
    assert predictions[0].point_maps.confidence_self.min() >= 1


def test_sequences_of_a_batch_do_not_mix():
    network, images = build(state_rule="ttt3r"), frames(3, batch=2)
    together, _ = run(network, images)
    apart = torch.cat([run(network, images[:, i : i + 1])[0] for i in range(2)], dim=1)
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)


def test_the_past_changes_what_is_seen():
    network, images = build(), frames(3)
    tokens, _ = run(network, images)
    other, _ = run(network, torch.cat([frames(1), images[1:]]))
    assert (tokens[2] - other[2]).abs().max() > 1e-3


@pytest.mark.parametrize(("rule", "asks_memory"), [("cut3r", True), ("ttt3r", False)])
def test_a_reset_forgets_the_scene(rule, asks_memory):
    """CUT3R then asks the initial memory for a pose token; TTT3R begins as with a first frame."""
    network, images = build(state_rule=rule), frames(3)
    _, state = run(network, images)
    reset, initial = network.reset_state(state), network.initial_state()
    assert torch.equal(reset.tokens, initial.tokens) and torch.equal(reset.memory, initial.memory)
    again, _ = run(network, images, reset)
    fresh, _ = run(network, images)
    assert torch.equal(again, fresh) != asks_memory


def test_memory_stays_flat_over_many_frames():
    network, images = build(), frames(8)
    _, state = run(network, images)
    shapes = [state.tokens.shape, state.memory.shape]
    sizes = []
    for _ in range(3):
        for _ in range(25):
            _, state = run(network, images, state)
        gc.collect()
        sizes.append(psutil.Process().memory_info().rss)
    assert [state.tokens.shape, state.memory.shape] == shapes
    assert sizes[-1] - sizes[0] < 4e6
    assert torch.isfinite(state.tokens).all()


def test_training_after_inference_has_gradients_through_time():
    """The last frame's pose depends on the first frame through the state, and rotary tables may be shared."""
    network, images = build(), frames(3)
    run(network, images)
    images = images.transpose(0, 1).requires_grad_()
    predictions = network.train()(images)
    predictions[-1].pose.square().sum().backward()
    assert images.grad[0, 0].abs().max() > 0
    for name in ("pose_token", "register_tokens.weight", "pose_retriever.mem", "pose_retriever.masked_token"):
        assert network.get_parameter(name).grad.abs().max() > 0, name


def test_an_image_that_is_not_made_of_patches_is_refused():
    network = build()
    for height, width in ((31, 32), (32, 40), (0, 32)):
        with pytest.raises(ImageError, match=f"{width} x {height}"):
            network.step(torch.zeros(1, 3, height, width), network.initial_state())


@pytest.mark.parametrize("dense_head", ["linear", "dpt"])
@torch.inference_mode()
def test_point_maps_of_a_stride_are_some_of_all(dense_head):
    network, images = build(dense_head=dense_head), frames(2).transpose(0, 1)
    for whole, some in zip(network(images), network(images, stride=4), strict=True):
        for all_pixels, few in zip(whole.point_maps, some.point_maps, strict=True):
            torch.testing.assert_close(few, all_pixels[:, 2::4, 2::4], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_point_maps_of_every_other_frame_are_those_of_all():
    network, images = build(), frames(4).transpose(0, 1)
    for t, (whole, some) in enumerate(zip(network(images), network(images, every=2), strict=True)):
        torch.testing.assert_close(some.pose, whole.pose, rtol=1e-4, atol=1e-5)
        assert (some.point_maps is not None) == (t % 2 == 1)


def test_point_maps_need_a_head():
    network = build(dense_head="none")
    assert network(frames(1), dense=False)[0].point_maps is None
    with pytest.raises(ConfigError, match="dense_head"):
        network(frames(1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_half_precision_stays_close(dtype):
    network, images = build(), frames(3)
    tokens, _ = run(network, images)
    half, _ = run(network.to(dtype), images.to(dtype))
    error = (half.float() - tokens).norm() / tokens.norm()
    assert error < (3e-2 if dtype == torch.bfloat16 else 4e-3)


@given(st.integers(-40, 40), st.integers(-40, 40))
def test_attention_depends_on_relative_positions_only(down, right):
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 13, 24, generator=generator)
    positions = image_positions(3, 4)
    logits = []
    for shift in ((0, 0), (down, right)):
        table = rope(positions + torch.tensor(shift), 24)
        logits.append(rotate(q, table) @ rotate(k, table).mT)
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-4)
