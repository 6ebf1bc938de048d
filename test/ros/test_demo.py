"""`loc3r demo`, as a newcomer runs it: real processes, a picture, and nothing left behind."""

import ast
import os
import re
import signal
import subprocess
import sys
import time

import cv2
import psutil
import pytest
from harness import ROOT, wait_until

from loc3r_ros import cli
from loc3r_ros.ros import parameter_table
from loc3r_ros.ros.parameters import Parameters
from loc3r_ros.ros.processes import NodeProcess, ProcessError, find_executable
from loc3r_ros.ros.robot_parameters import RobotParameters

pytestmark = pytest.mark.ros


def start_demo(folder, **environment):
    """Start the real command; its output goes to a file, so that it can be read meanwhile."""
    output = folder / "output.txt"
    command = [sys.executable, "-u", "-m", "loc3r_ros.cli", "demo", "--out", str(folder / "demo")]
    variables = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}", **environment}
    with output.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=variables)
    return process, output


def children_of(process):
    return [child for child in psutil.Process(process.pid).children(recursive=True) if child.is_running()]


@pytest.mark.slow
def test_it_ends_by_itself_with_a_picture_and_a_summary(tmp_path):
    process, output = start_demo(tmp_path, DEMO_SECONDS="6")
    try:
        assert process.wait(180) == 0, output.read_text()
    finally:
        process.kill()
    text = output.read_text()
    keyframes = re.findall(r"keyframe +(\d+) at x", text)
    assert [int(number) for number in keyframes] == list(range(len(keyframes)))
    summary = re.search(r"received (\d+) images, looked at (\d+) and made (\d+) keyframes", text)
    assert summary, text
    received, processed, made = map(int, summary.groups())
    assert received >= processed >= made == len(keyframes) > 0
    errors = [float(error) for error in re.findall(r"([\d.]+) m from the truth\n", text)]
    assert errors and max(errors) < 1.0
    picture = cv2.imread(str(tmp_path / "demo" / "top_view.png"))
    assert picture.shape[0] > 300 and picture.shape[1] > 600
    assert picture.std() > 10, "an empty picture"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_its_processes(tmp_path, number):
    process, output = start_demo(tmp_path)
    try:
        wait_until(lambda: "keyframe " in output.read_text(), "a keyframe", 120)
        started = children_of(process)
        assert len(started) == 2
        process.send_signal(number)
        assert process.wait(30) == 0, output.read_text()
    finally:
        process.kill()
    assert not [child for child in started if child.is_running()]
    assert "The robot drove" in output.read_text()
    assert "Traceback" not in output.read_text()


@pytest.mark.parametrize(
    "arguments, sentence",
    [(["--seconds", "0"], "a number above 0"), (["--seed", "-3"], "The scene seed -3 is negative")],
)
def test_a_wrong_option_is_a_sentence(capsys, arguments, sentence):
    assert cli.main(["demo", *arguments]) == 1
    assert sentence in capsys.readouterr().err


def test_a_process_that_fails_is_told_with_the_end_of_its_log(tmp_path):
    def wait_for_end(process):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            process.check()
            time.sleep(0.05)

    process = NodeProcess("world_camera", {"seed": -5}, log=tmp_path / "robot.log")
    with process, pytest.raises(ProcessError, match=r"(?s)ended with exit code 1.*Parameter seed must lie"):
        wait_for_end(process)


def test_the_launch_file_names_executables_and_parameters_that_exist():
    """The launch system is not installed everywhere: this reads the file instead of running it."""
    tree = ast.parse((ROOT / "launch" / "demo.launch.py").read_text())
    tables = {"world_camera": RobotParameters, "loc3r_node": Parameters}
    nodes = [
        {keyword.arg: keyword.value for keyword in call.keywords}
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Node"
    ]
    ours = [node for node in nodes if node["package"].value == "loc3r_ros"]
    assert {node["executable"].value for node in ours} == set(tables)
    for node in ours:
        name = node["executable"].value
        assert find_executable(name).exists()
        given = {key.value for key in node["parameters"].elts[0].keys}
        assert given <= set(parameter_table.entries(tables[name]))
