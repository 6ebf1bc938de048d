"""Which frames to remember: a buffer of bounded size that frames are offered to, and two policies that judge them.

Motion keeps a frame once the camera has moved or turned far enough since the newest keyframe, and forgets the oldest.
Coverage keeps a frame that sees something new, and forgets the one whose view the others cover best. Frames without a
pose are judged by time and by how much the picture has changed.
"""

from loc3r_ros.keyframes.buffer import (
    JUMP_BACK,
    OUT_OF_ORDER,
    SAME_PICTURE,
    TOO_SOON,
    Counts,
    Decision,
    KeyframeBuffer,
    picture_change,
)
from loc3r_ros.keyframes.policies import NOTHING_NEW, TOO_LITTLE_MOTION, CoveragePolicy, MotionPolicy, Policy

__all__ = [
    "JUMP_BACK",
    "NOTHING_NEW",
    "OUT_OF_ORDER",
    "SAME_PICTURE",
    "TOO_LITTLE_MOTION",
    "TOO_SOON",
    "Counts",
    "CoveragePolicy",
    "Decision",
    "KeyframeBuffer",
    "MotionPolicy",
    "Policy",
    "picture_change",
]
