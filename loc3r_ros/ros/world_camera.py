"""The node `world_camera`: a simulated robot with a camera, in a scene of the synthetic world.

A timer moves the robot and publishes odometry, transforms and ground truth; every so often it hands the camera's pose
to a thread that renders and publishes the image of that moment. Where rendering is slower than the camera's rate, the
newest pose wins. Time is that of the node's clock, which follows /clock with `use_sim_time`, or, with `publish_clock`,
the node's own: then it is the simulator.
"""

from __future__ import annotations

import array
import math
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry, Path
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from loc3r_ros.errors import ConfigError, Loc3RError
from loc3r_ros.geometry import CAMERA_LINK_T_OPTICAL, Array, from_planar, planar
from loc3r_ros.interface import ImageArray
from loc3r_ros.ros import parameter_table
from loc3r_ros.ros.conversions import (
    SMALLEST_VARIANCE,
    matrix_from_pose,
    pose_message,
    stamped_pose,
    time_message,
)
from loc3r_ros.ros.lifecycle import run
from loc3r_ros.ros.qos import LATCHED, STATIC_TRANSFORMS, TRANSFORMS
from loc3r_ros.ros.robot_parameters import RobotParameters
from loc3r_ros.ros.transforms import transform_message
from loc3r_ros.world.camera import focal_length
from loc3r_ros.world.generate import make_scene
from loc3r_ros.world.render import Renderer
from loc3r_ros.world.robot import Robot

FIRST_STAMP = 1_000_000_000
"""ns at which the time of a simulation begins: a stamp of zero means "no stamp"."""
LONGEST_STEP = 0.5
"""s. Where the clock jumps further ahead, the robot stands still meanwhile."""


@dataclass(frozen=True)
class Shot:
    """A picture to take: ns and (4, 4) `world_t_camera`."""

    stamp: int
    world_t_camera: Array


class Photographer:
    """A thread that takes the newest picture asked for."""

    def __init__(self, take: Callable[[Shot], None]) -> None:
        """Start the thread, which calls `take`."""
        self._take = take
        self._changed = threading.Condition()
        self._next: Shot | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="world_camera_renderer")
        self._thread.start()

    def ask(self, shot: Shot) -> None:
        """Ask for a picture; it replaces one that has not been begun."""
        with self._changed:
            self._next = shot
            self._changed.notify()

    def close(self) -> None:
        """Finish the picture in work and end the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next or self._is_closed)
                shot, self._next = self._next, None
                if self._is_closed or shot is None:
                    return
            self._take(shot)


class WorldCamera(Node):
    """The simulated robot."""

    def __init__(self) -> None:
        """Build the scene and start driving.

        Raises:
            ConfigError: a parameter that is not allowed.
            DriveError: a scene without room for a robot.
        """
        super().__init__("world_camera")
        self.parameters = p = parameter_table.declare(self, RobotParameters)
        if p.publish_clock and self.get_parameter("use_sim_time").value:
            raise ConfigError("publish_clock makes the clock that use_sim_time would follow: set only one of them.")
        self.add_on_set_parameters_callback(self._refuse)
        scene = make_scene(p.seed)
        self._robot = Robot(scene, p.build)
        self._renderer = Renderer(scene)
        self._focal = focal_length(p.width, math.radians(p.field_of_view_deg))
        self._odom, self._base, self._link, self._optical = (
            p.frame_prefix + name for name in ("odom", "base_link", "camera_link", "camera_optical_frame")
        )
        self._make_publishers()
        self.create_subscription(PoseStamped, "goal_pose", self._on_goal, 10)
        self._render(Shot(0, self._robot.world_t_camera))  # compiles the renderer before time begins
        self._photographer = Photographer(self._photograph)
        self._now = FIRST_STAMP if p.publish_clock else self.get_clock().now().nanoseconds
        self._next_image = self._now
        period = 1.0 / p.odometry_rate
        if p.publish_clock:
            self.create_timer(period / p.speed_factor, self._simulate, clock=Clock(clock_type=ClockType.STEADY_TIME))
        else:
            self.create_timer(period, self._follow_clock)
        self.get_logger().info(f"Driving through scene {p.seed}; send it with {self.resolve_topic_name('goal_pose')}.")

    def close(self) -> None:
        """End the renderer's thread."""
        self._photographer.close()

    # --- time ---------------------------------------------------------------------------------------------------------

    def _simulate(self) -> None:
        self._clock_publisher.publish(ClockMessage(clock=time_message(self._now)))
        self._advance(self._now + round(1e9 / self.parameters.odometry_rate))

    def _follow_clock(self) -> None:
        self._advance(self.get_clock().now().nanoseconds)

    def _advance(self, now: int) -> None:
        """Drive until `now`, ns, and publish; where time jumped back, go on from there."""
        elapsed = min((now - self._now) * 1e-9, LONGEST_STEP)
        if elapsed < 0:
            self._next_image = now
        self._now = now
        if elapsed > 0:
            self._robot.step(elapsed)
        self._publish_motion()
        if now >= self._next_image:
            period = round(1e9 / self.parameters.rate)
            self._next_image = max(self._next_image + period, now - period // 2)
            self._photographer.ask(Shot(now, self._robot.world_t_camera))

    # --- what it says -------------------------------------------------------------------------------------------------

    def _make_publishers(self) -> None:
        is_reliable = self.parameters.image_qos == "reliable"
        image_qos = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE if is_reliable else ReliabilityPolicy.BEST_EFFORT
        )
        self._image = self.create_publisher(Image, "image", image_qos)
        self._camera_info = self.create_publisher(CameraInfo, "camera_info", image_qos)
        self._odometry = self.create_publisher(Odometry, "odom", 10)
        self._truth = self.create_publisher(PoseStamped, "ground_truth/pose", 10)
        self._plan = self.create_publisher(Path, "plan", LATCHED)
        self._tf = self.create_publisher(TFMessage, "/tf", TRANSFORMS)
        if self.parameters.publish_clock:
            self._clock_publisher = self.create_publisher(ClockMessage, "/clock", 1)
        self._static_tf = self.create_publisher(TFMessage, "/tf_static", STATIC_TRANSFORMS)
        mount = self.parameters.build.mount
        self._static_tf.publish(
            TFMessage(
                transforms=[
                    transform_message(self._base, self._link, mount.base_t_link, 0),
                    transform_message(self._link, self._optical, CAMERA_LINK_T_OPTICAL, 0),
                ]
            )
        )

    def _publish_motion(self) -> None:
        odom_t_base = from_planar(self._robot.odometer.pose)
        world_t_base = from_planar(self._robot.world_t_base)
        self._tf.publish(TFMessage(transforms=[transform_message(self._odom, self._base, odom_t_base, self._now)]))
        self._odometry.publish(self._odometry_message(odom_t_base))
        self._truth.publish(stamped_pose(world_t_base, self.parameters.map_frame, self._now))

    def _odometry_message(self, odom_t_base: Array) -> Odometry:
        odometer = self._robot.odometer
        message = Odometry(child_frame_id=self._base)
        message.header.frame_id, message.header.stamp = self._odom, time_message(self._now)
        message.pose.pose = pose_message(odom_t_base)
        message.pose.covariance = covariance6(odometer.covariance).ravel()
        twist = message.twist.twist
        twist.linear.x, twist.linear.y, twist.angular.z = map(float, odometer.velocity)
        message.twist.covariance = covariance6(np.diag(odometer.velocity_variances)).ravel()
        return message

    def _photograph(self, shot: Shot) -> None:
        """Render and publish (in the renderer's thread)."""
        image, info = image_message(self._render(shot)), self._camera_info_message()
        for message in (image, info):
            message.header.frame_id, message.header.stamp = self._optical, time_message(shot.stamp)
        self._image.publish(image)
        self._camera_info.publish(info)

    def _render(self, shot: Shot) -> ImageArray:
        p = self.parameters
        return self._renderer.render(shot.world_t_camera[None], p.width, p.height, self._focal).rgb[0]

    def _camera_info_message(self) -> CameraInfo:
        p, f = self.parameters, self._focal
        # The renderer's principal point is the middle of the picture; ROS counts from the centre of the first pixel.
        x, y = (p.width - 1) / 2.0, (p.height - 1) / 2.0
        info = CameraInfo(width=p.width, height=p.height, distortion_model="plumb_bob", d=[0.0] * 5)
        info.k = [f, 0.0, x, 0.0, f, y, 0.0, 0.0, 1.0]
        info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        info.p = [f, 0.0, x, 0.0, 0.0, f, y, 0.0, 0.0, 0.0, 1.0, 0.0]
        return info

    # --- what it hears ------------------------------------------------------------------------------------------------

    def _on_goal(self, message: PoseStamped) -> None:
        try:
            frame = message.header.frame_id or self.parameters.map_frame
            if frame != self.parameters.map_frame:
                raise ConfigError(f"its frame is '{frame}': set the fixed frame to '{self.parameters.map_frame}'.")
            path = self._robot.send(planar(matrix_from_pose(message.pose)))
        except Loc3RError as error:
            self.get_logger().warning(f"goal_pose refused: {error}")
            return
        self._plan.publish(self._path_message(path))
        x, y = path[-1]
        self.get_logger().info(f"On the way to ({x:.2f}, {y:.2f}).")

    def _path_message(self, path: Array) -> Path:
        message = Path()
        message.header.frame_id, message.header.stamp = self.parameters.map_frame, time_message(self._now)
        poses = [from_planar((x, y, 0.0)) for x, y in path]
        message.poses = [stamped_pose(pose, self.parameters.map_frame, self._now) for pose in poses]
        return message

    def _refuse(self, changes: list[Parameter]) -> SetParametersResult:
        table = parameter_table.entries(RobotParameters)
        names = [change.name for change in changes if change.name in table]
        reason = f"{', '.join(names)} is read at the start: restart world_camera with it." if names else ""
        return SetParametersResult(successful=not names, reason=reason)


def covariance6(covariance: Array) -> Array:
    """Return the (6, 6) covariance, in the order of REP-103, of a motion on the floor with a (3, 3) covariance.

    What a robot on a floor cannot get wrong, and what it has not yet got wrong, has a small variance, never zero.
    """
    full = np.zeros((6, 6))
    full[np.ix_([0, 1, 5], [0, 1, 5])] = covariance
    full[np.diag_indices(6)] += SMALLEST_VARIANCE
    return full


def image_message(pixels: ImageArray) -> Image:
    """Return the message of (H, W, 3) uint8 RGB pixels; anything but an `array` would be checked byte by byte."""
    height, width, _ = pixels.shape
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.data = array.array("B", pixels.tobytes())
    return message


def main(args: Sequence[str] | None = None) -> int:
    """Run the robot until it is told to stop, and return the exit code."""
    return run(WorldCamera, SingleThreadedExecutor, args)


if __name__ == "__main__":
    sys.exit(main())
