"""The protocol is enough for a prior that is nothing like CUT3R."""

import pytest
import torch

from loc3r_ros.model.config import preset
from loc3r_ros.model.cut3r import Cut3R
from loc3r_ros.model.pose_prior import Capabilities, Observation, PosePrior


class WindowPrior:
    """A prior that keeps frames instead of a recurrent state: the pose counts them along x."""

    capabilities = Capabilities(token_dim=8, patch_size=1, metric=False, constant_memory=False, point_maps=False)

    def initial_state(self, batch_size=1):
        return torch.zeros(0, batch_size, 3)

    def step(self, image, state):
        state = torch.cat([state, image.mean(dim=(2, 3))[None]])
        world_t_camera = torch.eye(4).repeat(len(image), 1, 1)
        world_t_camera[:, 0, 3] = len(state) - 1
        token = torch.nn.functional.pad(state.mean(dim=0), (0, 5))
        return Observation(token, world_t_camera), state


def tiny_cut3r():
    return Cut3R(preset("tiny").pose_prior).eval()


@pytest.mark.parametrize("make", [tiny_cut3r, WindowPrior])
@torch.inference_mode()
def test_any_prior_is_driven_the_same_way(make):
    prior = make()
    assert isinstance(prior, PosePrior)
    state = prior.initial_state(2)
    observations = []
    for image in torch.rand(3, 2, 3, 32, 32):
        before = state
        observation, state = prior.step(image, state)
        observations.append(observation)
    assert observations[-1].camera_token.shape == (2, prior.capabilities.token_dim)
    assert observations[-1].world_t_camera.shape == (2, 4, 4)
    repeated, _ = prior.step(image, before)
    assert torch.equal(repeated.camera_token, observations[-1].camera_token)


def test_a_class_without_a_step_is_no_prior():
    class Half:
        capabilities = WindowPrior.capabilities

        def initial_state(self, batch_size=1):
            return None

    assert not isinstance(Half(), PosePrior)
