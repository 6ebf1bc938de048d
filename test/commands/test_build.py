"""`loc3r build --dry-run` says what would be built, here and on devices that are not here."""

import pytest

from loc3r_ros.cli import main


def test_a_folder_is_planned(engine_folder, capsys):
    assert main(["build", str(engine_folder("tiny", "fp16")), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "tiny, fp16" in text and "vision: fp16, weights 0 MB" in text
    assert "profile 0: tokens 1:1:1" in text and "profile 1: tokens 1:13:1536" in text
    assert "This machine: memory and disk suffice." in text
    assert "--fixed-cache KEYFRAMES" in text  # its cache varies


@pytest.mark.parametrize(
    ("device", "precision", "lines"),
    [
        (
            "agx_orin_64gb",
            "fp16",
            ["build: enough (51", "run: enough (25", "append a frame to 32: 156 ms", "10.9 tokens/s"],
        ),
        (
            "agx_orin_64gb",
            "int4",
            ["build: enough (22", "run: enough (15", "question of 100 tokens on 32 keyframes: 92 ms"],
        ),
        ("agx_orin_32gb", "int4", ["build: enough (22", "pose prior of a frame: 70 ms", "32.4 tokens/s"]),
        ("agx_orin_32gb", "fp16", ["build: NOT enough (51", "mapped and streamed: NOT enough (36"]),
        ("agx_orin_32gb", "int8", ["may unpack them", "10.9 tokens/s"]),
    ],
)
def test_the_7b_is_planned_for_a_robot(capsys, device, precision, lines):
    arguments = ["--size", "7b", "--fixed-cache", "40", "--precision", precision, "--device", device]
    assert main(["build", *arguments, "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert [
        line for line in [*lines, "estimated, not measured", "not measured (docs/performance.md)"] if line not in text
    ] == []
    assert "prefix_key (8484, 4, 128)" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--size", "7b"], "add --dry-run"),
        (["nowhere"], "not a folder of engines"),
        (["--size", "7b", "--precision", "fp32", "--device", "h100_sxm"], "add --dry-run"),
        (["--size", "13b", "--dry-run"], "There is no model size '13b'"),
    ],
)
def test_mistakes_are_told(capsys, arguments, sentence):
    assert main(["build", *arguments]) == 1
    assert sentence in capsys.readouterr().err


def test_a_size_is_planned_for_this_machine(capsys):
    assert main(["build", "--size", "nano", "--dry-run"]) == 0
    assert "This machine: " in capsys.readouterr().out


def test_single_precision_is_not_quantised(engine_folder, capsys):
    assert main(["build", str(engine_folder("tiny")), "--precision", "int4", "--dry-run"]) == 1
    assert "loc3r export ... --precision fp16" in capsys.readouterr().err
