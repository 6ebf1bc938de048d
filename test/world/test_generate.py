"""Scenes: deterministic, spread as they should be, nothing in the way of anything."""

import collections
import itertools
import math

import numpy as np
import pytest

from loc3r_ros.world.draw import Draw
from loc3r_ros.world.furniture import CATEGORIES, MAX_SCALE, MIN_SCALE
from loc3r_ros.world.generate import MAX_AREA, MIN_AREA, draw_counts, make_scene
from loc3r_ros.world.materials import COLOURS
from loc3r_ros.world.placement import DOORWAY_DEPTH, block_of
from loc3r_ros.world.render_pack import pack
from loc3r_ros.world.scene import Mount, Surface

SCENES = 500


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(seed) for seed in range(SCENES)]


@pytest.fixture(scope="module")
def pieces(scenes):
    return [piece for scene in scenes for piece in scene.furniture]


def tables(scene):
    world = pack(scene)
    return (*world.solids, *world.materials, world.lights, world.casters, world.ambient)


def test_a_seed_gives_the_same_scene_again():
    first, second = make_scene(7), make_scene(7)
    assert first.rooms == second.rooms
    assert [(f.name, f.position, f.yaw, f.size, f.elevation) for f in first.furniture] == [
        (f.name, f.position, f.yaw, f.size, f.elevation) for f in second.furniture
    ]
    for a, b in zip(tables(first), tables(second), strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_seed_gives_another_scene():
    assert make_scene(7).rooms != make_scene(8).rooms


def test_ids_and_rooms_are_indices(scenes):
    for scene in scenes:
        assert [piece.id for piece in scene.furniture] == list(range(len(scene.furniture)))
        assert all(0 <= piece.room < len(scene.rooms) for piece in scene.furniture)


def test_areas_are_log_uniform(scenes):
    logs = np.sort([math.log(room.area / MIN_AREA) / math.log(MAX_AREA / MIN_AREA) for s in scenes for room in s.rooms])
    assert logs[0] >= -1e-9
    assert logs[-1] <= 1 + 1e-9
    distance = np.abs(logs - np.linspace(0, 1, len(logs))).max()  # Kolmogorov-Smirnov
    assert distance < 1.63 / math.sqrt(len(logs)), "1 % level"


def test_one_or_two_rooms(scenes):
    two = np.mean([len(scene.rooms) == 2 for scene in scenes])
    assert 0.28 < two < 0.42
    assert all((scene.doorway is None) == (len(scene.rooms) == 1) for scene in scenes)


def test_every_category_has_the_same_palette(pieces):
    seen = collections.defaultdict(collections.Counter)
    for piece in pieces:
        seen[piece.category][piece.colour] += 1
    for category in CATEGORIES:
        counts = np.array([seen[category][colour] for colour in COLOURS])
        expected = counts.sum() / len(COLOURS)
        chi2 = ((counts - expected) ** 2 / expected).sum()
        assert chi2 < 31.3, (category, counts)  # 11 degrees of freedom, 0.1 % level


def test_things_of_one_category_differ_in_colour(scenes):
    for scene in scenes:
        names = [piece.name for piece in scene.furniture]
        assert len(set(names)) == len(names)


def test_scales_span_the_range_in_every_category(pieces):
    for category in CATEGORIES:
        scales = np.array([piece.scale for piece in pieces if piece.category == category])
        assert scales.min() >= MIN_SCALE
        assert scales.max() <= MAX_SCALE
        low, middle, high = np.quantile(scales, (0.1, 0.5, 0.9))
        assert low < 0.72, category
        assert 0.85 < middle < 1.12, category
        assert high > 1.35, category


def test_counts_are_drawn_before_placing():
    drawn = collections.Counter()
    for seed in range(400):
        counts = draw_counts(Draw(seed, "test"), 12)
        assert sum(counts.values()) == 12
        drawn.update(counts.values())
    several = np.array([drawn[n] for n in (2, 3, 4)]) / 400
    assert (several > 0.4).all(), "each of 2, 3 and 4 in at least 4 of 10 scenes"
    assert np.ptp(several) < 0.2


def test_counts_are_spread_whatever_the_category(scenes):
    answers = {category: collections.Counter() for category in CATEGORIES}
    for scene in scenes:
        counts = collections.Counter(piece.category for piece in scene.furniture)
        for category in CATEGORIES:
            answers[category][counts[category]] += 1
    for category, counter in answers.items():
        assert all(counter[answer] >= 5 for answer in range(5)), (category, counter)
        assert max(counter) == 4


def separated(a, b):
    """Return whether a line separates two convex polygons (separating axis theorem)."""
    for polygon in (a, b):
        for edge in np.roll(polygon, -1, axis=0) - polygon:
            axis = np.array([-edge[1], edge[0]])
            if (a @ axis).max() <= (b @ axis).min() or (b @ axis).max() <= (a @ axis).min():
                return True
    return False


def overlap_in_height(a, b):
    return a.elevation < b.elevation + b.size[2] and b.elevation < a.elevation + a.size[2]


def test_nothing_stands_in_anything(scenes):
    for scene in scenes[:200]:
        solid = [piece for piece in scene.furniture if piece.mount is not Mount.FLAT]
        flat = [piece for piece in scene.furniture if piece.mount is Mount.FLAT]
        for a, b in (*itertools.combinations(solid, 2), *itertools.combinations(flat, 2)):
            if overlap_in_height(a, b):
                assert separated(a.footprint, b.footprint), (scene.seed, a.name, b.name)


def test_everything_is_inside_its_room(scenes):
    for scene in scenes:
        for piece in scene.furniture:
            room = scene.rooms[piece.room]
            low, high = piece.footprint.min(axis=0), piece.footprint.max(axis=0)
            assert (low >= np.array([room.x0, room.y0]) - 1e-9).all(), (scene.seed, piece.name)
            assert (high <= np.array([room.x1, room.y1]) + 1e-9).all(), (scene.seed, piece.name)
            assert piece.elevation >= 0
            assert piece.elevation + piece.size[2] < scene.height


def test_the_doorway_is_clear(scenes):
    checked = 0
    for scene in scenes:
        door = scene.doorway
        if door is None:
            continue
        for piece in scene.furniture:
            if piece.mount is Mount.FLAT:
                continue
            block = block_of(piece)
            beside = block.low[1] > door.y + door.width / 2 or block.high[1] < door.y - door.width / 2
            away = block.low[0] > door.x + DOORWAY_DEPTH or block.high[0] < door.x - DOORWAY_DEPTH
            assert beside or away, (scene.seed, piece.name)
            checked += 1
    assert checked > 500


def test_the_doorway_joins_both_rooms(scenes):
    for scene in scenes:
        if scene.doorway is not None:
            for room in scene.rooms:
                assert room.y0 < scene.doorway.y - scene.doorway.width / 2
                assert scene.doorway.y + scene.doorway.width / 2 < room.y1
            assert scene.rooms[0].x1 < scene.doorway.x < scene.rooms[1].x0


def test_what_hangs_or_leans_has_its_back_to_a_wall(scenes):
    for piece, scene in ((p, s) for s in scenes for p in s.furniture):
        if piece.mount in (Mount.AGAINST_WALL, Mount.ON_WALL):
            back = np.array(piece.position) - piece.world_R_furniture[:2, 0] * piece.size[0] / 2
            room = scene.rooms[piece.room]
            gaps = np.abs([back[0] - room.x0, back[0] - room.x1, back[1] - room.y0, back[1] - room.y1])
            assert gaps.min() < 0.021, (scene.seed, piece.name)


def test_the_shell_names_its_surfaces():
    codes = {code for _, code in make_scene(0).shell}
    assert codes == {Surface.FLOOR, Surface.CEILING, Surface.WALL}
