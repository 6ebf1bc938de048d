"""Where surfaces lie that cells show, and which way they face."""

import math

import pytest
import torch

from loc3r_ros.train.surfaces import cell_rays, facing, facing_of_patches, lying, things_in_patches

AHEAD = torch.tensor([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Optical axes, in its columns, of a level camera that looks along x."""
TOWARDS, UP = (0.0, 0.0, -1.0), (0.0, -1.0, 0.0)
"""Normals in optical axes: of a wall straight ahead, and of the floor."""


def cameras(first: float, *turns: float) -> torch.Tensor:
    """Return (1, N, 4, 4) level cameras: the first one's heading, and the turns of all others from it."""
    poses = torch.eye(4).repeat(1, len(turns) + 1, 1, 1)
    for number, heading in enumerate([first, *(first + turn for turn in turns)]):
        cosine, sine = math.cos(heading), math.sin(heading)
        poses[0, number, :3, :3] = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]]) @ AHEAD
    return poses


@pytest.mark.parametrize("first", [0.0, 1.0, -2.5])
def test_a_wall_faces_the_camera_and_a_floor_no_way(first):
    normal = torch.tensor([TOWARDS, UP, (0.0, 0.0, 0.0)]).expand(1, 2, 1, 3, 3)
    seen = facing(normal, cameras(first, math.pi / 2))
    torch.testing.assert_close(seen[0, 0, 0], torch.tensor([[-1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(seen[0, 1, 0], torch.tensor([[0.0, -1.0], [0.0, 0.0], [0.0, 0.0]]), atol=1e-6, rtol=0)


def test_a_camera_that_looks_down_sees_the_same_wall():
    pitch = 0.4
    tilt = torch.tensor(
        [[1.0, 0.0, 0.0], [0.0, math.cos(pitch), -math.sin(pitch)], [0.0, math.sin(pitch), math.cos(pitch)]]
    )
    poses = cameras(0.7)
    poses[0, 0, :3, :3] = poses[0, 0, :3, :3] @ tilt
    normal = (tilt.T @ torch.tensor(TOWARDS)).expand(1, 1, 1, 1, 3)
    torch.testing.assert_close(facing(normal, poses).flatten(), torch.tensor([-1.0, 0.0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("first", [0.0, 1.0, -2.5])
def test_what_a_camera_sees_lies_ahead_of_where_it_stands(first):
    poses = cameras(first, 0.0, math.pi / 2)
    ahead = torch.tensor([math.cos(first), math.sin(first), 0.0])
    poses[0, :, :3, 3] = torch.tensor([5.0, -3.0, 1.2]) + torch.outer(torch.tensor([0.0, 2.0, 2.0]), ahead)
    rays = torch.tensor([[[0.0, 0.0, 1.0], [0.5, 0.3, 1.0]]]).expand(2, 2, 3)
    seen = lying(torch.full((1, 3, 2, 2), 4.0, dtype=torch.float16), poses, rays)
    expected = torch.tensor([[[4.0, 0.0], [4.0, -2.0]], [[6.0, 0.0], [6.0, -2.0]], [[2.0, 4.0], [4.0, 4.0]]])
    torch.testing.assert_close(seen[0, :, 0], expected, atol=1e-5, rtol=0)


def test_rays_go_through_the_middles_of_cells():
    rays = cell_rays(size=100, cells=3, cell_pixels=20.0)
    focal = 50.0 / math.tan(math.radians(40.0))
    assert rays.shape == (3, 3, 3) and (rays[..., 2] == 1).all()
    torch.testing.assert_close(rays[1, 2, :2], torch.tensor([(50 - 49.5) / focal, (30 - 49.5) / focal]))


def test_a_patch_faces_as_its_cells_do_on_average():
    cells = torch.zeros(1, 1, 5, 5, 2)
    cells[..., :2, :2, 0] = 1.0  # all of the first patch
    cells[..., 2, 2, 1] = -1.0  # a quarter of the last
    cells[..., 4, :, :] = 9.0  # below all patches
    patches = facing_of_patches(cells, patches=2, pixels=2.0)
    assert patches.shape == (1, 1, 4, 2)
    torch.testing.assert_close(patches[0, 0], torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, -0.25]]))


def test_a_patch_lies_where_the_thing_does_that_most_of_its_cells_show():
    thing = torch.full((1, 1, 5, 5), -1)
    thing[0, 0, 0, :2] = 7  # two cells of the first patch
    thing[0, 0, 1, 0] = 3  # and one of another thing
    thing[0, 0, 2, 2] = 0  # a quarter of the last patch
    thing[0, 0, 4, :] = 5  # below all patches
    where = torch.stack(torch.meshgrid(torch.arange(5.0), torch.arange(5.0), indexing="ij"), dim=-1)[None, None]
    place, known = things_in_patches(thing, where, patches=2, pixels=2.0)
    assert place.shape == (1, 1, 4, 2) and known.tolist() == [[[True, False, False, True]]]
    torch.testing.assert_close(place[0, 0, [0, 3]], torch.tensor([[0.0, 0.5], [2.0, 2.0]]))
