from dataclasses import replace

import numpy as np
import pytest

from loc3r_ros.engines.manifest import Calibration, LanguageSpec, Manifest, PosePriorSpec, VideoSpec
from loc3r_ros.errors import ConfigError, EngineError
from loc3r_ros.evaluation.calibration import fit, recalibrated, store
from loc3r_ros.evaluation.run import run
from loc3r_ros.evaluation.score import score_uncertainty

MANIFEST = Manifest(
    name="tiny",
    backend="onnxruntime",
    precision="fp32",
    model="abc",
    dimensions={},
    graphs={},
    video=VideoSpec(32, 5, 5, "grid", 4, 6.0, 31),
    pose_prior=PosePriorSpec((32, 32), "vlm3r", {}),
    language=LanguageSpec(2, 2, 8, 32, 320, 4096, 3, 4, (2, 0), 1.0, 44, "float32"),
)


@pytest.fixture(scope="module")
def boastful(plan, subject):
    """Records of an oracle whose sigma is half its noise, and whose headings are thrice too sharp."""
    return list(run(subject(claimed=0.5, sharpness=3.0), plan(60, questions=0), {}))


def test_an_honest_oracle_needs_no_calibration(records):
    calibration = fit(records)
    assert calibration.sigma_scale == pytest.approx(1.0, abs=0.08)
    assert calibration.heading_sharpness == pytest.approx(1.0, abs=0.1)
    assert calibration.own_position_sigma == pytest.approx(0.1, rel=0.15)
    assert calibration.own_heading_sigma == pytest.approx(np.radians(8.0), rel=0.15)
    assert calibration.sigma_floor == Calibration().sigma_floor


def test_a_boastful_one_is_put_right(boastful):
    calibration = fit(boastful)
    assert calibration.sigma_scale == pytest.approx(2.0, rel=0.08)
    assert calibration.heading_sharpness == pytest.approx(1 / 3, rel=0.12)
    before = score_uncertainty(boastful)
    after = score_uncertainty([recalibrated(record, calibration) for record in boastful])
    assert before["position"]["calibration_error"] > 0.2
    assert after["position"]["calibration_error"] < 0.03
    assert after["position"]["within_1_sigma"]["value"] == pytest.approx(39.3, abs=4)
    assert after["heading"]["calibration_error"] < before["heading"]["calibration_error"]


def test_a_few_wild_errors_do_not_widen_every_ellipse(records):
    def stray(record):
        wild = replace(record.placements[0], truth=record.placements[0].truth + np.array([30.0, 0.0, 0.0]))
        return replace(record, placements=[wild, *record.placements[1:]])

    strayed = [stray(record) if number % 5 == 0 else record for number, record in enumerate(records)]
    assert fit(strayed).sigma_scale == pytest.approx(1.0, abs=0.15)


def test_too_few_places(records):
    with pytest.raises(ConfigError, match="too few to fit"):
        fit(records[:2])


def test_a_calibration_is_stored_in_the_manifest_alone(tmp_path):
    (tmp_path / "manifest.json").write_text(MANIFEST.to_json())
    calibration = Calibration(1.7, 0.05, 0.8, 0.4, 0.2)
    store(tmp_path, calibration)
    assert Manifest.read(tmp_path) == replace(MANIFEST, calibration=calibration)
    assert Manifest.read(tmp_path).fingerprint == MANIFEST.fingerprint  # saved memories stay good
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_there_must_be_a_manifest(tmp_path):
    with pytest.raises(EngineError, match="not a folder of engines"):
        store(tmp_path, Calibration())
