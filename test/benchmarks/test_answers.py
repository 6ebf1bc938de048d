"""Places and answers over ROS are those of the evaluation, to the last bit; on one scene and a tiny model."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here")

from loc3r_ros.benchmarks import answers
from loc3r_ros.errors import ConfigError


@pytest.mark.ros
@pytest.mark.slow
def test_over_ros_everything_is_as_without(engine_folder):
    rows = answers.measure(str(engine_folder("tiny")), seeds="1100000:1100001", situations=4, rate=10.0)
    values, notes = ({row.name: getattr(row, what) for row in rows} for what in ("value", "note"))
    assert values["places: largest difference"] == 0.0
    assert values["TF against the message: largest difference"] == 0.0
    assert notes["answers with the same words"] == f"of {values['answers with the same words']:.0f}"
    assert {notes[f"{name}, over ROS"] for name in ("acc_0.5m", "acc_30deg", "median_m")} == {"evaluation the same"}
    assert values["keyframe rate, quiet"] > 0 < values["keyframe rate, busy"]
    assert values["call to reply: place"] > 0


def test_training_scenes_are_refused():
    assert answers.unseen("1100000:1100002") == range(1100000, 1100002)
    for seeds in ("5:9", "1100002:1100002"):
        with pytest.raises(ConfigError, match="scenes"):
            answers.unseen(seeds)


def test_a_difference_is_told():
    scene = answers.Scene(np.zeros((2, 4, 4, 3), np.uint8), [("here", np.zeros(3))], [("What?", "")])
    watch = answers.Watch(
        latencies={"place": [0.1], "answer": [1.5], "busy": [0.2]},
        cpu={"place": 0.05, "answer": 0.2},
        tf_errors=[0.25],
        keyframes={"quiet": 2, "busy": 1},
        gaps=[0.05],
        frames=2,
    )
    over_ros, evaluated = (
        answers.Told(np.array([[0.0, 3.0, 3.1]]), ["one"]),
        answers.Told(np.array([[0, 0, -3.1]]), ["two"]),
    )
    rows = {row.name: row for row in answers.describe([scene], [over_ros], [evaluated], watch, rate=5.0)}
    assert rows["acc_1.0m, over ROS"].note == "evaluation NOT the same: 100.0"
    assert rows["places: largest difference"].value == 3.0
    assert (rows["answers with the same words"].value, rows["answers with the same words"].note) == (0, "of 1")
    assert rows["CPU of the node: answer"].value == 200.0
    assert "1 of 1 over 1 s" in rows["call to reply: answer"].note
    assert (rows["keyframe rate, quiet"].value, rows["keyframe rate, busy"].value) == (5.0, 2.5)
