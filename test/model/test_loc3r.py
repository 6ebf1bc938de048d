import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from loc3r_ros.model.checkpoint import empty_model, shapes_of
from loc3r_ros.model.config import LanguageConfig, Loc3RConfig, VideoConfig, VisionConfig, preset
from loc3r_ros.model.hub_layout import map_names
from loc3r_ros.model.language import generate
from loc3r_ros.model.losses import IGNORED, Losses, LossWeights, heading_divergence, language_loss, place_nll

TOLERANCE = 1e-4  # absolute, against the public implementation


@pytest.fixture(scope="module")
def reference(shared):
    folder = shared / "fixtures" / "llava_video"
    return {
        "weights": load_file(folder / "tiny_llava_next.safetensors"),
        "sizes": json.loads((folder / "config.json").read_text()),
        "arrays": {key: torch.from_numpy(value) for key, value in np.load(folder / "tiny_video.npz").items()},
        "greedy": np.load(folder / "greedy_ids.npy").reshape(-1).tolist(),
    }


def reference_model(reference, pool="bilinear", newline="grid"):
    """Build the reference's model from its official key names."""
    vision, language = reference["sizes"]["vision"], reference["sizes"]["llm"]
    config = Loc3RConfig(
        vision=VisionConfig(
            image_size=vision["image_size"],
            patch_size=vision["patch_size"],
            hidden_size=vision["hidden_size"],
            intermediate_size=vision["intermediate_size"],
            layers=vision["num_hidden_layers"] - 1,
            heads=vision["num_attention_heads"],
        ),
        video=VideoConfig(pool=pool, newline=newline, camera=False),
        language=LanguageConfig(
            vocab_size=language["vocab_size"],
            hidden_size=language["hidden_size"],
            intermediate_size=language["intermediate_size"],
            layers=language["num_hidden_layers"],
            heads=language["num_attention_heads"],
            kv_heads=language["num_key_value_heads"],
            position_token=1,
            orientation_token=2,
            stop_tokens=(0,),
            repetition_penalty=1.0,
        ),
    )
    model = empty_model(config)
    weights = reference["weights"]
    names = map_names({name: tuple(tensor.shape) for name, tensor in weights.items()}, shapes_of(model))
    model.load_state_dict({names[key]: value for key, value in weights.items()}, strict=False, assign=True)
    return model.eval()


def reference_embeddings(reference, model):
    pixels = reference["arrays"]["frames_384"].permute(0, 3, 1, 2).float().div(255).sub(0.5).div(0.5)
    ids = reference["arrays"]["input_ids"][0]
    video = int((ids == -200).nonzero())
    before, after = (model.language.embed_tokens(part)[None] for part in (ids[:video], ids[video + 1 :]))
    return torch.cat((before, model.video_tokens(pixels[None], None), after), dim=1)


@pytest.mark.shared_data
@torch.no_grad()
def test_parity_with_the_public_implementation(reference):
    arrays, model = reference["arrays"], reference_model(reference)
    pixels = arrays["frames_384"].permute(0, 3, 1, 2).float().div(255).sub(0.5).div(0.5)
    torch.testing.assert_close(model.vision(pixels[:1])[0], arrays["tower_frame0"], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(model.encode_frames(pixels), arrays["pooled"], atol=TOLERANCE, rtol=0)
    embeddings = reference_embeddings(reference, model)
    torch.testing.assert_close(embeddings[0], arrays["embeds_bilinear_grid"], atol=TOLERANCE, rtol=0)
    hidden, _ = model.language(embeddings)
    logits = model.language.logits(hidden)[0]
    torch.testing.assert_close(logits, arrays["logits_bilinear_grid"], atol=TOLERANCE, rtol=0)
    assert list(generate(model.language, embeddings, max_tokens=8, stop=False)) == reference["greedy"]


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("pool", "newline"),
    [("average", "grid"), ("bilinear", "one_token"), ("bilinear", "frame"), ("bilinear", "no_token")],
)
@torch.no_grad()
def test_parity_of_the_other_layouts(reference, pool, newline):
    model = reference_model(reference, pool, newline)
    hidden, _ = model.language(reference_embeddings(reference, model))
    expected = reference["arrays"][f"logits_last_{pool}_{newline}"].reshape(-1)
    torch.testing.assert_close(model.language.logits(hidden[0, -1]), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.shared_data
def test_kinds_of_tokens_are_where_the_layout_says(reference):
    kind = reference["arrays"]["kind"]
    layout = reference_model(reference).config.layout
    frames = len(reference["arrays"]["frames_384"])
    start = int((reference["arrays"]["input_ids"][0] == -200).nonzero())
    patches = layout.patch_indices(frames, start).reshape(-1)
    newlines = (start + np.arange(frames)[:, None] * layout.tokens_per_frame + layout.newline_offsets()).reshape(-1)
    assert (kind[patches] == 1).all() and (kind[newlines] == 2).all()
    assert len(patches) + len(newlines) == int((kind != 0).sum())


@pytest.mark.shared_data
def test_the_7b_has_the_official_tensors_and_ours(shared):
    expected = json.loads((shared / "fixtures" / "llava_video" / "llava_video_7b_expected_keys.json").read_text())
    ours = shapes_of(empty_model(preset("7b")))
    names = map_names({name: tuple(shape) for name, shape in expected.items()}, ours)
    assert len(names) == len(set(names.values())) == 765
    assert {name: ours[name] for name in set(ours) - set(names.values())} == {
        "camera.0.weight": (3584, 768),
        "camera.0.bias": (3584,),
        "camera.2.weight": (3584, 3584),
        "camera.2.bias": (3584,),
        "heads.layout.weight": (4, 3584),
        "heads.layout.bias": (4,),
        "heads.position.0.weight": (3584, 3584),
        "heads.position.0.bias": (3584,),
        "heads.position.2.weight": (4, 3584),
        "heads.position.2.bias": (4,),
        "heads.orientation.0.weight": (3584, 3584),
        "heads.orientation.0.bias": (3584,),
        "heads.orientation.2.weight": (36, 3584),
        "heads.orientation.2.bias": (36,),
    }


@torch.no_grad()
@pytest.mark.parametrize("newline", ["grid", "frame", "one_token", "no_token"])
@pytest.mark.parametrize("camera", [True, False])
def test_tokens_stand_where_the_layout_says(build_model, make_batch, newline, camera):
    model = build_model(newline=newline, camera=camera)
    batch, layout = make_batch(model), model.config.layout
    tokens = model.video_tokens(batch.pixels, batch.camera)
    assert tokens.shape[1] == layout.video_tokens(3)
    patches = model.encode_frames(batch.pixels.flatten(0, 1)).unflatten(0, (2, 3))
    torch.testing.assert_close(tokens[:, layout.patch_indices(3)], patches)
    if camera:
        torch.testing.assert_close(tokens[:, layout.camera_indices(3)], model.camera(batch.camera))
    for offset in layout.newline_offsets():
        assert torch.equal(tokens[:, offset], model.newline.expand(2, -1))
    for tail in range(layout.tail_tokens):
        assert torch.equal(tokens[:, -1 - tail], model.newline.expand(2, -1))


@torch.no_grad()
def test_a_batch_equals_the_robots_way(build_model, make_batch):
    model = build_model()
    batch = make_batch(model)
    predicted = model(batch)
    _, cache = model.language(model.language.embed_tokens(batch.prefix)[None])
    layouts = []
    for pixels, camera in zip(batch.pixels[0], batch.camera[0], strict=True):
        frame = model.frame_tokens(model.encode_frames(pixels[None]), camera[None])
        hidden, cache = model.language(frame, cache)
        layouts.append(model.heads.layout_of(hidden[0, model.config.layout.patch_offsets()]).mean)
    hidden, _ = model.language(model.language.embed_tokens(batch.text[:1]), cache)
    torch.testing.assert_close(predicted.text_hidden[:1], hidden, atol=1e-4, rtol=0)
    torch.testing.assert_close(predicted.layout.mean[0], torch.stack(layouts), atol=1e-4, rtol=0)
    torch.testing.assert_close(predicted.position.mean[0], model.heads.position_of(hidden[0, 3]).mean)
    torch.testing.assert_close(predicted.heading_logits[0], model.heads.heading_logits(hidden[0, 4]))


@torch.no_grad()
@pytest.mark.parametrize("missing", [[2], [0], [0, 1]])
def test_padded_frames_change_nothing(build_model, make_batch, missing):
    model = build_model()
    mask = torch.ones(2, 3, dtype=torch.bool)
    mask[0, missing] = False
    batch = make_batch(model, frame_mask=mask)
    padded = model(batch)
    kept = [frame for frame in range(3) if frame not in missing]
    alone = model(
        replace(
            batch,
            pixels=batch.pixels[:1, kept],
            camera=batch.camera[:1, kept],
            text=batch.text[:1],
            text_lengths=batch.text_lengths[:1],
            frame_mask=None,
        )
    )
    torch.testing.assert_close(padded.position.mean[:1], alone.position.mean, atol=1e-4, rtol=0)
    torch.testing.assert_close(padded.layout.mean[:1, kept], alone.layout.mean, atol=1e-4, rtol=0)
    assert torch.isfinite(padded.layout.mean).all()


@torch.no_grad()
def test_padded_text_changes_nothing(build_model, make_batch):
    model = build_model()
    batch = make_batch(model)
    other = batch.text.clone()
    other[0, 7:] = 0
    predicted, changed = model(batch), model(replace(batch, text=other, text_lengths=torch.tensor([7, 9])))
    torch.testing.assert_close(predicted.text_hidden[0, :7], changed.text_hidden[0, :7])


def test_a_training_step_reaches_every_parameter(build_model, make_batch):
    model = build_model(std=0.05).train()
    batch = make_batch(model, frame_mask=torch.tensor([[True, True, False], [True, True, True]]))
    predicted = model(batch)
    where = torch.full((2, 3, 9, 2), torch.nan)
    valid = torch.rand(2, 3, 9) < 0.5
    where[valid] = 1.0
    labels = batch.text.clone()
    labels[:, :5] = IGNORED
    everyone = torch.ones(2, dtype=torch.bool)
    total = Losses(
        language_loss(model.language, predicted.text_hidden[:, :-1], labels[:, 1:]),
        place_nll(predicted.layout, where, valid & batch.frame_mask[..., None]),
        place_nll(predicted.position, torch.ones(2, 2), everyone),
        heading_divergence(predicted.heading_logits, torch.ones(2), everyone, LossWeights().heading_sigma),
    ).total(LossWeights())
    total.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
            # softmax does not feel what is added to every key
            assert (parameter.grad != 0).any() or name.endswith("k_proj.bias"), name
        else:
            assert name.startswith("vision.post_layernorm")
