import numpy as np

from loc3r_ros.data.scenes import SceneTruth, make_scene_video
from loc3r_ros.world.bev import patch_targets
from loc3r_ros.world.sample import make_sample


def test_a_scene_is_that_of_the_world(scene):
    sample = make_sample(7, frames=12, width=64, height=64)
    np.testing.assert_array_equal(scene.rgb, sample.frames.rgb)
    assert [one.text for one in scene.truth.situations] == [one.text for one in sample.situations]
    assert scene.truth.questions == sample.questions
    for ours, theirs in zip(scene.truth.situations, sample.situations, strict=True):
        np.testing.assert_allclose(ours.pose, theirs.pose)


def test_patches_end_where_the_vision_tower_stops_looking(scene):
    sample = make_sample(7, frames=12, width=64, height=64)
    expected = patch_targets(sample.frames.depth[:, :63, :63], sample.anchor_t_camera, sample.camera_matrix, (5, 5))
    np.testing.assert_array_equal(scene.truth.layout, expected.position)
    np.testing.assert_array_equal(scene.truth.layout_valid, expected.valid)
    whole = make_scene_video(7, frames=12, size=64, patches=4, patch_pixels=16.0)
    assert whole.truth.layout.shape == (12, 4, 4, 2)


def test_text_survives_json(scene):
    truth = scene.truth
    again = SceneTruth.from_parts(truth.text_to_json(), truth.layout, truth.layout_valid)
    assert (again.seed, again.situations, again.questions) == (truth.seed, truth.situations, truth.questions)
    assert truth.questions[0].cues and truth.situations
