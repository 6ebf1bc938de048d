"""Shared by the tests of the model: one thread, and models with fixed random weights."""

from dataclasses import replace

import pytest
import torch

from loc3r_ros.model.config import preset
from loc3r_ros.model.loc3r import Loc3R, VideoBatch


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def build_model():
    """Return a function that builds a model with weights large enough for every part to matter."""

    def build(name="tiny", seed=0, std=0.2, **video):
        config = preset(name)
        torch.manual_seed(seed)
        model = Loc3R(replace(config, video=replace(config.video, **video))).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=std)
        return model

    return build


@pytest.fixture
def make_batch():
    """Return a function that makes a random batch for a model; each text holds `<Pos>` and `<Ori>`."""

    def make(model, videos=2, frames=3, prefix=5, length=9, seed=1, frame_mask=None):
        generator = torch.Generator().manual_seed(seed)
        config = model.config
        side = config.vision.image_size
        text = torch.randint(5, config.language.vocab_size, (videos, length), generator=generator)
        text[:, 3], text[:, 4] = config.language.position_token, config.language.orientation_token
        camera = torch.randn(videos, frames, config.pose_prior.camera_dim, generator=generator)
        return VideoBatch(
            prefix=torch.randint(5, config.language.vocab_size, (prefix,), generator=generator),
            pixels=torch.rand(videos, frames, 3, side, side, generator=generator) * 2 - 1,
            camera=camera if config.video.camera else None,
            text=text,
            text_lengths=torch.full((videos,), length),
            frame_mask=frame_mask,
        )

    return make
