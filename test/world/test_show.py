import json

import cv2
import numpy as np

from loc3r_ros.cli import main
from loc3r_ros.world.show import contact_sheet, describe_sample, to_json


def test_a_contact_sheet_shows_every_frame_in_order():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 4, 6, 3), np.uint8)
    sheet = contact_sheet(images, columns=3)
    assert sheet.shape == (12, 24, 3)
    assert [sheet[(n // 3) * 6 + 1, (n % 3) * 8 + 1, 0] for n in range(5)] == list(range(5))
    assert (sheet[7:, 17:] == 255).all()


def test_text_and_json_hold_every_situation_and_question(samples):
    sample = samples[1]
    text, data = describe_sample(sample), to_json(sample)
    for question in sample.questions:
        assert f"{question.text}  {question.answer}" in text
    for number, situation in enumerate(sample.situations):
        assert situation.text in text
        assert data["situations"][number]["ceiling"]["acc_10m"] == situation.ceiling.acc_10m
    assert len(data["questions"]) == len(sample.questions)
    json.dumps(data)


def test_world_show_writes_pictures_and_says_so(tmp_path, capsys):
    folder = tmp_path / "new" / "folder"
    assert main(["world", "show", "3", "--out", str(folder), "--frames", "4", "--size", "64"]) == 0
    said = capsys.readouterr()
    assert "Situation 0" in said.out
    assert str(folder) in said.err
    assert cv2.imread(str(folder / "frames.png")).shape == (66, 8 * 66, 3)
    assert cv2.imread(str(folder / "top.png")).std() > 10
    assert json.loads((folder / "questions.json").read_text())["seed"] == 3


def test_world_show_refuses_with_a_sentence(tmp_path, capsys):
    assert main(["world", "show", "3", "--frames", "1", "--out", str(tmp_path)]) == 1
    assert "ask for 2 or more" in capsys.readouterr().err
    assert main(["world", "show", "-1", "--out", str(tmp_path)]) == 1
    assert "negative" in capsys.readouterr().err
