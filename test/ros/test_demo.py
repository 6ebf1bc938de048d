"""`loc3r demo`, as a newcomer runs it: real processes, a picture, and nothing left behind."""

import importlib.util
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
from loc3r_ros.ros.processes import NodeProcess, ProcessError

pytestmark = pytest.mark.ros


def start_demo(folder, engines, **environment):
    """Start the real command; its output goes to a file, so that it can be read meanwhile."""
    output = folder / "output.txt"
    options = ["--out", str(folder / "demo"), "--engines", str(engines), "--port", "0"]
    command = [sys.executable, "-u", "-m", "loc3r_ros.cli", "demo", *options]
    variables = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}", **environment}
    with output.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=variables)
    return process, output


def children_of(process):
    return [child for child in psutil.Process(process.pid).children(recursive=True) if child.is_running()]


@pytest.mark.slow
def test_it_ends_by_itself_with_a_picture_and_a_summary(tmp_path, engine_folder):
    process, output = start_demo(tmp_path, engine_folder("tiny"), DEMO_SECONDS="6")
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
@pytest.mark.parametrize(("number", "sign"), [(signal.SIGINT, "Now you"), (signal.SIGTERM, "keyframe ")])
def test_a_signal_ends_it_and_its_processes_at_any_time(tmp_path, engine_folder, number, sign):
    process, output = start_demo(tmp_path, engine_folder("tiny"))
    started = []
    try:
        wait_until(lambda: sign in output.read_text(), "all questions" if "you" in sign else "a keyframe", 200)
        assert process.poll() is None
        started = children_of(process)
        process.send_signal(number)
        assert process.wait(120) == 0, output.read_text()
    finally:
        process.kill()
        left = [child for child in started if child.is_running()]
        for child in left:  # the tests after this one must not hear them
            child.kill()
    assert len(started) == (3 if importlib.util.find_spec("viser") else 2)
    assert not left
    text = output.read_text()
    assert "The robot drove" in text
    assert "Traceback" not in text
    if sign == "Now you":
        check_interview(text)


def check_interview(text):
    """Every place and answer stands beside the truth, and the closing summary counts them."""
    rounds = text.split("Round ")[1:]
    assert [one[:6] for one in rounds] == [f"{number} of 4" for number in range(1, 5)]
    places = re.findall(r"sigma [\d.]+ m, \d+ % sure of 1 m; truth x .*: [\d.]+ m and \d+ deg off", text)
    own, described, answered = (
        int(found[1]) if (found := re.search(pattern, text)) else 0
        for pattern in (r"own place: (\d+)", r"described in words: (\d+)", r"Questions: (\d+) answered")
    )
    assert len(places) == own + described > 0
    assert len(re.findall(r"; truth '.*': (?:right|wrong|\d+ % right)$", text, re.MULTILINE)) == answered > 0
    assert re.search(r"The page is at http://\S+", text) or not importlib.util.find_spec("viser")


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--seconds", "0"], "a number above 0"),
        (["--seed", "-3"], "The scene seed -3 is negative"),
        (["--engines", "/nowhere"], "/nowhere"),
    ],
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
