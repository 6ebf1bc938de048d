"""Rendered scenes on disk: what is kept is what the world made."""

from dataclasses import replace

import numpy as np
import pytest

from loc3r_ros.data.dense import dense_targets
from loc3r_ros.data.scenes import make_truth
from loc3r_ros.data.store import SceneStore
from loc3r_ros.world.sample import make_sample


@pytest.fixture(scope="module")
def store(tmp_path_factory, form):
    return SceneStore.open(tmp_path_factory.mktemp("scenes"), form)


@pytest.fixture(scope="module")
def made(form):
    return make_sample(3, frames=form.frames, width=form.size, height=form.size, grid=(form.patches,) * 2, extent=30)


def test_pictures_are_those_of_the_world(store, made):
    assert not store.has(3)
    records = store.read(3)
    assert store.has(3)
    np.testing.assert_array_equal(records["rgb"], made.frames.rgb)
    np.testing.assert_array_equal(records["pose"], made.world_t_camera)
    np.testing.assert_allclose(records["depth"], made.frames.depth, rtol=1e-3)


def test_truth_is_that_of_the_squares_that_patches_see(store, made, form):
    records, truth, given = store.read(3), store.truth(3), make_truth(made)
    np.testing.assert_array_equal(truth.layout, given.layout)
    np.testing.assert_array_equal(truth.layout_valid, given.layout_valid)
    assert (truth.seed, truth.situations, truth.questions) == (given.seed, given.situations, given.questions)
    assert store.questions(3) == given.questions
    dense = dense_targets(made, form.cells, form.cell_pixels)
    np.testing.assert_array_equal(records["category"], dense.category)
    np.testing.assert_array_equal(records["colour"], dense.colour)
    np.testing.assert_allclose(records["cell_depth"], dense.depth, rtol=1e-3)
    np.testing.assert_allclose(records["normal"], dense.normal, atol=1e-3)


def test_a_kept_scene_is_read_and_not_made_again(store, form):
    store.keep(4)
    file = store.folder / "4.npy"
    before = file.stat().st_mtime_ns
    SceneStore.open(store.folder.parent, form).keep(4)
    assert file.stat().st_mtime_ns == before
    assert not list(store.folder.glob(".*"))  # nothing half-written


def test_another_form_is_another_folder(store, form):
    other = SceneStore.open(store.folder.parent, replace(form, size=48))
    assert other.folder != store.folder and other.folder.parent == store.folder.parent
    assert not other.has(3)


def test_every_field_can_become_a_tensor(form):
    record = form.record()
    assert all(record.fields[name][1] % record[name].base.itemsize == 0 for name in record.names)
