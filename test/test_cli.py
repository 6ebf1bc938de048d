"""The `loc3r` command: every verb loads, help is fast, errors become one sentence."""

import subprocess
import sys

import pytest

from loc3r_ros import cli
from loc3r_ros.errors import ConfigError

HEAVY = ("torch", "rclpy", "numba", "onnxruntime", "matplotlib", "transformers")


@pytest.mark.parametrize(("verb", "name"), cli.verbs().items())
def test_every_verb_has_help_arguments_and_run(verb, name):
    module = cli.load(name)
    assert module.__doc__, f"{name} has no docstring to show as help"
    assert callable(module.run)
    assert callable(module.add_arguments)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from loc3r_ros import cli; cli.build_parser(); "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_error_of_the_user_is_one_sentence(monkeypatch, capsys):
    def fail(arguments):
        raise ConfigError("There is no scene -1: seeds start at 0.")

    name = next(iter(cli.verbs()))
    monkeypatch.setattr(cli.load(cli.verbs()[name]), "run", fail)
    monkeypatch.setattr(cli.load(cli.verbs()[name]), "add_arguments", lambda parser: None)
    assert cli.main([name]) == 1
    assert capsys.readouterr().err == f"loc3r {name}: There is no scene -1: seeds start at 0.\n"


def test_an_unknown_verb_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["fly"])
    assert caught.value.code == 2
    assert "invalid choice: 'fly'" in capsys.readouterr().err
