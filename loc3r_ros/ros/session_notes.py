"""What the node keeps of a session beside the memory: where its anchors lie in the map, and the named places."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from loc3r_ros import geometry
from loc3r_ros.alignment import Alignment
from loc3r_ros.errors import PoseError, SessionError
from loc3r_ros.interface import FloatArray

FORMAT = 1


@dataclass(frozen=True)
class RobotPose:
    """Where the robot was.

    Attributes:
        map_t_base: (4, 4).
        stamp: ns.
    """

    map_t_base: FloatArray
    stamp: int


@dataclass(frozen=True)
class Notes:
    """What is kept.

    Attributes:
        alignments: where the last few anchors lie in the map, oldest first.
        labels: names of places.
    """

    alignments: tuple[Alignment, ...] = ()
    labels: Mapping[str, RobotPose] = field(default_factory=dict)


def to_text(alignments: Sequence[Alignment], labels: Mapping[str, RobotPose]) -> str:
    """Return notes as JSON."""
    return json.dumps(
        {
            "format": FORMAT,
            "anchors": [
                {
                    "id": item.anchor_id,
                    "map_t_anchor": item.target_t_anchor.tolist(),
                    "scale": item.scale,
                    "covariance": item.covariance.tolist(),
                    "reason": item.reason,
                }
                for item in alignments
            ],
            "labels": {
                name: {"map_t_base": place.map_t_base.tolist(), "stamp": place.stamp} for name, place in labels.items()
            },
        }
    )


def from_text(text: str) -> Notes:
    """Return the notes of a JSON text; an empty one has none.

    Raises:
        SessionError: it is no such text.
    """
    if not text:
        return Notes()
    try:
        values = json.loads(text)
        if values["format"] != FORMAT:
            raise SessionError("The map and the labels of this session were saved by another version of loc3r_ros.")
        labels = {
            str(name): RobotPose(geometry.check_pose(place["map_t_base"], f"The place '{name}'"), int(place["stamp"]))
            for name, place in values["labels"].items()
        }
        return Notes(tuple(_alignment(item) for item in values["anchors"]), labels)
    except (KeyError, TypeError, ValueError, AttributeError, PoseError) as error:
        raise SessionError(f"The map and the labels of this session are damaged: {error!r}.") from error


def _alignment(item: Mapping[str, Any]) -> Alignment:
    pose, covariance = np.array(item["map_t_anchor"], float), np.array(item["covariance"], float)
    scale = float(item["scale"])
    if pose.shape != (3,) or covariance.shape != (4, 4) or not scale > 0.0:
        raise ValueError(f"anchor {item['id']}")
    if not (np.isfinite(pose).all() and np.isfinite(covariance).all()):
        raise ValueError(f"anchor {item['id']} has numbers that are not finite")
    return Alignment(int(item["id"]), pose, scale, covariance, has_odometry=False, reason=str(item["reason"]))
