import math

import numpy as np
import pytest

from loc3r_ros.world.generate import make_scene
from loc3r_ros.world.scene import Furniture, Mount, Room, Scene
from loc3r_ros.world.viewpoints import FACING, IN_FRONT, NEAR, SIDEWARDS, Clause, Relation, Viewpoints

SIDES = {Relation.FACING: 0, Relation.LEFT: 90, Relation.RIGHT: -90, Relation.BEHIND: 180}


def one_room(*furniture):
    return Scene(0, (Room(0, 0, 6, 6),), None, 2.6, 0.5, tuple(furniture), (), ())


def thing(number, position, yaw=0.0, size=(0.4, 1.0, 1.0)):
    return Furniture("box", "red", size, Mount.AGAINST_WALL, (), position=position, yaw=yaw, id=number)


@pytest.mark.parametrize(
    ("relation", "heading_deg"),
    [(Relation.FACING, 0), (Relation.LEFT, -90), (Relation.RIGHT, 90), (Relation.BEHIND, 180)],
)
def test_sides_are_those_of_the_observer(relation, heading_deg):
    """The thing lies to the east: with it on the left one looks south."""
    viewpoints = Viewpoints(one_room(thing(0, (5.0, 3.0))))
    clause = Clause(relation, 0)
    limit = FACING if relation is Relation.FACING else SIDEWARDS
    for off, expected in ((0.0, True), (0.95 * limit, True), (-0.95 * limit, True), (1.05 * limit, False)):
        assert viewpoints.holds(clause, np.array([1.0, 3.0, math.radians(heading_deg) + off])) is expected


def test_in_front_is_at_the_front_side_and_beside_is_all_around():
    viewpoints = Viewpoints(one_room(thing(0, (3.0, 3.0), yaw=math.pi / 2)))  # its front looks north
    north, south = np.array([3.3, 3.2 + IN_FRONT - 0.05, 0.0]), np.array([3.0, 2.8 - NEAR + 0.05, 0.0])
    assert viewpoints.holds(Clause(Relation.IN_FRONT_OF, 0), north)
    assert not viewpoints.holds(Clause(Relation.IN_FRONT_OF, 0), south)
    assert not viewpoints.holds(Clause(Relation.IN_FRONT_OF, 0), north + np.array([0.5, 0, 0]))
    assert viewpoints.holds(Clause(Relation.BESIDE, 0), south)
    assert not viewpoints.holds(Clause(Relation.BESIDE, 0), south - np.array([0, 0.1, 0]))


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_a_region_is_all_poses_of_the_grid_that_satisfy_every_clause(seed):
    viewpoints = Viewpoints(make_scene(seed))
    rng = np.random.default_rng(seed)
    ids = rng.permutation(len(viewpoints.scene.furniture))[:3]
    for relation in (Relation.BESIDE, Relation.IN_FRONT_OF):
        clauses = [Clause(relation, ids[0]), Clause(Relation.FACING, ids[1]), Clause(Relation.LEFT, ids[2])]
        for some in (clauses[:2], clauses):
            region = viewpoints.region(some)
            found = {tuple(pose) for pose in region.pose}
            every = viewpoints.region(clauses[:1]).pose
            expected = {tuple(pose) for pose in every if all(viewpoints.holds(clause, pose) for clause in some)}
            assert found == expected


def test_nothing_in_another_room_is_at_any_side():
    scene = next(scene for scene in map(make_scene, range(50)) if scene.doorway is not None)
    viewpoints = Viewpoints(scene)
    item = next(item for item in scene.furniture if item.room == 1)
    other = np.array([*scene.rooms[0].centre, 0.0])
    for heading in np.linspace(-3, 3, 25):
        other[2] = heading
        assert not any(viewpoints.holds(Clause(relation, item.id), other) for relation in SIDES)
