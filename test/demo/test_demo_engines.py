"""The demonstration takes the engines that are given, else those that ship."""

import pytest

from loc3r_ros.demo.engines import choose_engines
from loc3r_ros.errors import EngineError


@pytest.mark.slow
def test_given_engines_come_first(engine_folder):
    folder = engine_folder("tiny")
    choice = choose_engines(folder)
    assert choice.folder == folder.resolve()
    assert choice.keyframes == 4


def test_shipped_engines_come_next():
    choice = choose_engines(None)
    assert choice.text == "the shipped engines/nano"
    assert choice.keyframes == 32


def test_given_engines_that_are_none_are_refused(tmp_path):
    with pytest.raises(EngineError, match=str(tmp_path)):
        choose_engines(tmp_path)
