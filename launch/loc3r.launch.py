"""Start the perception node on a robot. The arguments that nav2 has too mean what they mean there."""

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    GroupAction,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.conditions import IfCondition
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node, PushRosNamespace
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription

SHARE = FindPackageShare("loc3r_ros")

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
    DeclareLaunchArgument("bag", default_value="", description="Recorded bag to play, with /clock"),
    DeclareLaunchArgument("rviz", default_value="false", description="Start RViz"),
]


def start_node(context: LaunchContext) -> list[Node]:
    """Return the node; `engines` is set only where it is given, and a bag brings its own time."""
    engines = LaunchConfiguration("engines").perform(context)
    bag = LaunchConfiguration("bag").perform(context)
    overrides = {
        "use_sim_time": bool(bag) or LaunchConfiguration("use_sim_time").perform(context).lower() == "true",
        "autostart": LaunchConfiguration("autostart").perform(context).lower() == "true",
    }
    if engines:
        overrides["engines"] = engines
    node = Node(
        package="loc3r_ros",
        executable="loc3r_node",
        name="loc3r",
        output="screen",
        respawn=LaunchConfiguration("use_respawn").perform(context).lower() == "true",
        respawn_delay=2.0,
        parameters=[LaunchConfiguration("params_file"), overrides],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        remappings=[
            ("/tf", "tf"),
            ("/tf_static", "tf_static"),
            ("image", LaunchConfiguration("image_topic")),
            ("camera_info", LaunchConfiguration("camera_info_topic")),
        ],
    )
    return [node]


def play_bag(context: LaunchContext) -> list[ExecuteProcess]:
    """Return the player of the bag, where one is given."""
    bag = LaunchConfiguration("bag").perform(context)
    return [ExecuteProcess(cmd=["loc3r", "replay", bag], output="screen")] if bag else []


def generate_launch_description() -> LaunchDescription:
    """Return what `ros2 launch loc3r_ros loc3r.launch.py` starts."""
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-f", "map"],
        remappings=[("/tf", "tf"), ("/tf_static", "tf_static")],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    robot = GroupAction([PushRosNamespace(LaunchConfiguration("namespace")), OpaqueFunction(function=start_node), rviz])
    # Without it Fast DDS drops large images; Humble reads the first name, later ones the second.
    profile = PathJoinSubstitution([SHARE, "config", "fastdds_large_images.xml"])
    return LaunchDescription(
        [
            *ARGUMENTS,
            SetEnvironmentVariable("RCUTILS_LOGGING_BUFFERED_STREAM", "1"),
            *(
                SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=profile))
                for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
            ),
            robot,
            OpaqueFunction(function=play_bag),
        ]
    )
