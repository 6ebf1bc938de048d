"""The pose prior's recurrent state: it looks at every frame and learns from keyframes alone.

The model was trained on clips whose every frame the prior had seen; here the clip is the keyframes. A frame that does
not become one is located by the state of the keyframes and leaves no trace in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loc3r_ros import geometry
from loc3r_ros.engines import EngineSet
from loc3r_ros.engines.protocol import Array, Buffer, Value
from loc3r_ros.errors import EngineError
from loc3r_ros.interface import FloatArray, ImageArray


@dataclass(frozen=True)
class Sighting:
    """What the prior says of a frame.

    Attributes:
        camera_token: (1, width), as the language model takes it.
        world_t_camera: (4, 4); `world` is roughly the first keyframe's camera.
    """

    camera_token: Array
    world_t_camera: FloatArray


class PosePriorTracker:
    """Runs the pose prior from keyframe to keyframe; for one thread."""

    def __init__(self, engines: EngineSet) -> None:
        self._engine = engines.pose_prior
        shapes, specs = engines.manifest.pose_prior.state, engines.pose_prior.spec.inputs
        self._state, self._proposal = (
            {name: engines.backend.allocate(shape, specs[name].dtype) for name, shape in shapes.items()}
            for _ in range(2)
        )
        self.count = 0

    def look(self, picture: ImageArray) -> Sighting:
        """Look at a frame; `learn` makes what it proposes the state.

        Args:
            picture: (H, W, 3) uint8 RGB of the pose prior's size.

        Raises:
            EngineError: it gave a pose that is not finite; the state is as it was.
        """
        into: dict[str, Buffer] = {f"new_{name}": buffer for name, buffer in self._proposal.items()}
        inputs: dict[str, Value] = {"image": picture, **self._state, "is_first": np.array([self.count == 0])}
        outputs = self._engine.run(inputs, into)
        pose = outputs["world_t_camera"].astype(np.float64)
        if not np.isfinite(pose).all():
            raise EngineError(
                "The pose prior gave a pose that is not finite, so the frame was dropped. If this happens with fp16 "
                "engines, export them with --precision fp32."
            )
        # Single precision is not a rotation to the last digit, and anchors chain poses without end.
        rigid = geometry.from_position_quaternion(*geometry.to_position_quaternion(pose))
        return Sighting(outputs["camera_token"], rigid)

    def learn(self) -> None:
        """Keep what the last look proposed: its frame became a keyframe."""
        self._state, self._proposal = self._proposal, self._state
        self.count += 1

    def state(self) -> dict[str, Array]:
        """Return a copy of the state."""
        return {name: buffer.read() for name, buffer in self._state.items()}

    def restore(self, state: dict[str, Array], count: int) -> None:
        """Go on from a saved state, which has seen `count` keyframes."""
        for name, buffer in self._state.items():
            buffer.write(state[name])
        self.count = count
