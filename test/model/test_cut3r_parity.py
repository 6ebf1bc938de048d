"""Our CUT3R against numbers of the reference implementation: every variant, every frame."""

import functools
import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from loc3r_ros.model.config import PosePriorConfig
from loc3r_ros.model.cut3r import CUT3R_224_LINEAR, CUT3R_512_DPT, Cut3R, layers, rope
from loc3r_ros.model.cut3r.checkpoint import POINT_MAPS, own_name, rename
from loc3r_ros.model.cut3r.heads import decode_points, decode_pose, pose_matrix

pytestmark = pytest.mark.shared_data

TOKEN_LIMIT, POINT_LIMIT, ABSOLUTE_LIMIT = 5e-6, 3e-5, 1e-4
RADIUS = 10.0
"""Metres within which points are compared in metres, too."""
METRE_LIMITS = {torch.float64: ABSOLUTE_LIMIT, torch.float32: 3 * ABSOLUTE_LIMIT}
"""In double precision the reference's rounding alone is left, on every machine the same; in single ours adds to it."""
VARIANTS = [
    ("tiny_linear", "fp32"),
    ("tiny_linear", "mask"),
    ("tiny_linear", "ttt3r"),
    ("tiny_linear", "ttt3r_mask"),
    ("small_dpt", "fp32"),
    ("small_dpt", "mask"),
]
POINT_MAP_NAMES = ("pts3d_in_self_view", "conf_self", "pts3d_in_other_view", "conf", "rgb")


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "fixtures" / "cut3r"


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@functools.cache
def weights(folder, name):
    if name == "tiny_linear":
        return {k: v.float() for k, v in load_file(folder / "tiny_linear.weights.fp16.safetensors").items()}
    spec = importlib.util.spec_from_file_location("recipe", folder / "recipe.py")
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    shapes = json.loads((folder / f"{name}.keys.json").read_text())
    return {key: torch.from_numpy(value) for key, value in recipe.state_dict(shapes).items()}


@functools.cache
def reference(folder, name):
    with np.load(folder / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def config_of(folder, name, variant):
    sizes = json.loads((folder / "meta.json").read_text())["configs"][name]
    return PosePriorConfig(
        encoder_dim=sizes["enc_embed_dim"],
        encoder_layers=sizes["enc_depth"],
        encoder_heads=sizes["enc_num_heads"],
        decoder_dim=sizes["dec_embed_dim"],
        decoder_layers=sizes["dec_depth"],
        decoder_heads=sizes["dec_num_heads"],
        state_heads=sizes["state_dec_num_heads"],
        state_tokens=sizes["state_size"],
        memory_slots=sizes["local_mem_size"],
        memory_heads=sizes["dec_num_heads"],
        dense_head=sizes["head_type"],
        state_rule="ttt3r" if variant.startswith("ttt3r") else "cut3r",
    )


def build(folder, name, variant, precision=torch.float32, **changes):
    with torch.device("meta"):
        network = Cut3R(replace(config_of(folder, name, variant), **changes))
    network.load_state_dict(rename(weights(folder, name)), assign=True)
    return network.to(precision).eval()


@torch.inference_mode()
def replay(network, folder, name, variant, dense):
    """Run the fixture's frames; yield the name, our value and the reference's for all that the fixture holds."""
    arrays, masks = reference(folder, name), reference(folder, "tiny_linear")
    images = (torch.from_numpy(arrays["images"]).float() / 127.5 - 1).to(network.pose_token.dtype)
    tables = network.tables(images.shape[-2:], images.device)
    stride = 2 if name == "small_dpt" else 1
    state = network.initial_state()
    for i, image in enumerate(images):
        features = network.encode(image[None], tables)
        pose_token = network.first_or_inquired(state, network.pose_retriever.key(features))
        ours = {f"f{i}.pose_token_in": pose_token[0, 0], f"f{i}.enc_tokens": features[0]}
        ours |= {f"f{i}.state_in": state.tokens[0], f"state{i}": state.tokens[0], f"mem{i}": state.memory[0]}
        updates = not variant.endswith("mask") or masks["update"][i]
        prediction, state = network.predict(features, tables, state, dense=dense, update=updates)
        ours |= {f"f{i}.camera_token": prediction.camera_token[0], f"f{i}.camera_pose": prediction.pose[0]}
        if dense:
            maps = (value[0, ::stride, ::stride] for value in prediction.point_maps)
            ours |= {f"f{i}.{key}": value for key, value in zip(POINT_MAP_NAMES, maps, strict=True)}
        if variant.endswith("mask") and masks["reset"][i]:
            state = network.reset_state(state)
        if i + 1 == len(images):
            ours |= {f"state{i + 1}": state.tokens[0], f"mem{i + 1}": state.memory[0]}
        for key, value in ours.items():
            if f"{variant}.{key}" in arrays:
                yield key, value.numpy(), arrays[f"{variant}.{key}"]


def unfold(ours, theirs):
    """Undo the turn of our points that lie in the camera's own plane, z = 0, where a point and its opposite meet."""
    turned = (np.abs(theirs[..., 2]) < 1e-4 * np.linalg.norm(theirs, axis=-1)) & ((ours * theirs).sum(axis=-1) < 0)
    return np.where(turned[..., None], -ours, ours)


def relative_error(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def regressed(values, leaf):
    """What the network says before exponentials, which turn random weights into hundreds of metres.

    Points p are expm1(|r|) r / |r| of raw outputs r; confidences are compared by their logarithms.
    """
    values = values.astype(np.float64)
    if leaf.startswith("pts3d"):
        length = np.linalg.norm(values, axis=-1, keepdims=True)
        return values * np.log1p(length) / np.maximum(length, 1e-12)
    return np.log(values) if leaf.startswith("conf") else values


def absolute_error(ours, theirs, leaf):
    return np.abs(regressed(ours, leaf) - regressed(theirs, leaf)).max()


def worst_token_error(network, folder, name="tiny_linear", variant="fp32"):
    results = replay(network, folder, name, variant, dense=False)
    return max(relative_error(ours, theirs) for _, ours, theirs in results)


@pytest.mark.parametrize("precision", METRE_LIMITS, ids=["double", "single"])
@pytest.mark.parametrize("dense", [False, True], ids=["camera", "dense"])
@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_every_frame_equals_the_reference(folder, name, variant, dense, precision):
    compared = set()
    network = build(folder, name, variant, precision)
    for key, ours, theirs in replay(network, folder, name, variant, dense):
        assert ours.dtype.itemsize == precision.itemsize
        leaf = key.split(".")[-1]
        if leaf == "pts3d_in_self_view" and name == "tiny_linear":
            assert ours[..., 2].min() >= 0
            ours = unfold(ours, theirs)
        if leaf.startswith("pts3d"):
            near = np.linalg.norm(theirs, axis=-1) < RADIUS
            assert near.mean() > 0.05
            assert np.abs(ours - theirs)[near].max() < METRE_LIMITS[precision], key
        limit = POINT_LIMIT if leaf in POINT_MAP_NAMES else TOKEN_LIMIT
        assert relative_error(ours, theirs) < limit, key
        assert absolute_error(ours, theirs, leaf) < ABSOLUTE_LIMIT, key
        compared.add(leaf)
    assert {"camera_token", "camera_pose"} < compared
    if dense and variant == "fp32":
        assert compared >= set(POINT_MAP_NAMES)


def test_ttt3r_rates_equal_the_reference(folder):
    arrays = reference(folder, "tiny_linear")
    network = build(folder, "tiny_linear", "ttt3r")
    results = {key: ours for key, ours, _ in replay(network, folder, "tiny_linear", "ttt3r", dense=False)}
    for i in range(1, 5):
        beta = arrays[f"ttt3r.f{i}.beta"][:, None]
        expected = beta * arrays[f"ttt3r.f{i}.state_new"] + (1 - beta) * arrays[f"ttt3r.f{i}.state_in"]
        assert relative_error(results[f"f{i + 1}.state_in"], expected) < TOKEN_LIMIT


def pose_token_at_the_first_patch(patch):
    patch.setattr(rope, "POSE_TOKEN_POSITION", (0.0, 0.0))


def tanh_gelu(patch):
    gelu = torch.nn.functional.gelu
    patch.setattr(layers.F, "gelu", lambda x: gelu(x, approximate="tanh"))


def base_ten_thousand(patch):
    patch.setattr(rope, "BASE", 1e4)


def memory_never_written(patch):
    patch.setattr(layers.PoseMemory, "write", lambda self, memory, key, token: memory)


def state_kept_before_its_norm(patch):
    build_network = Cut3R.__init__

    def without_norm(self, config):
        build_network(self, config)
        self.dec_norm_state.forward = lambda x: x

    patch.setattr(Cut3R, "__init__", without_norm)


def default_norm_epsilon(patch):
    forward = torch.nn.LayerNorm.forward

    def wrong(self, x):
        self.eps = 1e-5
        return forward(self, x)

    patch.setattr(torch.nn.LayerNorm, "forward", wrong)


MISTAKES = [
    pose_token_at_the_first_patch,
    tanh_gelu,
    base_ten_thousand,
    memory_never_written,
    state_kept_before_its_norm,
    default_norm_epsilon,
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_the_limits_catch_a_mistake(folder, monkeypatch, mistake):
    mistake(monkeypatch)
    assert worst_token_error(build(folder, "tiny_linear", "fp32"), folder) > 2 * TOKEN_LIMIT


def test_the_limits_catch_wrong_state_heads(folder):
    """The tensors fit any head count, so only numbers tell."""
    wrong = build(folder, "tiny_linear", "fp32", state_heads=3)
    assert worst_token_error(wrong, folder) > 1e-2


@pytest.mark.parametrize("head_dim", [24, 32, 48, 64])
def test_rotary_embedding_equals_the_reference(folder, head_dim):
    blocks = reference(folder, "blocks")
    positions = torch.from_numpy(blocks[f"rope{head_dim}.pos"][0]).double()
    assert positions.min() == -1
    turned = rope.rotate(torch.from_numpy(blocks[f"rope{head_dim}.x"]), rope.rope(positions, head_dim))
    np.testing.assert_allclose(turned, blocks[f"rope{head_dim}.y"], atol=2e-6)


@pytest.mark.parametrize("count", [64, 256, 324, 768])
def test_state_grid_equals_the_reference(folder, count):
    np.testing.assert_array_equal(rope.state_positions(count), reference(folder, "blocks")[f"stategrid{count}"])


def test_activations_equal_the_reference(folder):
    blocks = {key: torch.from_numpy(value) for key, value in reference(folder, "blocks").items()}
    pose = decode_pose(blocks["pose.raw"])
    torch.testing.assert_close(pose, blocks["pose.enc"], rtol=5e-6, atol=5e-6)
    torch.testing.assert_close(pose_matrix(pose), blocks["pose.c2w"], rtol=5e-6, atol=5e-6)
    raw = blocks["pts.raw"].movedim(-1, 1)
    for in_front_only, name in ((False, "pts.xyz"), (True, "pts.xyz_posz")):
        points, confidence = decode_points(raw, in_front=in_front_only)
        torch.testing.assert_close(points, blocks[name], rtol=5e-6, atol=5e-6)
        torch.testing.assert_close(confidence, blocks["pts.conf"], rtol=5e-6, atol=5e-6)


@pytest.mark.parametrize(("name", "config"), [("full_512_dpt", CUT3R_512_DPT), ("full_224_linear", CUT3R_224_LINEAR)])
@pytest.mark.parametrize("dense", [True, False], ids=["dense", "camera"])
def test_official_networks_have_exactly_the_official_tensors(folder, name, config, dense):
    table = json.loads((folder / f"{name}.keys.json").read_text())
    official = {own_name(key): tuple(shape) for key, shape in table.items() if own_name(key)}
    if not dense:
        config = replace(config, dense_head="none")
        official = {key: shape for key, shape in official.items() if not POINT_MAPS.match(key)}
    with torch.device("meta"):
        tensors = Cut3R(config).state_dict()
    assert {key: tuple(tensor.shape) for key, tensor in tensors.items()} == official
    if not dense:
        assert sum(tensor.numel() for tensor in tensors.values()) == pytest.approx(687.0e6, abs=0.1e6)


def test_what_is_left_out_of_the_official_tables_is_known(folder):
    """Ray-map branch and mask tokens; in the DPT network also one unused unit and one alias for each of its parts."""
    table = json.loads((folder / "full_512_dpt.keys.json").read_text())
    kept = {own_name(key) for key in table} - {None}
    unused = [key for key in table if own_name(key) is None]
    assert len(table) == 1248 and len(kept) + len(unused) + 12 == 1248
    assert sum("ray_map" in key or key == "masked_img_token" for key in unused) == 2 + 1 + 2 * 12 + 2 + 1
    assert sum("refinenet4.resConfUnit1" in key for key in unused) == 3 * 4
