"""Scenes that stay on a device give the batches that scenes read from disk give."""

import numpy as np
import pytest
import torch

from loc3r_ros.train.plan import tasks_at
from loc3r_ros.train.shelf import Rows, Shelf, has_room, tensor_type
from loc3r_ros.train.stages import make_stage

CPU = torch.device("cpu")


def leaves(batch):
    return torch.utils._pytree.tree_flatten(batch)[0]


@pytest.fixture
def _as_on_a_gpu(monkeypatch):
    for module in ("shelf", "features"):
        monkeypatch.setattr(f"loc3r_ros.train.{module}.has_room", lambda *_: True)


@pytest.mark.parametrize("name", ["vision", "pose", "joint"])
def test_what_stays_is_what_was_read(name, tiny_model, recipe, batch_of, request):
    config = recipe()
    read = [batch_of(make_stage(name, config, tiny_model), tasks_at(config, step)) for step in (0, 1)]
    request.getfixturevalue("_as_on_a_gpu")
    stage = make_stage(name, config, tiny_model)
    stays = [batch_of(stage, tasks_at(config, step)) for step in (0, 1)]
    for one, other in zip(leaves(read), leaves(stays), strict=True):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=2e-3)  # features of several scenes are computed together


@pytest.mark.usefixtures("_as_on_a_gpu")
def test_a_scene_is_brought_once(tiny_model, recipe, monkeypatch):
    config = recipe()
    store = make_stage("pose", config, tiny_model).store
    shelf = Shelf(store, ["rgb", "pose"], capacity=3, device=CPU)
    first = shelf.take([5, 4, 5], np.array([[0, 1], [2, 3], [7, 6]]))
    np.testing.assert_array_equal(first["rgb"][2], store.read(5)["rgb"][[7, 6]])
    monkeypatch.setattr("loc3r_ros.data.store.SceneStore.read", None)
    again = shelf.take([4], np.array([[2, 3]]))
    assert torch.equal(again["rgb"][0], first["rgb"][1]) and torch.equal(again["pose"][0], first["pose"][1])


def test_rows_know_what_is_missing():
    rows = Rows({"x": ((2,), torch.float32)}, 3, CPU)
    assert rows.missing([7, 8, 7]) == [7, 8]
    rows.put([7, 8], {"x": torch.tensor([[1.0, 2.0], [3.0, 4.0]])})
    assert rows.missing([8, 9]) == [9]
    assert rows.take([8, 7], np.array([1, 0]))["x"].tolist() == [[4.0, 3.0], [2.0, 1.0]]


def test_only_a_gpu_has_room():
    assert not has_room({"x": ((1,), torch.float32)}, 1, CPU)
    assert tensor_type(np.dtype("<f2")) == torch.float16 and tensor_type(np.dtype("?")) == torch.bool
