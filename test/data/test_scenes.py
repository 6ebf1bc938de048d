import numpy as np

from loc3r_ros.data.scenes import SceneTruth, make_truth
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
    sample = make_sample(7, frames=3, width=64, height=64, grid=(5, 5))
    expected = patch_targets(sample.frames.depth[:, :63, :63], sample.anchor_t_camera, sample.camera_matrix, (5, 5))
    truth = make_truth(sample, 63)
    np.testing.assert_array_equal(truth.layout, expected.position)
    np.testing.assert_array_equal(truth.layout_valid, expected.valid)
    np.testing.assert_array_equal(make_truth(sample, 64).layout, sample.layout.position)


def test_text_survives_json(truth):
    again = SceneTruth.from_parts(truth.text_to_json(), truth.layout, truth.layout_valid)
    assert (again.seed, again.situations, again.questions) == (truth.seed, truth.situations, truth.questions)
    assert truth.questions[0].cues and truth.situations
