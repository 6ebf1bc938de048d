"""The paper's metrics and tables, through the same `Localizer` that runs on the robot."""
