"""The node with a localizer whose answers are known, so that the way to and from a model is tested without one."""

import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from rclpy.executors import MultiThreadedExecutor

from loc3r_ros import geometry
from loc3r_ros.camera_only import CameraOnly
from loc3r_ros.errors import NotReadyError
from loc3r_ros.interface import HEADING_BINS, Layout, Place, Reply, Trajectory
from loc3r_ros.ros.lifecycle import run
from loc3r_ros.ros.localizers import make_buffer
from loc3r_ros.ros.node import THREADS, Loc3rNode

WORDS = 20
WORD_TIME = 0.05


class Scripted(CameraOnly):
    """Says that all that is described is 1 m ahead and 2 m to the left of the first keyframe, and the camera there."""

    def where_am_i(self):
        return replace(self.locate(""), pose=np.zeros(3))

    def locate(self, situation):
        keyframes = self.keyframes()
        if not keyframes:
            raise NotReadyError("No image has been seen yet.")
        if situation == "a defect":
            raise ZeroDivisionError("a defect")
        heading = np.zeros(HEADING_BINS)
        heading[[17, 18]] = 0.5  # the two bins beside 0
        return Place(
            situation, np.array([1.0, 2.0, 0.0]), np.diag([0.04, 0.09, 0.01]), heading, 0.75, 3,
            keyframes[-1].stamp, len(keyframes),
        )  # fmt: skip

    def trajectory(self):
        """The truth where there is odometry, else a camera that stands at the height of 1 m."""
        keyframes = self.keyframes()
        if not keyframes:
            raise NotReadyError("No image has been seen yet.")
        unknown = np.full((4, 4), np.nan)
        odometry = np.array([unknown if one.reference != "odom" else one.reference_t_camera for one in keyframes])
        if np.isfinite(odometry).all():
            cameras = geometry.invert(geometry.world_t_anchor(odometry[0])) @ odometry
        else:
            cameras = np.tile(
                geometry.from_planar((0, 0, 0), 1.0) @ geometry.CAMERA_LINK_T_OPTICAL, (len(odometry), 1, 1)
            )
        stamps = np.array([one.stamp for one in keyframes])
        return Trajectory(3, stamps, cameras, odometry, cameras[-1], position_sigma=0.01, heading_sigma=0.01)

    def layout(self):
        points, colour = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[255, 128, 1], [0, 0, 0]], np.uint8)
        return Layout(points, np.full((2, 2), 0.25), colour, np.array([0, 7]), 3)

    def ask(self, question, situation=""):
        raise NotImplementedError("the node streams every answer")

    def ask_stream(self, question, situation=""):
        """One piece; with "Speak." many, slowly; with "Think hard." only after seconds of pure Python."""
        place = self.locate(situation) if situation else None
        pieces = [f"word{index} " for index in range(WORDS)] if question == "Speak." else [f"You asked: {question}"]
        if question == "Think hard.":
            think(1.5)
        for piece in pieces:
            if question == "Speak.":
                time.sleep(WORD_TIME)
            yield piece
        return Reply("".join(pieces).strip(), place, 0.5, len(self.keyframes()), self.keyframes()[-1].stamp)

    def save(self, path, notes=""):
        path.write_text(notes)

    def restore(self, path, now=None):
        self.reset()
        return path.read_text()


def think(seconds):
    """Keep the interpreter busy for so long, as a model in Python would."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))


def load(parameters):
    while not (Path(parameters.session_directory) / "engines_are_loaded").exists():
        time.sleep(0.02)
    return Scripted(make_buffer(parameters))


if __name__ == "__main__":
    sys.exit(run(partial(Loc3rNode, load), partial(MultiThreadedExecutor, num_threads=THREADS), None))
