"""Warnings thinned out by their cause."""

from loc3r_ros.ros import logs


def test_logs_are_thinned_by_cause(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    lines = []
    log = logs.ThrottledLog(lines.append)
    for number in range(10):
        log(f"{number} bytes are missing")
    log("another cause")
    assert lines == ["0 bytes are missing", "another cause"]
    now[0] += logs.PERIOD
    log("11 bytes are missing")
    assert lines[-1] == "11 bytes are missing (9 more such since the last entry)"
    for number in range(10 * logs.MOST_CAUSES):
        log("cause " + "x" * number)
    assert len(log._causes) <= logs.MOST_CAUSES + 1
