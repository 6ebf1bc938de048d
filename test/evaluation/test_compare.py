import json

import pytest

from loc3r_ros.cli import main
from loc3r_ros.errors import ConfigError
from loc3r_ros.evaluation.compare import check_comparable, comparison, read_report

RUN = {"name": "nano", "precision": "fp32", "world": 3, "seeds": "1:9", "frames": 32}
SCORES = {"acc_0.5m": 40.0, "acc_1.0m": 70.0, "acc_15deg": 50.0, "acc_30deg": 60.0}


def test_the_greatest_loss_is_named():
    now = SCORES | {"acc_1.0m": 69.2, "acc_15deg": 51.0, "run": RUN | {"precision": "int8"}}
    text = comparison(now, SCORES | {"run": RUN})
    assert "| percent | nano fp32 | nano int8 | difference |" in text
    assert "| acc_1.0m | 70.0 | 69.2 | -0.8 |" in text and "| acc_15deg | 50.0 | 51.0 | +1.0 |" in text
    assert text.endswith("Greatest loss: 0.8 points (acc_1.0m).")


def test_nothing_lost():
    assert "Greatest loss: 0.0 points" in comparison(SCORES | {"run": RUN}, SCORES | {"run": RUN})


def test_other_scenes_are_refused():
    check_comparable(RUN | {"precision": "int8"}, RUN)
    with pytest.raises(ConfigError, match="seeds was 1:9 and is 1:5"):
        check_comparable(RUN | {"seeds": "1:5"}, RUN)


@pytest.mark.parametrize("text", ["{", "[]", '{"run": {}}'])
def test_a_file_that_is_no_report(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"no result of `loc3r evaluate"):
        read_report(path)
    with pytest.raises(ConfigError, match="no result"):
        read_report(tmp_path / "missing.json")


def test_the_command_refuses_before_it_measures(engine_folder, tmp_path, capsys):
    earlier = tmp_path / "earlier.json"
    earlier.write_text(json.dumps(SCORES | {"run": RUN}))
    command = ["evaluate", "--engines", str(engine_folder("tiny")), "--seeds", "1100000:1100002"]
    assert main([*command, "--json", str(tmp_path / "out.json"), "--against", str(earlier)]) == 1
    assert "cannot be compared" in capsys.readouterr().err
    assert not (tmp_path / "out.records.jsonl").exists()
