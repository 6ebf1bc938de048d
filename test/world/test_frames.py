"""Frame conventions on rendered pictures: things are where every transform from the map to the pixel says.

A robot stands in a rendered room: map -> odom (drifted) -> base_link -> camera_link (mounted beside the middle, pitched
down and rolled) -> camera_optical_frame. The furniture is known in the map, its pixels by the segmentation.
"""

import itertools
import math

import numpy as np
import pytest

from loc3r_ros import geometry
from loc3r_ros.bags import Track, TransformTree
from loc3r_ros.world.bev import anchor_poses, patch_targets
from loc3r_ros.world.generate import make_scene
from loc3r_ros.world.render import Renderer
from loc3r_ros.world.walk import make_walk

WIDTH, HEIGHT, FOCAL = 160, 120, 120.0
K = np.array([[FOCAL, 0, WIDTH / 2 - 0.5], [0, FOCAL, HEIGHT / 2 - 0.5], [0, 0, 1]])  # pixel centres at whole numbers
SEEDS = (1_200_001, 1_200_002)
FRAMES = 8
PERIOD = 100_000_000
BASE_T_CAMERA_LINK = geometry.from_position_rpy([0.15, -0.08, 1.2], 0.06, 0.2, 0.3)
MANY = 40
"""Pixels from which on a thing counts as seen."""


class Drive:
    """A robot that is driven along a walk, what it sees, and its transforms."""

    def __init__(self, seed):
        self.scene = make_scene(seed)
        renderer = Renderer(self.scene)
        walk = make_walk(self.scene, renderer, FRAMES)
        ground = np.column_stack([walk.position[:, :2], walk.yaw])
        self.map_t_base = np.array([geometry.from_planar(pose) for pose in ground])
        self.stamps = np.arange(FRAMES) * PERIOD
        self.tree = self.make_tree()
        self.map_t_optical = np.array([self.lookup("map", "camera_optical_frame", i) for i in range(FRAMES)])
        self.frames = renderer.render(self.map_t_optical, WIDTH, HEIGHT, FOCAL)

    def make_tree(self):
        """Odometry drifts, and the correction takes the drift back, as the node publishes it."""
        drift = [geometry.from_planar([1.0 + 0.1 * i, -0.5, 0.8 + 0.05 * i]) for i in range(FRAMES)]
        odom_t_base = np.array([geometry.invert(d) @ base for d, base in zip(drift, self.map_t_base, strict=True)])
        return TransformTree(
            {
                "odom": Track("map", "odom", self.stamps, np.array(drift)),
                "base_link": Track("odom", "base_link", self.stamps, odom_t_base),
            },
            {
                "camera_link": ("base_link", BASE_T_CAMERA_LINK),
                "camera_optical_frame": ("camera_link", geometry.CAMERA_LINK_T_OPTICAL),
            },
        )

    def lookup(self, target, source, frame):
        return self.tree.lookup(target, source, int(self.stamps[frame]))

    def sightings(self):
        """Yield (frame, furniture, (N, 2) pixels u v, (N,) depths) of everything that is seen."""
        for frame in range(FRAMES):
            for thing in self.scene.furniture:
                rows, columns = np.nonzero(self.frames.segmentation[frame] == thing.id)
                if len(rows) >= MANY:
                    yield frame, thing, np.column_stack([columns, rows]), self.frames.depth[frame, rows, columns]


@pytest.fixture(scope="module", params=SEEDS)
def drive(request):
    return Drive(request.param)


def box_of(thing):
    """Return map_t_thing, its origin in the middle of the bounding box, and the half sizes."""
    return geometry.make_pose(thing.world_R_furniture, thing.centre), np.array(thing.size) / 2


def corners_of(thing):
    """Return the (8, 3) corners of the bounding box in the map."""
    map_t_thing, half = box_of(thing)
    return geometry.transform_points(map_t_thing, half * np.array(list(itertools.product([-1, 1], repeat=3))))


def rays(pixels):
    """(N, 3) directions in the optical frame, at depth 1."""
    return np.column_stack([(pixels - K[:2, 2]) / FOCAL, np.ones(len(pixels))])


def test_there_is_enough_to_see(drive):
    assert len({thing.id for _, thing, _, _ in drive.sightings()}) >= 4


def test_pixels_and_depth_lead_through_every_frame_into_the_thing(drive):
    """Pixel -> optical -> camera_link -> base_link -> odom -> map ends inside the thing's bounding box."""
    chain = ["camera_optical_frame", "camera_link", "base_link", "odom", "map"]
    for frame, thing, pixels, depth in drive.sightings():
        points = rays(pixels) * depth[:, None]
        for here, there in itertools.pairwise(chain):
            points = geometry.transform_points(drive.lookup(there, here, frame), points)
        map_t_thing, half = box_of(thing)
        inside = np.abs(geometry.transform_points(geometry.invert(map_t_thing), points)) - half
        assert inside.max() < 0.02, (frame, thing.name)


def test_the_thing_in_the_map_leads_through_every_frame_to_its_pixels(drive):
    """Map -> odom -> base_link -> camera_link -> optical -> pixel: its bounding box frames its pixels."""
    chain = ["map", "odom", "base_link", "camera_link", "camera_optical_frame"]
    checked = 0
    for frame, thing, pixels, _ in drive.sightings():
        corners = corners_of(thing)
        for here, there in itertools.pairwise(chain):
            corners = geometry.transform_points(drive.lookup(there, here, frame), corners)
        projected, in_front = geometry.project(K, corners)
        if in_front.all():
            assert (pixels.min(axis=0) >= projected.min(axis=0) - 1).all(), (frame, thing.name)
            assert (pixels.max(axis=0) <= projected.max(axis=0) + 1).all(), (frame, thing.name)
            checked += 1
    assert checked >= 6


def test_left_of_the_camera_is_left_in_the_picture_and_up_is_up(drive):
    """REP-103: what lies wholly at y > 0 of camera_link fills columns of the left half only, z > 0 the upper rows."""
    checked = 0
    for frame, thing, pixels, _ in drive.sightings():
        corners = geometry.transform_points(drive.lookup("camera_link", "map", frame), corners_of(thing))
        assert corners[:, 0].max() > 0, "what is seen lies ahead"
        for axis, pixel, middle in ((1, 0, WIDTH / 2), (2, 1, HEIGHT / 2)):
            if (corners[:, axis] > 0).all():
                assert pixels[:, pixel].max() <= middle, (frame, thing.name)
                checked += 1
            elif (corners[:, axis] < 0).all():
                assert pixels[:, pixel].min() >= middle - 1, (frame, thing.name)
                checked += 1
    assert checked >= 10


def test_the_birds_eye_view_leads_by_the_anchor_to_the_map(drive):
    """A patch's place in the anchor frame, moved to the map in the plane, lies in the footprint of what it shows."""
    rows, columns = HEIGHT // 10, WIDTH // 10
    targets = patch_targets(drive.frames.depth, anchor_poses(drive.map_t_optical), K, (rows, columns))
    map_t_anchor = geometry.world_t_anchor(drive.map_t_optical[0])
    places = geometry.transform_points2(geometry.planar(map_t_anchor), targets.position.reshape(-1, 2))
    places = places.reshape(targets.position.shape)
    patches = drive.frames.segmentation.reshape(FRAMES, rows, 10, columns, 10)
    checked = 0
    for thing in drive.scene.furniture:
        is_thing = ((patches == thing.id).mean(axis=(2, 4)) > 0.9) & targets.valid
        map_t_thing, half = box_of(thing)
        in_thing = geometry.transform_points2(geometry.invert2(geometry.planar(map_t_thing)), places[is_thing])
        assert (np.abs(in_thing) <= half[:2] + 0.05).all(), thing.name
        checked += len(in_thing)
    assert checked >= 30


def test_the_heading_of_the_anchor_is_that_of_the_camera(drive):
    yaw = geometry.planar(drive.map_t_base[0])[2] + 0.3  # the camera is mounted turned to the left
    assert abs(geometry.angle_difference(geometry.camera_heading(drive.map_t_optical[0]), yaw)) < math.radians(2)


def test_a_swapped_axis_or_a_forgotten_drift_would_be_noticed(drive):
    """The checks above can fail: two usual mistakes move the points out of the things."""
    mirrored = geometry.CAMERA_LINK_T_OPTICAL @ np.diag([-1.0, -1, 1, 1])
    for mistake in (
        lambda i: drive.lookup("odom", "camera_optical_frame", i),
        lambda i: drive.lookup("map", "camera_link", i) @ mirrored,
    ):
        worst = 0.0
        for frame, thing, pixels, depth in drive.sightings():
            points = geometry.transform_points(mistake(frame), rays(pixels) * depth[:, None])
            map_t_thing, half = box_of(thing)
            outside = np.abs(geometry.transform_points(geometry.invert(map_t_thing), points)) - half
            worst = max(worst, outside.max())
        assert worst > 0.5
