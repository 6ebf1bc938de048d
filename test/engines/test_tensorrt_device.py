"""The same on a GPU with TensorRT: nothing is simulated. Elsewhere all of it is skipped, with the reason."""

import importlib.util

import numpy as np
import pytest

from loc3r_ros.engines import EngineSet
from loc3r_ros.export import parity
from loc3r_ros.export.folder import export_engines
from loc3r_ros.export.source import random_source
from loc3r_ros.model.config import preset

pytestmark = [pytest.mark.tensorrt, pytest.mark.slow]
KEYFRAMES = 6


def missing():
    """Return why this machine cannot run TensorRT, or ""."""
    for name in ("tensorrt", "pycuda"):
        if importlib.util.find_spec(name) is None:
            return f"{name} is not installed"
    from loc3r_ros.engines.gpu import Gpu
    from loc3r_ros.errors import EngineError

    try:
        Gpu()
    except EngineError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """ONNX engines of the nano, and those that TensorRT made of them."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    from loc3r_ros.build.folder import build_folder, key_here, plan_folder

    folder = tmp_path_factory.mktemp("tensorrt")
    export_engines(random_source(preset("nano")), folder / "onnx", "fp16", KEYFRAMES)
    for precision in ("fp16", "int4"):
        plan = plan_folder(folder / "onnx", precision)
        build_folder(folder / "onnx", folder / precision, plan, key_here(plan), "loc3r build", print)
    return folder


def worst(folders, precision, monkeypatch):
    reference, candidate = EngineSet.load(folders / "onnx", threads=1), EngineSet.load(folders / precision)
    fitting = [lengths for lengths in parity.LENGTHS if lengths[1] <= reference.prefix_rows]
    monkeypatch.setattr(parity, "LENGTHS", fitting)
    return max(deviation.error for deviation in parity.compare(reference, candidate))


def test_plans_say_what_the_graphs_say(folders, monkeypatch):
    assert worst(folders, "fp16", monkeypatch) < parity.TOLERANCES["fp16"]


def test_int4_stays_close(folders, monkeypatch):
    assert worst(folders, "int4", monkeypatch) < 0.3


def test_a_localizer_says_the_same(folders):
    from loc3r_ros.keyframes import KeyframeBuffer, MotionPolicy
    from loc3r_ros.localizer import Localizer

    places = []
    for name in ("onnx", "fp16"):
        keyframes = KeyframeBuffer(4, MotionPolicy(0.0, 0.0), eviction_block=2)
        localizer = Localizer.load(folders / name, keyframes=keyframes, answer_tokens=8)
        for number in range(6):
            picture = np.random.default_rng(number).integers(0, 256, (96, 128, 3), dtype=np.uint8)
            localizer.observe(picture, number * 10**9)
            assert localizer.settle(120)
        places.append(localizer.locate("Here.").pose)
        localizer.ask("What?")
    np.testing.assert_allclose(places[0], places[1], atol=0.05)


def test_the_same_run_becomes_a_cuda_graph(folders):
    engines = EngineSet.load(folders / "fp16")
    picture = np.full((engines.manifest.video.image_size,) * 2 + (3,), 90, np.uint8)
    outputs = [engines.vision.run({"image": picture})["tokens"] for _ in range(4)]
    assert len(engines.vision._recordings) == 1
    for tokens in outputs[1:]:
        np.testing.assert_allclose(tokens, outputs[0], atol=1e-3)
