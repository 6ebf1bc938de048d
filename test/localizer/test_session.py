"""A memory survives a restart exactly, and a file that does not fit is refused with the reason."""

import threading

import numpy as np
import pytest

from loc3r_ros import geometry
from loc3r_ros.errors import SessionError
from loc3r_ros.localizer import Localizer

SECOND = 1_000_000_000
SITUATION = "I am standing beside the sofa."


def image(number):
    return np.random.default_rng(number).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def assert_same(ours, theirs):
    np.testing.assert_array_equal(ours.locate(SITUATION).pose, theirs.locate(SITUATION).pose)
    np.testing.assert_array_equal(ours.where_am_i().pose, theirs.where_am_i().pose)
    np.testing.assert_array_equal(ours.layout().points, theirs.layout().points)
    for mine, other in zip(ours.keyframes(), theirs.keyframes(), strict=True):
        assert (mine.index, mine.stamp, mine.reference) == (other.index, other.stamp, other.reference)
        np.testing.assert_array_equal(mine.image, other.image)
        np.testing.assert_array_equal(mine.reference_t_camera, other.reference_t_camera)


def test_a_restart_goes_on_exactly(make, seen, tmp_path):
    seen.save(tmp_path / "deep" / "memory.loc3r")
    resumed = make()
    resumed.restore(tmp_path / "deep" / "memory.loc3r")
    assert_same(resumed, seen)
    for number in range(3, 8):  # through an eviction and a rebuild
        for localizer in (seen, resumed):
            localizer.observe(image(number), number * SECOND)
            assert localizer.settle(60)
    assert seen.where_am_i().anchor_id > 0
    assert_same(resumed, seen)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["memory.loc3r"]


def test_what_odometry_knew_is_of_another_run_and_the_past_lies_before_now(make, tmp_path):
    localizer = make()
    for number in range(3):
        pose = geometry.from_planar((0.5 * number, 0.0, 0.0), 1.0) @ geometry.CAMERA_LINK_T_OPTICAL
        localizer.observe(image(number), (100 + number) * SECOND, pose)
    assert np.isfinite(localizer.trajectory().odom_t_cameras).all()
    localizer.save(tmp_path / "memory", "what the caller knows")
    resumed = make()
    assert resumed.restore(tmp_path / "memory", now=50 * SECOND) == "what the caller knows"
    stamps = [keyframe.stamp for keyframe in resumed.keyframes()]
    assert stamps[-1] < 50 * SECOND and np.diff(stamps).tolist() == [SECOND, SECOND]
    assert resumed.where_am_i().stamp == stamps[-1] == resumed.trajectory().stamps[-1]
    assert {keyframe.reference for keyframe in resumed.keyframes()} == {"anchor"}
    for keyframe, camera in zip(resumed.keyframes(), resumed.trajectory().anchor_t_cameras, strict=True):
        np.testing.assert_array_equal(keyframe.reference_t_camera, camera)
    assert np.isnan(resumed.trajectory().odom_t_cameras).all()
    assert resumed.observe(image(7), 51 * SECOND, np.eye(4)) is not None  # not refused, and nothing was forgotten
    assert len(resumed.keyframes()) == 4
    kept = make()
    kept.restore(tmp_path / "memory", now=500 * SECOND)
    assert [keyframe.stamp for keyframe in kept.keyframes()] == [(100 + n) * SECOND for n in range(3)]


def test_what_a_process_that_died_left_is_written_over(seen, tmp_path):
    (tmp_path / ".memory.part").write_bytes(b"half a file")
    seen.save(tmp_path / "memory")
    assert [path.name for path in tmp_path.iterdir()] == ["memory"]


def test_resume_finds_its_engines(seen, tmp_path):
    seen.save(tmp_path / "memory")
    assert_same(Localizer.resume(tmp_path / "memory"), seen)


def test_a_memory_saved_during_a_rebuild(make, seen, tmp_path):
    gate, engine = threading.Event(), seen.engines.language

    class Gate:
        spec = engine.spec

        def run(self, inputs, into=None):
            assert threading.current_thread().name != "loc3r-rebuild" or gate.wait(60)
            return engine.run(inputs, into)

    object.__setattr__(seen.engines, "language", Gate())
    seen.observe(image(3), 3 * SECOND)
    seen.observe(image(4), 4 * SECOND)
    assert seen.is_rebuilding
    seen.save(tmp_path / "memory")
    gate.set()
    assert seen.settle(60)
    resumed = make()
    resumed.restore(tmp_path / "memory")
    assert resumed.settle(60)
    np.testing.assert_allclose(resumed.locate(SITUATION).pose, seen.locate(SITUATION).pose, atol=1e-5)
    assert [k.index for k in resumed.keyframes()] == [k.index for k in seen.keyframes()]


def test_the_place_of_an_anchor_in_the_one_before_is_kept(make, tmp_path):
    localizer = make()
    for number in range(5):
        localizer.observe(image(number), number * SECOND)
    assert localizer.settle(60)
    localizer.save(tmp_path / "memory")
    resumed = make()
    resumed.restore(tmp_path / "memory")
    np.testing.assert_array_equal(resumed.trajectory().previous_t_anchor, localizer.trajectory().previous_t_anchor)


def test_poses_that_are_not_known_stay_unknown(make, tmp_path):
    localizer = make()
    localizer.observe(image(0), 0, odometry=np.full((4, 4), np.nan))
    localizer.save(tmp_path / "memory")
    resumed = make()
    resumed.restore(tmp_path / "memory")
    assert np.isnan(resumed.trajectory().odom_t_cameras).all() and resumed.keyframes()[0].reference == "anchor"


def test_other_engines_are_refused(engine_folder, seen, tmp_path):
    seen.save(tmp_path / "memory")
    other = Localizer.load(engine_folder("tiny", "fp16"), threads=1)
    with pytest.raises(SessionError, match=r"saved with other engines \(tiny"):
        other.restore(tmp_path / "memory")


def test_a_smaller_memory_is_refused(make, seen, tmp_path):
    seen.save(tmp_path / "memory")
    before = make(capacity=2, block=1)
    before.observe(image(9), 0)
    with pytest.raises(SessionError, match="does not fit this memory"):
        before.restore(tmp_path / "memory")
    assert len(before.keyframes()) == 1 and before.locate(SITUATION).keyframe_count == 1


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 half a zip"])
def test_a_damaged_file_is_refused(seen, tmp_path, content):
    (tmp_path / "memory").write_bytes(content)
    with pytest.raises(SessionError, match="damaged"):
        seen.restore(tmp_path / "memory")
    assert seen.locate(SITUATION).keyframe_count == 3


def test_a_truncated_file_is_refused(seen, tmp_path):
    seen.save(tmp_path / "memory")
    content = (tmp_path / "memory").read_bytes()
    (tmp_path / "memory").write_bytes(content[: len(content) // 2])
    with pytest.raises(SessionError, match="damaged"):
        seen.restore(tmp_path / "memory")


def test_a_file_that_lacks_something_is_refused(seen, tmp_path):
    seen.save(tmp_path / "memory")
    with np.load(tmp_path / "memory") as file:
        arrays = {name: file[name] for name in file.files if name != "entry/pose"}
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(SessionError, match="damaged"):
        seen.restore(tmp_path / "other.npz")


def test_a_file_that_would_run_code_is_refused(seen, tmp_path):
    np.savez(tmp_path / "evil.npz", header=np.array([{"format": 1}], dtype=object))
    with pytest.raises(SessionError):
        seen.restore(tmp_path / "evil.npz")


def test_no_file(seen, tmp_path):
    with pytest.raises(SessionError, match="no saved memory"):
        seen.restore(tmp_path / "nothing")
    with pytest.raises(SessionError, match="no saved memory"):
        Localizer.resume(tmp_path / "nothing")


def test_a_folder_that_cannot_be_written(seen, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SessionError, match="could not be saved"):
        seen.save(tmp_path / "file" / "memory")
