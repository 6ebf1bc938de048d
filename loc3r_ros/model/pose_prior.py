"""What Loc3R-VLM asks of a pose prior: a network that sees the frames in turn and knows where each was taken.

CUT3R is the paper's choice (`loc3r_ros.model.cut3r`); another foundation model such as VGGT takes its place by
offering the same three members. The state is the prior's own affair: a fixed set of tensors for a recurrent network,
a cache or a window of frames for one that is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from torch import Tensor

StateT = TypeVar("StateT")


@dataclass(frozen=True)
class Capabilities:
    """What a pose prior can do.

    Attributes:
        token_dim: length of the camera token.
        patch_size: height and width of an image must be multiples of it.
        metric: translations are in metres; otherwise they have an unknown scale.
        constant_memory: the state does not grow with the number of frames.
        point_maps: it can also predict a 3D point for each pixel, which training may use.
    """

    token_dim: int
    patch_size: int
    metric: bool
    constant_memory: bool
    point_maps: bool


class Observation(NamedTuple):
    """What a pose prior says of one frame.

    Attributes:
        camera_token: (B, token_dim).
        world_t_camera: (B, 4, 4) camera pose with optical axes (x right, y down, z forward). `world` is the frame of
            the sequence's first camera, as the network sees it: the pose of the first frame is predicted too and need
            not be exactly the identity.
    """

    camera_token: Tensor
    world_t_camera: Tensor


@runtime_checkable
class PosePrior(Protocol[StateT]):
    """A network that watches a video frame by frame."""

    @property
    def capabilities(self) -> Capabilities:
        """What this prior can do."""
        ...

    def initial_state(self, batch_size: int = 1) -> StateT:
        """Return the state before the first frame."""
        ...

    def step(self, image: Tensor, state: StateT) -> tuple[Observation, StateT]:
        """Look at the next frame, a pure function: `state` is not changed, and who keeps it has not seen the frame.

        Args:
            image: (B, 3, H, W) RGB in [-1, 1].
            state: what `initial_state` or the last step returned.
        """
        ...
