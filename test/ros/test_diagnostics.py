"""What the node measures of itself."""

import pytest

from loc3r_ros.ros import diagnostics


def test_stages_are_read_once():
    stages = diagnostics.Stages()
    for value in (0.001, 0.003):
        stages.add("decode", value)
    with pytest.raises(ValueError, match="x"), stages.time("observe"):
        raise ValueError("x")
    read = stages.read()
    assert set(read) == {"decode", "observe"}
    assert diagnostics.milliseconds({"decode": read["decode"]}) == {"decode mean/max [ms]": "2.00 / 3.00"}
    assert stages.read() == {}


def test_the_memory_is_that_of_this_process():
    memory = {name: int(value) for name, value in diagnostics.process_memory().items()}
    assert 10 < memory["memory resident [MB]"] <= memory["memory peak [MB]"]
    assert memory["memory available [MB]"] > 0
