"""The product in one class, without ROS: images in, places and answers out."""

from loc3r_ros.localizer.localizer import Localizer

__all__ = ["Localizer"]
