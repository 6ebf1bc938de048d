"""What one frame meets on its way to the localizer: the order of stamps, the wait for odometry."""

import pytest
from harness import camera_on_robot, image_message, transform

from loc3r_ros.camera_only import CameraOnly
from loc3r_ros.errors import ImageError
from loc3r_ros.ros import diagnostics, localizers
from loc3r_ros.ros.intake import Frame
from loc3r_ros.ros.observer import Observer
from loc3r_ros.ros.parameters import Parameters
from loc3r_ros.ros.transforms import OwnBuffer, TransformListener

SECOND = 10**9
NOW = 1_700_000_000 * SECOND


class Rig:
    def __init__(self, **changes):
        self.parameters = Parameters(odometry_timeout=0.0, **changes)
        self.listener = TransformListener(OwnBuffer())
        self.warnings, self.jumps, self.stages = [], [], diagnostics.Stages()
        self.observer = Observer(self.listener, self.stages, self.warnings.append, lambda: self.jumps.append(1))
        self.localizer = CameraOnly(localizers.make_buffer(self.parameters))

    def see(self, stamp, arrival=NOW):
        return self.observer.observe(Frame(image_message(stamp), arrival), self.localizer, self.parameters)


@pytest.fixture
def blind():
    """A rig without odometry."""
    return Rig(odom_frame="")


def test_stamps_must_rise(blind):
    assert blind.see(NOW).keyframe is not None
    with pytest.raises(ImageError, match=r"0\.200 s older"):
        blind.see(NOW - SECOND // 5)
    assert blind.see(NOW).keyframe is None, "the same stamp twice is no error"
    with pytest.raises(ImageError, match="ahead of the node's clock"):
        blind.see(NOW + 100 * SECOND)


def test_one_wrong_stamp_is_refused_and_two_are_a_jump(blind):
    blind.see(NOW)
    with pytest.raises(ImageError, match="if the next one is too"):
        blind.see(NOW - 50 * SECOND)
    blind.see(NOW + SECOND)
    assert not blind.jumps
    with pytest.raises(ImageError, match="if the next one is too"):
        blind.see(NOW - 50 * SECOND)
    blind.see(NOW - 49 * SECOND)
    assert blind.jumps == [1]
    assert "Time jumped back by 50.0 s" in blind.warnings[-1]


def test_a_frame_waits_for_tf_only_at_the_start():
    rig = Rig()
    assert rig.see(NOW) is None
    rig.listener.receive([camera_on_robot(), transform("odom", "base_link", x=3.0)], is_static=True)
    seen = rig.see(NOW + SECOND)
    assert seen.odom_t_base[0, 3] == 3.0
    assert seen.keyframe.reference == "odom"
    assert seen.keyframe.reference_t_camera[:3, 3] == pytest.approx((3.2, 0, 0.4))


def test_a_robot_without_extrinsics_says_so_and_is_used_without():
    rig = Rig()
    rig.see(NOW)
    rig.observer._patience_ends = 0.0
    rig.listener.receive([transform("odom", "base_link", x=3.0)], is_static=True)
    seen = rig.see(NOW + SECOND)
    assert seen.keyframe.reference == ""
    assert seen.odom_t_base is not None
    assert "camera's place on the robot" in rig.warnings[-1]
