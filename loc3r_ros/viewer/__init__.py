"""The web page: what the robot sees, remembers and answers. Shapes and texts on arrays, and a thin page of viser."""
