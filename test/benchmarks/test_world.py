"""The benchmark of the world measures what it says."""

import math

import numpy as np

from loc3r_ros.benchmarks import world
from loc3r_ros.world.generate import make_scene


def test_cameras_stand_in_the_rooms():
    scene = make_scene(6)
    poses = world.walk_round(scene)
    assert poses.shape == (world.FRAMES, 4, 4)
    for x, y in poses[:, :2, 3]:
        assert any(room.x0 < x < room.x1 and room.y0 < y < room.y1 for room in scene.rooms)


def test_finer_frames_take_longer():
    scenes = [make_scene(0)]
    coarse, fine = world.frame_time(scenes, 32, True), world.frame_time(scenes, 128, True)
    assert 0 < coarse < fine < math.inf
    assert np.isfinite([coarse, fine]).all()
