"""The parameters of the simulated robot `world_camera`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from loc3r_ros.errors import ConfigError
from loc3r_ros.ros.parameter_table import Table, row
from loc3r_ros.world.drive import Limits
from loc3r_ros.world.odometry import Drift
from loc3r_ros.world.robot import Build, CameraMount
from loc3r_ros.world.splits import FIRST_TEST_SEED


@dataclass(frozen=True)
class RobotParameters(Table):
    """Values of all parameters; they are read at the start."""

    seed: int = row(
        FIRST_TEST_SEED,
        "The scene. Below 1000000: seen in training; from 1100000 up: never seen.",
        low=0,
        high=2**31 - 1,
        live=False,
    )
    rate: float = row(10.0, "Images per second.", unit="Hz", low=0.1, high=60.0, live=False)
    width: int = row(320, "Width of the images.", unit="px", low=16, high=3840, live=False)
    height: int = row(240, "Height of the images.", unit="px", low=16, high=2160, live=False)
    field_of_view_deg: float = row(
        80.0, "Horizontal field of view of the camera.", unit="deg", low=20.0, high=140.0, live=False
    )
    camera_height: float = row(1.2, "Height of the camera over the floor.", unit="m", low=0.05, high=2.4, live=False)
    camera_pitch_deg: float = row(12.0, "How far it looks down.", unit="deg", low=-45.0, high=60.0, live=False)
    image_qos: str = row("reliable", "Reliability of the images.", choices=("reliable", "best_effort"), live=False)
    odometry_rate: float = row(
        30.0, "Odometry, transforms and ground truth per second.", unit="Hz", low=1.0, high=200.0, live=False
    )
    drift_distance_percent: float = row(
        1.0, "Scale error of the odometry (standard deviation), percent.", unit="%", low=0.0, high=50.0, live=False
    )
    drift_heading_deg_per_minute: float = row(
        1.0, "Heading drift (standard deviation).", unit="deg/min", low=0.0, high=360.0, live=False
    )
    noise_position: float = row(
        0.005, "Position noise that one metre adds (standard deviation).", unit="m", low=0.0, high=1.0, live=False
    )
    noise_heading_deg: float = row(
        0.5, "Heading noise that one full turn adds (standard deviation).", unit="deg", low=0.0, high=90.0, live=False
    )
    speed: float = row(0.5, "Highest speed.", unit="m/s", low=0.01, high=3.0, live=False)
    turn_rate_deg: float = row(60.0, "Highest turn rate.", unit="deg/s", low=1.0, high=360.0, live=False)
    map_frame: str = row("map", "The frame of the scene, of ground truth and goals.", required=True, live=False)
    frame_prefix: str = row(
        "", "Goes before `odom`, `base_link`, `camera_link` and `camera_optical_frame`; such as `robot1/`.", live=False
    )
    publish_clock: bool = row(
        False, "Be the simulator: publish /clock and live in that time, instead of following one.", live=False
    )
    speed_factor: float = row(
        1.0,
        "Simulated seconds per second with `publish_clock`, as far as the machine keeps up.",
        low=0.01,
        high=100.0,
        live=False,
    )

    def check(self) -> None:
        """Check what one parameter alone cannot tell.

        Raises:
            ConfigError: more images than odometry.
        """
        if self.rate > self.odometry_rate:
            raise ConfigError(
                f"rate {self.rate:g} Hz must not be above odometry_rate {self.odometry_rate:g} Hz: every image comes "
                "with odometry."
            )

    @property
    def build(self) -> Build:
        """The robot that they describe."""
        return Build(
            Limits(speed=self.speed, turn_rate=math.radians(self.turn_rate_deg)),
            Drift(
                self.drift_distance_percent,
                self.drift_heading_deg_per_minute,
                self.noise_position,
                self.noise_heading_deg,
            ),
            CameraMount(height=self.camera_height, pitch=math.radians(self.camera_pitch_deg)),
        )
