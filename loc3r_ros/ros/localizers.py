"""Makes the localizer that the parameters ask for."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

from loc3r_ros.camera_only import CameraOnly
from loc3r_ros.errors import EngineError
from loc3r_ros.interface import LocalizerProtocol
from loc3r_ros.keyframes import CoveragePolicy, KeyframeBuffer, MotionPolicy, Policy
from loc3r_ros.resources import find_resource
from loc3r_ros.ros.parameters import Parameters

EVICTIONS = 4
"""A model forgets a quarter of its keyframes at once, because it must then read the others again."""


def engine_folder(parameters: Parameters) -> Path | None:
    """Return the folder of engines, or None where none is named.

    Raises:
        EngineError: it is not a folder.
    """
    if not parameters.engines:
        return None
    path = Path(parameters.engines).expanduser()
    folder = path if path.is_absolute() else find_resource(parameters.engines)
    if not folder.is_dir():
        raise EngineError(f"Parameter engines names '{parameters.engines}', but {folder} is not a folder.")
    return folder


def make_buffer(parameters: Parameters) -> KeyframeBuffer:
    """Return an empty keyframe buffer with the policy of the parameters."""
    policy: Policy
    if parameters.keyframe_policy == "coverage":
        policy = CoveragePolicy()
    else:
        policy = MotionPolicy(parameters.keyframe_translation, math.radians(parameters.keyframe_rotation))
    capacity = parameters.keyframe_count
    block = max(1, capacity // EVICTIONS) if parameters.engines else 1
    return KeyframeBuffer(capacity, policy, eviction_block=block, blind_interval=parameters.keyframe_interval)


def make_localizer(parameters: Parameters) -> LocalizerProtocol:
    """Load the engines that the parameters name, which may take minutes, or return one that only keeps keyframes.

    Raises:
        Loc3RError: the engines cannot be loaded, or are not made for so many keyframes.
    """
    folder = engine_folder(parameters)
    if folder is None:
        return CameraOnly(make_buffer(parameters))
    localizer: LocalizerProtocol = importlib.import_module("loc3r_ros.localizer").Localizer.load(
        folder, keyframes=make_buffer(parameters), answer_tokens=parameters.answer_tokens
    )
    return localizer
