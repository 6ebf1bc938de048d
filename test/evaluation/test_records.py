import json

import numpy as np
import pytest

from loc3r_ros.errors import ConfigError
from loc3r_ros.evaluation.records import RecordFile, from_json, to_json
from loc3r_ros.world.facts import Cue

HEADER = {"model": "abc", "seeds": [1, 2]}


def test_a_record_survives_the_disk(records):
    record = records[0]
    read = from_json(to_json(record))
    assert read.seed == record.seed
    np.testing.assert_allclose(read.walk.estimated, record.walk.estimated, rtol=0)
    np.testing.assert_allclose(read.layout.level, record.layout.level, rtol=0)
    place, original = read.placements[3], record.placements[3]
    assert (place.text, place.ceiling) == (original.text, original.ceiling)
    np.testing.assert_allclose(place.readers["posed_map"], original.readers["posed_map"], rtol=0)
    for name, estimate in original.estimates.items():
        np.testing.assert_allclose(place.estimates[name].covariance, estimate.covariance, rtol=0)
        assert place.estimates[name].confidence == estimate.confidence
    assert read.asked == [] or read.asked[0].replies == record.asked[0].replies
    assert from_json(to_json(records[5])).walk is None


def test_cues_survive_the_disk(records):
    asked = records[0].asked[0]
    object.__setattr__(asked, "cues", (Cue(("is", "sofa"), "yes", 2, 0.3),))
    assert from_json(to_json(records[0])).asked[0].cues == asked.cues
    object.__setattr__(asked, "cues", ())


def test_a_run_goes_on_behind_what_is_whole(records, tmp_path):
    path = tmp_path / "deep" / "run.jsonl"
    file = RecordFile.open(path, HEADER)
    for record in records[:3]:
        file.add(record)
    path.write_text(path.read_text()[:-20])  # the machine went down while it wrote the third
    again = RecordFile.open(path, HEADER)
    assert list(again.records) == [record.seed for record in records[:2]]
    again.add(records[2])
    assert list(RecordFile.open(path, HEADER).records) == [record.seed for record in records[:3]]


def test_records_of_something_else_are_refused(tmp_path):
    path = tmp_path / "run.jsonl"
    RecordFile.open(path, HEADER)
    with pytest.raises(ConfigError, match="other engines, seeds or options"):
        RecordFile.open(path, HEADER | {"model": "def"})


@pytest.mark.parametrize("text", ["", "no json\n", json.dumps(HEADER) + "\n[1]\n"])
def test_damaged_files_are_refused(tmp_path, text):
    path = tmp_path / "run.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match="damaged"):
        RecordFile.open(path, HEADER)
