"""The benchmark of the transport measures the node, not itself."""

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here")

pytestmark = [pytest.mark.ros, pytest.mark.slow]


def test_a_short_run_accounts_for_every_frame():
    from loc3r_ros.benchmarks.transport import measure_case

    rows = {row.name.partition(": ")[2]: row for row in measure_case("reliable", True, 2.0)}
    assert rows["received"].value == 60
    assert rows["received"].note.startswith("60 sent in 2 s")
    assert rows["processed"].value + int(rows["processed"].note.split()[0]) == 60
    assert 0 < rows["CPU of the node"].value < 400
    assert 0 < rows["age of the pose p50"].value <= rows["age of the pose p99"].value < 60_000
