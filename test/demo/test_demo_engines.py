"""The demonstration takes the engines that are given, else those that ship, else random ones that it calls so."""

import pytest

from loc3r_ros.demo import engines
from loc3r_ros.errors import ConfigError, EngineError


@pytest.fixture
def none_ship(monkeypatch):
    def find_resource(name):
        raise ConfigError(f"{name} does not ship")

    monkeypatch.setattr(engines, "find_resource", find_resource)


@pytest.mark.slow
def test_given_engines_come_first(engine_folder, tmp_path):
    folder = engine_folder("tiny")
    choice = engines.choose_engines(folder, tmp_path, pytest.fail)
    assert choice.folder == folder.resolve()
    assert choice.keyframes == 4
    assert "RANDOM" not in choice.text


@pytest.mark.slow
def test_shipped_engines_come_next(engine_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "find_resource", lambda name: {"engines/nano": engine_folder("tiny")}[name])
    assert engines.choose_engines(None, tmp_path, pytest.fail).text == "the shipped engines/nano"


@pytest.mark.slow
def test_random_engines_are_made_once_and_named(engine_folder, tmp_path, none_ship):
    (tmp_path / "nano_random").symlink_to(engine_folder("tiny"))
    choice = engines.choose_engines(None, tmp_path, pytest.fail)
    assert "RANDOM WEIGHTS" in choice.text


def test_without_torch_there_are_keyframes_alone_and_the_reason(tmp_path, none_ship, monkeypatch):
    monkeypatch.chdir(tmp_path)  # `python -m` looks here before anywhere else
    (tmp_path / "loc3r_ros").mkdir()
    (tmp_path / "loc3r_ros" / "__init__.py").touch()
    (tmp_path / "loc3r_ros" / "cli.py").write_text("raise SystemExit('it needs the Python module torch')")
    told = []
    choice = engines.choose_engines(None, tmp_path, told.append)
    assert choice.folder is None
    assert "torch" in choice.text
    assert "random weights" in told[0]


def test_given_engines_that_are_none_are_refused(tmp_path):
    with pytest.raises(EngineError, match=str(tmp_path)):
        engines.choose_engines(tmp_path, tmp_path, pytest.fail)
