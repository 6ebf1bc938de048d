import numpy as np

from loc3r_ros.data.dense import CLASSES, COLOUR_NAMES, UNKNOWN, dense_targets, normals
from loc3r_ros.world.furniture import CATEGORIES
from loc3r_ros.world.scene import Surface

CELLS, PIXELS = 18, 7.0


def middles():
    return ((np.arange(CELLS) + 0.5) * PIXELS).astype(int)


def test_targets_are_those_of_the_pixel_in_the_middle(sample):
    targets = dense_targets(sample, CELLS, PIXELS)
    at = middles()
    shown = sample.frames.segmentation[:, at][:, :, at]
    np.testing.assert_array_equal(targets.depth, sample.frames.depth[:, at][:, :, at])
    for code, category, colour in zip(shown.flat, targets.category.flat, targets.colour.flat, strict=True):
        if code >= 0:
            item = sample.scene.furniture[code]
            assert (CLASSES[category], COLOUR_NAMES[colour]) == (item.category, item.colour)
        else:
            assert CLASSES[category] == Surface(code).name.lower() and colour == UNKNOWN
    assert len(set(shown.flat)) > 5


def test_normals_are_those_of_floor_walls_and_ceiling(sample):
    targets = dense_targets(sample, CELLS, PIXELS)
    world = np.einsum("nij,nrcj->nrci", sample.world_t_camera[:, :3, :3], targets.normal)
    known = (targets.normal != 0).any(-1)
    np.testing.assert_allclose(np.linalg.norm(targets.normal[known], axis=-1), 1, atol=1e-5)
    floor, ceiling, wall = (known & (targets.category == len(CATEGORIES) + number) for number in range(3))
    assert floor.sum() > 50 and wall.sum() > 50
    assert np.median(np.abs(world[floor] - [0, 0, 1]).max(-1)) < 1e-3
    assert np.percentile(world[floor][:, 2], 5) > 0.99
    assert np.median(np.abs(world[wall][:, 2])) < 1e-3
    if ceiling.any():
        assert np.median(world[ceiling][:, 2]) < -0.99
    assert known.mean() > 0.7


def test_a_tilted_plane_and_an_edge():
    focal, size = 20.0, 16
    matrix = np.array([[focal, 0, 7.5], [0, focal, 7.5], [0, 0, 1]])
    v, u = np.mgrid[:size, :size]
    ray = np.stack([(u - 7.5) / focal, (v - 7.5) / focal, np.ones((size, size))], -1)
    normal = np.array([0.3, -0.2, -1.0])
    normal /= np.linalg.norm(normal)
    depth = (-2.0 / (ray @ normal)).astype(np.float32)
    everywhere = np.arange(size)
    found = normals(depth[None], matrix, everywhere)[0]
    np.testing.assert_allclose(found[1:-1, 1:-1], np.broadcast_to(normal, (14, 14, 3)), atol=2e-3)
    assert (found[0] == 0).all() and (found[:, -1] == 0).all()
    depth[:, 8:] += 1.0
    stepped = normals(depth[None], matrix, everywhere)[0]
    assert (stepped[:, 7:9] == 0).all() and (stepped[1:-1, 2:6] != 0).any(-1).all()
    depth[5, 5] = 0.0
    assert (normals(depth[None], matrix, everywhere)[0][4:7, 5] == 0).all()
