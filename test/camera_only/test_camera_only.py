"""The localizer without a model."""

import numpy as np
import pytest

from loc3r_ros.camera_only import PREVIEW_SIDE, CameraOnly, preview
from loc3r_ros.errors import NotReadyError
from loc3r_ros.interface import LocalizerProtocol
from loc3r_ros.keyframes import KeyframeBuffer, MotionPolicy

NOW = 10**18


def test_a_localizer_without_a_model_says_why():
    localizer = CameraOnly(KeyframeBuffer(8, MotionPolicy()))
    assert isinstance(localizer, LocalizerProtocol)
    requests = (
        localizer.where_am_i, localizer.layout, localizer.trajectory,
        lambda: localizer.locate("here"), lambda: localizer.ask("what?"),
        lambda: localizer.ask_stream("what?"), lambda: localizer.save("a"), lambda: localizer.restore("a"),
    )  # fmt: skip
    for request in requests:
        with pytest.raises(NotReadyError, match="set the parameter engines"):
            request()
    localizer.observe(np.zeros((4, 4, 3), np.uint8), NOW)
    assert len(localizer.keyframes()) == 1
    localizer.reset()
    assert localizer.keyframes() == ()


@pytest.mark.parametrize("shape", [(720, 1280, 3), (10, 20, 3), (321, 100, 3)])
def test_a_preview_is_small_and_holds_no_message(shape):
    image = np.zeros(shape, np.uint8)
    small = preview(image)
    assert max(small.shape[:2]) <= PREVIEW_SIDE
    assert not np.shares_memory(small, image)
