import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loc3r_ros.engines.manifest import VideoSpec
from loc3r_ros.evaluation.clips import load_clip
from loc3r_ros.evaluation.readers import Landmark, PerceivedMap, Reading, read, read_all, shares_of
from loc3r_ros.geometry import compose2, transform_points2, wrap_angle
from loc3r_ros.world.sample import make_sample

TRUE = np.random.default_rng(3).uniform(-3, 3, (3, 8, 2))
KNOWN = np.ones((3, 8), bool)
FRAMES = np.array([0, 2, 5])
CAMERAS = np.random.default_rng(4).uniform(-2, 2, (3, 3))
MOTIONS = st.tuples(st.floats(-4, 4), st.floats(-4, 4), st.floats(-3.1, 3.1))


def landmark(place, frame, patch, share=0.5):
    shown = np.zeros((6, 8), np.float32)
    shown[frame, patch] = share
    return Landmark(np.array(place), shown)


READING = Reading(np.array([0.5, 0.2, 0.0]), landmark((0.0, 0.0), 2, 1), landmark((3.0, 0.0), 5, 4))


def a_map(points, true=TRUE, known=KNOWN, cameras=CAMERAS):
    return PerceivedMap(FRAMES, points, true, known, cameras, CAMERAS)


def moved(*motions):
    """Keyframes that were moved with their cameras."""
    cameras = np.array([compose2(motion, camera) for motion, camera in zip(motions, CAMERAS, strict=True)])
    points = np.array([transform_points2(motion, true) for motion, true in zip(motions, TRUE, strict=True)])
    return a_map(points, cameras=cameras)


@given(MOTIONS)
def test_a_map_that_is_moved_as_a_whole_moves_its_reader(motion):
    """Things are where their patches show them: move the patches at the things themselves."""
    true = TRUE.copy()
    true[1, 1], true[2, 4] = READING.beside.place, READING.faced.place
    points = transform_points2(motion, true.reshape(-1, 2)).reshape(true.shape)
    found = read(READING, a_map(points, true))
    expected = compose2(motion, READING.pose)
    np.testing.assert_allclose(found[:2], expected[:2], atol=1e-9)
    assert abs(wrap_angle(found[2] - expected[2])) < 1e-9


@given(MOTIONS, MOTIONS, MOTIONS)
def test_keyframes_that_were_moved_are_put_back(one, two, three):
    np.testing.assert_allclose(moved(one, two, three).posed().points, TRUE, atol=1e-9)
    np.testing.assert_allclose(moved(one, two, three).with_true_cameras().points, TRUE, atol=1e-9)


def test_patches_that_are_no_place_do_not_count():
    known = KNOWN.copy()
    known[0, 5:] = False
    known[1] = False
    points = TRUE + np.array([0.5, 0.0])
    points[0, 5:] += 9.0
    posed = a_map(points, known=known).posed().points
    np.testing.assert_allclose(posed[0, :5], TRUE[0, :5], atol=1e-9)
    np.testing.assert_allclose(posed[1], points[1])  # nothing to fit: left as it is


def test_each_reader_has_its_map():
    points = TRUE.copy()
    points[1, 1] += [0.0, 1.0]  # what one is beside seems to lie a metre to the left
    perceived = a_map(points)
    found = read_all(READING, perceived, moved((0, 0, 0), (0, 0, 0), (0, 0, 0)))
    np.testing.assert_allclose(found["true_map"], READING.pose)
    np.testing.assert_allclose(found["posed_map"], READING.pose, atol=1e-9)
    turn = np.arctan2(-1, 3)
    offset = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ [0.5, 0.2]
    np.testing.assert_allclose(found["prior_map"], found["model_map"])  # its cameras are right
    np.testing.assert_allclose(found["model_map"], [offset[0], offset[1] + 1.0, turn], atol=1e-9)


def test_a_thing_is_where_the_patches_are_that_show_it_most():
    points = TRUE.copy()
    points[0, 0] += 5.0  # shows a little of it
    points[1, :3] += [[0.1, 0.0], [0.2, 0.1], [0.9, 0.2]]
    shown = np.zeros((6, 8), np.float32)
    shown[0, 0], shown[2, :3] = 0.2, (0.6, 0.9, 0.5)
    place = a_map(points).place_of(Landmark(np.array([1.0, 1.0]), shown))
    np.testing.assert_allclose(place, [1.2, 1.1], atol=1e-6)


def test_a_thing_that_only_a_patch_across_an_edge_shows():
    points, known = TRUE.copy(), KNOWN.copy()
    points[1, 3] += [0.4, -0.4]
    known[1, 3] = False
    place = a_map(points, known=known).place_of(landmark((1.0, 1.0), 2, 3))
    np.testing.assert_allclose(place, [1.4, 0.6])


def test_a_thing_that_no_patch_shows_moves_as_the_map_does():
    nothing = Landmark(np.zeros(2), np.zeros((6, 8), np.float32))
    perceived = a_map(TRUE + np.array([0.3, -0.2]))
    np.testing.assert_allclose(perceived.place_of(nothing), [0.3, -0.2])


def test_shares_of_patches():
    picture = np.full((1, 4, 5), -1, np.int16)
    picture[0, :2, :2] = 7
    picture[0, 3, 4] = 7
    np.testing.assert_allclose(shares_of(picture, 7, (2, 2)), [[1.0, 0.0, 0.0, 1 / 6]])


@pytest.fixture(scope="module")
def clip():
    return load_clip(1_100_003, 6, VideoSpec(48, 5, 5, "grid", 6, 9.6, 31))


def test_a_perfect_reader_is_as_good_as_the_words_allow(clip):
    """The true pose is one of those that the words allow; what they name is seen and lies around the observer."""
    sample = make_sample(1_100_003, frames=6, width=48, height=48, grid=(5, 5))
    assert len(clip.situations) >= 2
    for described, situation in zip(clip.situations, sample.situations, strict=True):
        reading = described.reading
        spread, turn = situation.spread, np.radians(25)
        assert np.linalg.norm(reading.pose[:2] - described.pose[:2]) <= 2 * spread + 0.2
        assert abs(wrap_angle(reading.pose[2] - described.pose[2])) < turn
        assert np.linalg.norm(reading.beside.place - described.pose[:2]) < 2.0
        bearing = np.arctan2(*(reading.faced.place - described.pose[:2])[::-1])
        assert abs(wrap_angle(bearing - described.pose[2])) < np.radians(13)
        assert min(mark.shown.max() for mark in (reading.beside, reading.faced)) > 0
