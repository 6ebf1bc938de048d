"""Tells a robot where it is and what is around it, in words and in metres, from one colour camera.

The package holds the Python modules and, where ROS built it, the generated `msg`, `srv` and `action` modules.
Importing it imports neither ROS nor torch: rosidl's generated code imports this package while it loads messages.
"""

# The source tree, a pip installation and the ROS overlay may each hold a part of this package: join them.
__path__ = __import__("pkgutil").extend_path(__path__, __name__)

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import `Localizer` where it is asked for, so that the package itself stays light."""
    if name == "Localizer":
        from loc3r_ros.localizer import Localizer

        return Localizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
