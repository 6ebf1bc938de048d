"""What ships in engines/nano is what its checkpoint in models/nano gives."""

import numpy as np
import pytest

from loc3r_ros.cli import main
from loc3r_ros.engines import Manifest
from loc3r_ros.engines.manifest import HEAD_FILE
from loc3r_ros.export.source import load_calibration
from loc3r_ros.resources import find_resource

ENGINES, MODEL = find_resource("engines/nano"), find_resource("models/nano")


@pytest.mark.slow
def test_one_command_makes_the_shipped_engines_from_the_shipped_checkpoint(tmp_path):
    shipped = Manifest.read(ENGINES)
    shipped.verify(ENGINES)
    command = ["export", str(MODEL), "--out", str(tmp_path / "nano"), "--precision", shipped.precision, "--no-check"]
    assert main(command) == 0
    made = Manifest.read(tmp_path / "nano")
    assert made.model == shipped.model
    assert set(made.files) == set(shipped.files)
    # The cache of the prompt is computed, so that its last bits depend on the processor.
    assert {name for name, digest in made.files.items() if digest != shipped.files[name]} <= {HEAD_FILE}
    with np.load(ENGINES / HEAD_FILE) as ours, np.load(tmp_path / "nano" / HEAD_FILE) as theirs:
        for name in ours.files:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-4)


def test_the_shipped_engines_are_small_and_calibrated():
    assert sum(file.stat().st_size for file in ENGINES.iterdir()) < 40e6
    assert Manifest.read(ENGINES).calibration == load_calibration(MODEL)
    assert (MODEL / "calibration.json").exists()
