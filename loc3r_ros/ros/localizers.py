"""Makes the localizer that the parameters ask for."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

from loc3r_ros.camera_only import CameraOnly
from loc3r_ros.errors import ConfigError, EngineError, NotReadyError
from loc3r_ros.interface import LocalizerProtocol
from loc3r_ros.keyframes import CoveragePolicy, KeyframeBuffer, MotionPolicy, Policy
from loc3r_ros.resources import find_resource
from loc3r_ros.ros.parameters import Parameters


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
    return KeyframeBuffer(parameters.keyframe_count, policy, blind_interval=parameters.keyframe_interval)


def make_localizer(parameters: Parameters) -> LocalizerProtocol:
    """Load the engines that the parameters name, which may take minutes, or return one that only keeps keyframes.

    Raises:
        EngineError: the engines cannot be loaded.
    """
    folder = engine_folder(parameters)
    if folder is None:
        return CameraOnly(make_buffer(parameters))
    localizer: LocalizerProtocol = importlib.import_module("loc3r_ros.localizer").Localizer.load(folder)
    return localizer


def resume_localizer(parameters: Parameters, path: Path) -> LocalizerProtocol:
    """Load a session that `save` wrote.

    Raises:
        NotReadyError: there is no model that could use it.
        ConfigError: there is no such file.
    """
    if not parameters.engines:
        raise NotReadyError("No model is loaded, so a session cannot be: set the parameter engines.")
    if not path.exists():
        raise ConfigError(f"There is no session file {path}.")
    localizer: LocalizerProtocol = importlib.import_module("loc3r_ros.localizer").Localizer.resume(path)
    return localizer
