import numpy as np

from loc3r_ros.data.scenes import SceneTruth, make_truth, mirrored, swap_sides
from loc3r_ros.world.bev import patch_targets
from loc3r_ros.world.sample import make_sample


def test_truth_is_that_of_the_world(truth):
    sample = make_sample(7, frames=12, width=64, height=64)
    assert truth.seed == 7
    assert [one.text for one in truth.situations] == [one.text for one in sample.situations]
    assert truth.questions == sample.questions
    for ours, theirs in zip(truth.situations, sample.situations, strict=True):
        np.testing.assert_allclose(ours.pose, theirs.pose)


def test_patches_end_where_the_vision_tower_stops_looking():
    whole, part = (make_sample(7, frames=3, width=64, height=64, grid=(5, 5), extent=extent) for extent in (None, 63))
    seen = whole.frames.depth[:, :63, :63]
    expected = patch_targets(seen, whole.anchor_t_camera, whole.camera_matrix, (5, 5))
    np.testing.assert_array_equal(make_truth(part).layout, expected.position)
    np.testing.assert_array_equal(make_truth(part).layout_valid, expected.valid)
    assert not np.array_equal(whole.layout.position, expected.position)


def test_text_survives_json(truth):
    again = SceneTruth.from_parts(truth.text_to_json(), truth.layout, truth.layout_valid)
    assert (again.seed, again.situations, again.questions) == (truth.seed, truth.situations, truth.questions)
    assert truth.questions[0].cues and truth.situations


def test_a_mirror_swaps_sides_in_words_poses_and_places(truth):
    other = mirrored(truth)
    again = mirrored(other)
    assert (again.situations, again.questions) == (truth.situations, truth.questions)
    np.testing.assert_array_equal(again.layout, truth.layout)
    np.testing.assert_array_equal(other.layout[:, :, 0], truth.layout[:, :, -1] * [1, -1])
    assert other.situations[0].pose[1:] == tuple(-value for value in truth.situations[0].pose[1:])


def test_right_before_something_is_no_side():
    assert swap_sides("On my right is the sofa, I am right in front of it.") == (
        "On my left is the sofa, I am right in front of it."
    )
    assert swap_sides("The lamp is right beside me. turn left") == "The lamp is right beside me. turn right"
