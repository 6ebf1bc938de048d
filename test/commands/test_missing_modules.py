"""A verb whose modules are not installed says which, in a sentence."""

import builtins

import pytest

from loc3r_ros import cli


def without(monkeypatch, *names):
    """Let the import of some modules fail as it does where they are not installed."""
    real = builtins.__import__

    def fail(name, *arguments, **options):
        if name in names:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", fail)


@pytest.mark.parametrize("arguments", [["where"], ["ask", "What?"], ["label", "list"]])
def test_clients_need_ros(monkeypatch, capsys, arguments):
    monkeypatch.delitem(__import__("sys").modules, "loc3r_ros.ros.client", raising=False)
    without(monkeypatch, "rclpy")
    assert cli.main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"loc3r {arguments[0]}: it needs ROS 2")
    assert "no module rclpy" in error


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        ("loc3r_ros.srv", "source the workspace's install/setup.bash"),
        ("diagnostic_msgs", "source the workspace's install/setup.bash"),
        ("matplotlib", "needs the Python module matplotlib"),
    ],
)
def test_what_is_missing_is_named(module, sentence):
    assert sentence in cli.explain_missing(module)
