import numpy as np
import pytest

from loc3r_ros.geometry import planar, transform_points2, world_t_anchor
from loc3r_ros.world.bev import MAX_SPREAD, anchor_poses, patch_targets
from loc3r_ros.world.camera import look
from loc3r_ros.world.scene import Surface


def naive_targets(depth, pose, matrix, grid):
    """The same with numpy, slowly."""
    height, width = depth.shape
    v, u = np.mgrid[:height, :width]
    points = (np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(matrix).T) * depth[..., None]
    points = points @ pose[:3, :3].T + pose[:3, 3]
    place, spread = np.zeros((*grid, 3)), np.zeros(grid)
    for row in range(grid[0]):
        for col in range(grid[1]):
            rows = slice(row * height // grid[0], (row + 1) * height // grid[0])
            cols = slice(col * width // grid[1], (col + 1) * width // grid[1])
            patch = points[rows, cols].reshape(-1, 3)
            place[row, col] = np.median(patch, axis=0)
            spread[row, col] = patch[:, :2].std(axis=0).max()
    return place, spread


@pytest.mark.parametrize(
    ("size", "grid"), [((48, 64), (6, 8)), ((50, 71), (7, 9)), ((27, 27), (27, 27)), ((32, 32), (1, 1))]
)
def test_patches_are_medians_for_any_size_and_grid(size, grid):
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.5, 4.0, (2, *size)).astype(np.float32)
    poses = np.array([look(*rng.normal(size=3), rng.uniform(-3, 3), 0.2) for _ in range(2)])
    matrix = np.array([[40.0, 0, size[1] / 2], [0, 41.0, size[0] / 2], [0, 0, 1]])
    targets = patch_targets(depth, poses, matrix, grid)
    for frame in range(2):
        place, spread = naive_targets(depth[frame].astype(float), poses[frame], matrix, grid)
        np.testing.assert_allclose(targets.position[frame], place[..., :2], atol=1e-5)
        np.testing.assert_allclose(targets.height[frame], place[..., 2], atol=1e-5)
        np.testing.assert_array_equal(targets.valid[frame], spread < MAX_SPREAD)


def test_patches_without_depth_or_across_an_edge_are_not_valid():
    depth = np.full((1, 8, 24), 2.0, np.float32)
    depth[0, :, 8:12] = 5.0
    depth[0, :, 16:] = [0.0] * 6 + [np.inf, np.nan]
    matrix = np.array([[24.0, 0, 11.5], [0, 24.0, 3.5], [0, 0, 1]])
    targets = patch_targets(depth, look(0, 0, 1, 0)[None], matrix, (1, 3))
    np.testing.assert_array_equal(targets.valid[0, 0], [True, False, False])
    assert np.isfinite(targets.position).all()


def test_the_anchor_lies_on_the_floor_under_the_first_camera():
    cameras = np.array([look(1.0, 2.0, 1.3, 0.7, 0.25), look(1.5, 2.0, 1.2, 1.2, 0.1)])
    poses = anchor_poses(cameras)
    np.testing.assert_allclose(poses[0, :3, 3], [0, 0, 1.3], atol=1e-12)
    np.testing.assert_allclose(poses[0, :3, 2], [np.cos(0.25), 0, -np.sin(0.25)], atol=1e-12)
    np.testing.assert_allclose(poses[0, :3, 0], [0, -1, 0], atol=1e-12)  # right is -y: y points left
    np.testing.assert_allclose(world_t_anchor(cameras[0]) @ poses[1], cameras[1], atol=1e-12)


def patches_of(sample, code):
    """Return the targets of the patches that show one thing only, in the world."""
    segmentation = sample.frames.segmentation
    frames, height, width = segmentation.shape
    rows, cols = sample.layout.valid.shape[1:]
    blocks = segmentation.reshape(frames, rows, height // rows, cols, width // cols)
    whole = (blocks == code).all(axis=(2, 4)) & sample.layout.valid
    anchor = planar(world_t_anchor(sample.world_t_camera[0]))
    return transform_points2(anchor, sample.layout.position[whole]), sample.layout.height[whole]


def test_patches_of_furniture_lie_inside_its_footprint(samples):
    checked = 0
    for sample in samples:
        for item in sample.scene.furniture:
            points, height = patches_of(sample, item.id)
            local = (points - item.position) @ item.world_R_furniture[:2, :2]
            assert (np.abs(local) <= np.array(item.size[:2]) / 2 + 0.02).all(), (sample.scene.seed, item.name)
            assert (height >= item.elevation - 0.02).all() and (height <= item.elevation + item.size[2] + 0.02).all()
            checked += len(points)
    assert checked > 2000


def test_the_floor_is_at_height_zero_and_most_patches_are_valid(samples):
    for sample in samples:
        _, height = patches_of(sample, Surface.FLOOR)
        assert len(height) > 20
        assert np.abs(height).max() < 1e-4
    assert np.mean([sample.layout.valid.mean() for sample in samples]) > 0.9
