"""From the anchor frame to the odometry and the map: where an anchor lies, at what scale, and how sure that is.

The model speaks in its anchor frame, whose poses come from a pose prior (CUT3R) that may drift, jump or err in scale.
"""

from loc3r_ros.alignment.aligner import Aligner, Link
from loc3r_ros.alignment.anchors import Alignment, Located, locate
from loc3r_ros.alignment.dead_reckoning import DeadReckoning, OdometryNoise
from loc3r_ros.alignment.trajectory import align
from loc3r_ros.alignment.uncertainty import widened

__all__ = [
    "Aligner",
    "Alignment",
    "DeadReckoning",
    "Link",
    "Located",
    "OdometryNoise",
    "align",
    "locate",
    "widened",
]
