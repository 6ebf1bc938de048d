"""The ROS 2 side: the node `loc3r`, the simulated robot, and what carries data between messages and arrays."""
