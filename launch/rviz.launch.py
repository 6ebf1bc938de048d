"""Start RViz with the view of the node: camera, keyframes, layout, poses with their ellipses, places and answers."""

from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Return what `ros2 launch loc3r_ros rviz.launch.py` starts."""
    view = PathJoinSubstitution([FindPackageShare("loc3r_ros"), "config", "loc3r.rviz"])
    return LaunchDescription(
        [
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the robot"),
            DeclareLaunchArgument("use_sim_time", default_value="false", description="Follow /clock"),
            DeclareLaunchArgument("rviz_config", default_value=view, description="Full path of RViz's view"),
            DeclareLaunchArgument("image_topic", default_value="image", description="Topic of the images"),
            Node(
                package="rviz2",
                executable="rviz2",
                name="rviz2",
                namespace=LaunchConfiguration("namespace"),
                output="screen",
                arguments=["-d", LaunchConfiguration("rviz_config")],
                parameters=[{"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)}],
                # The names in the view are relative, so that one view serves every robot.
                remappings=[
                    ("/tf", "tf"),
                    ("/tf_static", "tf_static"),
                    ("image", LaunchConfiguration("image_topic")),
                ],
            ),
        ]
    )
