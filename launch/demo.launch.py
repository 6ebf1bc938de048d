"""The simulated robot and the node, on a real ROS: `ros2 launch loc3r_ros demo.launch.py seed:=1100001 rviz:=true`."""

from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

SHARE = FindPackageShare("loc3r_ros")
PROFILE = PathJoinSubstitution([SHARE, "config", "fastdds_large_images.xml"])


def generate_launch_description() -> LaunchDescription:
    """Start robot, node and, where asked for, RViz."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("seed", default_value="1100001", description="scene; from 1100000 up never seen"),
            DeclareLaunchArgument("engines", default_value="", description="folder of engines; empty: no model"),
            DeclareLaunchArgument("rviz", default_value="false", description="start RViz too"),
            DeclareLaunchArgument("log_level", default_value="info", description="log level of the nodes"),
            # Without it Fast DDS drops large images; Humble reads the first name, later ones the second.
            *(
                SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=PROFILE))
                for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
            ),
            SetEnvironmentVariable("RCUTILS_LOGGING_BUFFERED_STREAM", "1"),
            Node(
                package="loc3r_ros",
                executable="world_camera",
                output="screen",
                parameters=[{"seed": LaunchConfiguration("seed")}],
                arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            ),
            Node(
                package="loc3r_ros",
                executable="loc3r_node",
                output="screen",
                parameters=[{"engines": LaunchConfiguration("engines")}],
                arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            ),
            Node(
                package="rviz2",
                executable="rviz2",
                arguments=["-f", "map"],
                condition=IfCondition(LaunchConfiguration("rviz")),
            ),
        ]
    )
