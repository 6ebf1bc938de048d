"""CUT3R, the pose prior of the paper: our own implementation, with the names and numbers of the official one.

The official weights are for non-commercial use (CC BY-NC-SA 4.0); users fetch them themselves.
"""

from loc3r_ros.model.cut3r.checkpoint import CUT3R_224_LINEAR, CUT3R_512_DPT, load_cut3r_checkpoint
from loc3r_ros.model.cut3r.network import Cut3R, Cut3RState, FramePrediction
from loc3r_ros.model.cut3r.step import Cut3RStep

__all__ = [
    "CUT3R_224_LINEAR",
    "CUT3R_512_DPT",
    "Cut3R",
    "Cut3RState",
    "Cut3RStep",
    "FramePrediction",
    "load_cut3r_checkpoint",
]
