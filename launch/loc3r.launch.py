"""Start the perception node on a robot. The arguments that nav2 has too mean what they mean there."""

import os

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetEnvironmentVariable,
    SetLaunchConfiguration,
)
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution, PythonExpression
from launch_ros.actions import Node, PushRosNamespace
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackagePrefix, FindPackageShare

from launch import LaunchContext, LaunchDescription

SHARE = FindPackageShare("loc3r_ros")
COMMAND = PathJoinSubstitution([FindPackagePrefix("loc3r_ros"), "lib", "loc3r_ros", "loc3r"])
# Without it Fast DDS drops large images. One name alone: a second one makes it read the file twice, and complain.
PROFILE = f"{'FASTRTPS' if os.environ.get('ROS_DISTRO') == 'humble' else 'FASTDDS'}_DEFAULT_PROFILES_FILE"
LARGE_IMAGES = PathJoinSubstitution([SHARE, "config", "fastdds_large_images.xml"])
TF = [("/tf", "tf"), ("/tf_static", "tf_static")]
HAS_BAG = IfCondition(PythonExpression(["'", LaunchConfiguration("bag"), "' != ''"]))

ARGUMENTS = [
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the robot"),
    DeclareLaunchArgument("use_sim_time", default_value="false", description="Follow /clock"),
    DeclareLaunchArgument(
        "params_file",
        default_value=PathJoinSubstitution([SHARE, "config", "nano_cpu.yaml"]),
        description="Full path of the file with the node's parameters",
    ),
    DeclareLaunchArgument("autostart", default_value="true", description="Configure and activate the node"),
    DeclareLaunchArgument("log_level", default_value="info", description="Least level that is logged"),
    DeclareLaunchArgument("use_respawn", default_value="False", description="Start the node again if it dies"),
    DeclareLaunchArgument("image_topic", default_value="image", description="Topic of the images"),
    DeclareLaunchArgument("camera_info_topic", default_value="camera_info", description="Topic of the calibration"),
    DeclareLaunchArgument("engines", default_value="", description="Folder of engines, over that of params_file"),
    DeclareLaunchArgument("bag", default_value="", description="Recorded bag to play; brings its own /clock"),
    DeclareLaunchArgument("rviz", default_value="false", description="Start RViz"),
    DeclareLaunchArgument("viewer", default_value="false", description="Serve the page"),
    DeclareLaunchArgument("viewer_port", default_value="8080", description="TCP port of the page"),
    DeclareLaunchArgument("viewer", default_value="false", description="Serve the page in a browser, on port 8080"),
]


def is_true(context: LaunchContext, name: str) -> bool:
    """Return a launch argument as a truth value, however it is written."""
    return LaunchConfiguration(name).perform(context).lower() in ("true", "1")


def start_node(context: LaunchContext) -> list[Node]:
    """Return the node; an argument that is not given leaves the parameter to `params_file`."""
    overrides = {"use_sim_time": is_true(context, "use_sim_time"), "autostart": is_true(context, "autostart")}
    if engines := LaunchConfiguration("engines").perform(context):
        overrides["engines"] = engines
    node = Node(
        package="loc3r_ros",
        executable="loc3r_node",
        name="loc3r",
        output="screen",
        respawn=is_true(context, "use_respawn"),
        respawn_delay=2.0,
        sigterm_timeout="20",  # it ends after the frame in work, and gives the engines back
        parameters=[LaunchConfiguration("params_file"), overrides],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        remappings=[
            *TF,
            ("image", LaunchConfiguration("image_topic")),
            ("camera_info", LaunchConfiguration("camera_info_topic")),
        ],
    )
    return [node]


def make_viewer() -> Node:
    """Return the server of the page."""
    port = ParameterValue(LaunchConfiguration("viewer_port"), value_type=int)
    sim_time = ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)
    return Node(
        package="loc3r_ros",
        executable="loc3r_viewer",
        name="loc3r_viewer",
        output="screen",
        parameters=[{"port": port, "use_sim_time": sim_time}],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        remappings=TF,
        condition=IfCondition(LaunchConfiguration("viewer")),
    )


def generate_launch_description() -> LaunchDescription:
    """Return what `ros2 launch loc3r_ros loc3r.launch.py` starts."""
    viewer = Node(
        package="loc3r_ros",
        executable="loc3r_viewer",
        name="loc3r_viewer",
        output="screen",
        parameters=[LaunchConfiguration("params_file")],
        remappings=[("/tf", "tf"), ("/tf_static", "tf_static")],
        condition=IfCondition(LaunchConfiguration("viewer")),
    )
    return LaunchDescription(
        [
            *ARGUMENTS,
            SetEnvironmentVariable("RCUTILS_LOGGING_BUFFERED_STREAM", "1"),
            SetEnvironmentVariable(PROFILE, EnvironmentVariable(PROFILE, default_value=LARGE_IMAGES)),
            SetLaunchConfiguration("use_sim_time", "true", condition=HAS_BAG),
            GroupAction(
                [PushRosNamespace(LaunchConfiguration("namespace")), OpaqueFunction(function=start_node), viewer]
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(PathJoinSubstitution([SHARE, "launch", "rviz.launch.py"])),
                condition=IfCondition(LaunchConfiguration("rviz")),
            ),
            ExecuteProcess(cmd=[COMMAND, "replay", LaunchConfiguration("bag")], output="screen", condition=HAS_BAG),
        ]
    )
