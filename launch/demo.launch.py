"""A simulated robot and all of loc3r.launch.py: `ros2 launch loc3r_ros demo.launch.py seed:=1100001 rviz:=true`."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node, PushRosNamespace

from launch import LaunchDescription

SHIPPED = "engines/nano"
"""The engines that are used if they are installed."""


def generate_launch_description() -> LaunchDescription:
    """Return the robot and what `loc3r.launch.py` starts; every argument of that one is one of this, too."""
    share = Path(get_package_share_directory("loc3r_ros"))
    engines = SHIPPED if (share / SHIPPED).is_dir() else ""
    robot = Node(
        package="loc3r_ros",
        executable="world_camera",
        name="world_camera",
        output="screen",
        sigterm_timeout="20",
        parameters=[{"seed": LaunchConfiguration("seed")}],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        remappings=[("/tf", "tf"), ("/tf_static", "tf_static")],
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument("seed", default_value="1100001", description="Scene; from 1100000 up never seen"),
            DeclareLaunchArgument(
                "engines", default_value=engines, description="Folder of engines; those that are shipped, if any"
            ),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(share / "launch" / "loc3r.launch.py"))),
            GroupAction([PushRosNamespace(LaunchConfiguration("namespace")), robot]),
        ]
    )
