"""The localizer that the parameters ask for."""

import math

import pytest

from loc3r_ros.errors import ConfigError, EngineError
from loc3r_ros.keyframes import CoveragePolicy
from loc3r_ros.ros import localizers
from loc3r_ros.ros.parameters import Parameters


def test_the_parameters_choose_the_keyframes():
    assert isinstance(localizers.make_buffer(Parameters(keyframe_policy="coverage")).policy, CoveragePolicy)
    buffer = localizers.make_buffer(Parameters(keyframe_rotation=90.0, keyframe_count=4))
    assert (buffer.policy.min_rotation, buffer.capacity) == (pytest.approx(math.pi / 2), 4)


def test_engines_that_are_not_there_are_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EngineError, match="is not a folder"):
        localizers.engine_folder(Parameters(engines=str(tmp_path / "file")))
    with pytest.raises(ConfigError, match="engines/nowhere"):
        localizers.engine_folder(Parameters(engines="engines/nowhere"))
    assert localizers.engine_folder(Parameters(engines=str(tmp_path))) == tmp_path
    assert localizers.engine_folder(Parameters()) is None
