"""The localizers that an evaluation asks, from a folder of engines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from loc3r_ros.engines import EngineSet
from loc3r_ros.engines.manifest import Calibration
from loc3r_ros.evaluation.run import Subject
from loc3r_ros.keyframes import KeyframeBuffer, MotionPolicy
from loc3r_ros.localizer import Localizer
from loc3r_ros.prompt.template import PromptTemplate

ANSWER_TOKENS = 8
"""The longest right answer has four; whoever says more is wrong."""


def load_engines(folder: Path, calibration: Calibration | None = None) -> EngineSet:
    """Load a folder of engines that run on one core each, with another calibration if one is given.

    Raises:
        EngineError: the folder is missing, damaged, or for a backend that is not here.
    """
    engines = EngineSet.load(folder, threads=1)
    return (
        engines
        if calibration is None
        else replace(engines, manifest=replace(engines.manifest, calibration=calibration))
    )


def subject_of(engines: EngineSet, template: PromptTemplate) -> Subject:
    """Return the localizers: two that keep every frame of a video, and one that does as on the robot."""
    frames = engines.manifest.video.frames

    def keeps_all() -> Localizer:
        buffer = KeyframeBuffer(frames, MotionPolicy(min_translation=0.0, min_rotation=0.0))
        return Localizer(engines, template, buffer, answer_tokens=ANSWER_TOKENS)

    return Subject(keeps_all(), keeps_all(), Localizer(engines, template, answer_tokens=ANSWER_TOKENS))


def load_subject(folder: Path, calibration: Calibration | None = None) -> Subject:
    """Return the localizers of a folder of engines; see `load_engines`."""
    return subject_of(load_engines(folder, calibration), PromptTemplate.load(folder))
