"""A recording through the model without ROS: where the frames come from, what is said of them, and its picture."""
