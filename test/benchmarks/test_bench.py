"""`loc3r bench`: which benchmarks there are, and how their numbers are told."""

import argparse
import json

import pytest

from loc3r_ros import benchmarks, cli
from loc3r_ros.benchmarks import Measurement
from loc3r_ros.commands import bench
from loc3r_ros.errors import ConfigError


def test_helpers_are_no_benchmarks():
    names = bench.choose([])
    assert {"transport", "intake", "world"} <= set(names)
    assert not [name for name in names if name.startswith("_")]


def test_an_unknown_benchmark_is_a_sentence(capsys):
    assert cli.main(["bench", "nothing"]) == 1
    assert "There is no benchmark nothing; there are " in capsys.readouterr().err


def test_options_have_the_types_of_their_defaults():
    def measure(engines="", rate=5.0, scenes=10):
        return engines, rate, scenes

    texts = ["engines=a/b=c", "scenes=3"]
    assert bench.read_options(texts, [measure, lambda: None]) == {"engines": "a/b=c", "scenes": 3}
    assert bench.options_of(measure) == {"engines": "", "rate": 5.0, "scenes": 10}
    with pytest.raises(ConfigError, match=r"no option 'speed'; there are engines, rate, scenes\."):
        bench.read_options(["speed=3"], [measure])
    with pytest.raises(ConfigError, match="there is none"):
        bench.read_options(["speed=3"], [lambda: None])
    with pytest.raises(ConfigError, match="scenes must be of the type int, not 'many'"):
        bench.read_options(["scenes=many"], [measure])


def test_numbers_are_printed_and_written_with_the_machine(tmp_path, capsys, monkeypatch):
    class Fake:
        """Something measured."""

        @staticmethod
        def measure(speed=1.0):
            return [Measurement("speed", speed, "m/s", "downhill")]

    monkeypatch.setattr(bench.importlib, "import_module", lambda name: Fake)
    assert bench.choose(["world"]) == ["world"]
    arguments = argparse.Namespace(names=["world"], option=["speed=3.14159"], json=tmp_path / "numbers.json")
    assert bench.run(arguments) == 0
    assert "| speed | 3.142 | m/s | downhill |" in capsys.readouterr().out
    written = json.loads((tmp_path / "numbers.json").read_text())
    assert written["results"]["world"] == [{"name": "speed", "value": 3.14159, "unit": "m/s", "note": "downhill"}]
    assert set(written["machine"]) == {"CPU", "cores", "load", "Python", "numpy", "ROS"}
    assert int(written["machine"]["cores"]) >= 1


@pytest.mark.parametrize("name", bench.choose([]))
def test_every_benchmark_says_what_it_measures(name):
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    module = __import__(f"{benchmarks.__name__}.{name}", fromlist=["measure"])
    assert (module.__doc__ or "").strip()
    assert callable(module.measure)
