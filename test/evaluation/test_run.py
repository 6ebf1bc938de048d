import itertools
from dataclasses import replace

import numpy as np
import pytest

from loc3r_ros.evaluation import records as data
from loc3r_ros.evaluation.clips import load_clip
from loc3r_ros.evaluation.run import follow, layout_errors, look_at_layout, run, shots_of, watch
from loc3r_ros.evaluation.score import score
from loc3r_ros.interface import LocalizerProtocol
from loc3r_ros.world.facts import Cue
from loc3r_ros.world.questions import Question

PARTS = ("words", "language", "pose_prior", "camera_belief", "perception")


@pytest.fixture(scope="module")
def report(records):
    return score(records)


def test_the_oracle_is_a_localizer(subject):
    assert isinstance(subject().video, LocalizerProtocol)


def test_an_oracle_is_nearly_always_right(report):
    assert report["acc_0.5m"] > 99.9
    assert report["acc_1.0m"] == 100.0
    assert report["acc_15deg"] == pytest.approx(100 * 0.939, abs=3)  # 15 degrees are 1.875 sigma
    assert report["acc_30deg"] > 99.5
    assert report["scenes"] == 120
    # The median of a Rayleigh distribution, and of the size of a normal one.
    video = report["localization"]["video"]
    assert video["median_m"]["value"] == pytest.approx(0.1 * 1.1774, rel=0.08)
    assert video["median_deg"]["value"] == pytest.approx(8 * 0.6745, rel=0.1)
    assert video["acc_1.0m"]["count"] == 720


def test_the_ceiling_is_that_of_the_situations(report):
    ceiling = report["localization"]["ceiling"]
    values = {name: ceiling[name]["value"] for name in ceiling}
    assert values == pytest.approx({"acc_0.5m": 80, "acc_1.0m": 90, "acc_15deg": 70, "acc_30deg": 95})


@pytest.mark.parametrize("condition", ["shuffled", "blank"])
def test_without_the_video_it_is_at_chance(report, condition):
    scores = report["localization"][condition]
    assert scores["acc_1.0m"]["value"] < 8  # a disc of 1 m in a room of 8 x 8 m has 4.9 %
    assert scores["acc_15deg"]["value"] == pytest.approx(100 / 12, abs=4)
    assert scores["acc_30deg"]["value"] == pytest.approx(100 / 6, abs=5)
    types = report["questions"]["types"]
    assert types["is"]["score"][condition]["value"] == pytest.approx(50, abs=8)
    assert types["direction"]["score"][condition]["value"] == pytest.approx(25, abs=8)
    # 1 for 2 is right to a half, 2 for 1 not at all: (10 + 1 + 0 + 10) / 40
    assert types["distance"]["score"][condition]["value"] == pytest.approx(52.5, abs=8)


def test_a_constant_guess_is_at_chance(report):
    assert report["localization"]["constant"]["acc_15deg"]["value"] == pytest.approx(100 / 12, abs=4)
    assert report["questions"]["types"]["is"]["score"]["constant"]["value"] == pytest.approx(53, abs=5)


def test_questions_about_the_video_are_answered(report):
    questions = report["questions"]
    assert {kind: group["score"]["video"]["value"] for kind, group in questions["types"].items()} == {
        "is": 100.0,
        "direction": 100.0,
        "distance": 100.0,
    }
    assert questions["types"]["distance"]["judged_by"] == "mra"
    assert questions["mean"]["video"]["value"] == 100.0
    gain = questions["gain"]["over_blank"]
    assert gain["value"] == pytest.approx(100 - questions["mean"]["blank"]["value"])
    assert gain["low"] < gain["value"] < gain["high"]
    assert questions["least_gain_over_blank"]["type"] in ("is", "distance")
    assert questions["types"]["is"]["score"]["video"]["count"] == 360


def test_an_honest_oracle_is_calibrated(report):
    position, heading = (report["uncertainty"][name] for name in ("position", "heading"))
    assert position["within_1_sigma"]["value"] == pytest.approx(39.3, abs=5)
    assert position["within_2_sigma"]["value"] == pytest.approx(86.5, abs=3)
    assert position["expected_within"] == pytest.approx({"1": 39.35, "2": 86.47}, abs=0.01)
    assert heading["within_1_sigma"]["value"] == pytest.approx(68.3, abs=5)
    assert heading["within_2_sigma"]["value"] == pytest.approx(95.4, abs=3)
    assert position["calibration_error"] < 0.03
    assert heading["calibration_error"] < 0.03
    assert report["uncertainty"]["confidence"]["calibration_error"] < 1e-6
    assert np.isnan(position["rank_correlation"])  # its sigma never varies


def test_the_camera_s_own_place(report):
    own = report["own_place"]
    assert own["acc_0.5m"]["count"] == 120  # at the last of four frames
    assert own["median_m"]["value"] == pytest.approx(0.1 * 1.1774, rel=0.2)
    assert own["uncertainty"]["position"]["calibration_error"] < 0.08


def test_a_boastful_oracle_is_found_out(plan, subject):
    report = score(list(run(subject(claimed=0.5), plan(60, questions=0), {})))
    position = report["uncertainty"]["position"]
    assert position["within_1_sigma"]["value"] == pytest.approx(100 * (1 - np.exp(-0.125)), abs=5)
    assert position["calibration_error"] > 0.25
    assert report["layout"]["all"]["within_2_sigma"]["value"] == pytest.approx(39.3, abs=4)
    assert report["questions"] == {}


def test_the_layout_is_as_good_as_the_noise(report):
    layout = report["layout"]
    assert layout["all"]["mean_m"]["value"] == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.05)
    assert layout["all"]["mean_m"]["count"] == 120 * 4 * 5  # one of six patches is no place
    assert layout["all"]["within_1_sigma"]["value"] == pytest.approx(39.3, abs=3)
    assert sum(row["mean_m"]["count"] for row in layout["by_distance"]) == 120 * 4 * 5
    assert [row["distance"] for row in layout["by_distance"]][:2] == ["0-1 m", "1-2 m"]


def lost_to(report, accuracy):
    return {part: group[accuracy]["value"] for part, group in report["explained"]["lost_to"].items()}


def test_an_oracle_loses_nothing(report):
    assert lost_to(report, "acc_1.0m") == pytest.approx(dict.fromkeys(PARTS, 0.0), abs=0.2)


@pytest.mark.parametrize("part", ["pose_prior", "camera_belief"])
def test_an_oracle_that_mistakes_its_cameras(plan, subject, monkeypatch, part):
    """It reads its own map well, but all of that is turned and moved, by its pose prior or against it."""
    stub = subject(drift=(1.5, -0.5, 1.0))
    if part == "camera_belief":
        truth = subject().video
        monkeypatch.setattr(stub.video, "keyframes", lambda: tuple(truth.keyframes()))
        observe = stub.video.observe
        monkeypatch.setattr(stub.video, "reset", lambda: type(stub.video).reset(stub.video) or truth.reset())
        monkeypatch.setattr(stub.video, "observe", lambda *seen: truth.observe(*seen) and observe(*seen))
    report = score(list(run(stub, plan(20, questions=0), {})))
    assert report["localization"]["video"]["acc_30deg"]["value"] < 15  # 57 degrees off
    for accuracy in ("acc_1.0m", "acc_30deg"):
        lost = lost_to(report, accuracy)
        assert lost.pop(part) > 80
        assert lost == pytest.approx(dict.fromkeys(lost, 0.0), abs=8)
    layout = report["layout"]
    assert layout["all"]["mean_m"]["value"] > 1.0
    assert layout["poses_given"]["mean_m"]["value"] < 0.13


def test_an_oracle_that_sees_badly(plan, subject):
    """Its map is a blur and it would read the words well: it does better than its map."""
    lost = lost_to(score(list(run(subject(blur=3.0), plan(40, questions=0), {}))), "acc_1.0m")
    assert lost["perception"] > 50
    assert lost["language"] < -50
    assert abs(lost["words"]) < 0.2


def test_an_oracle_that_does_not_understand(plan, subject, monkeypatch):
    stub = subject()
    guess = stub.blank.locate
    monkeypatch.setattr(stub.video, "locate", lambda text: guess(""))
    lost = lost_to(score(list(run(stub, plan(20, questions=0), {}))), "acc_1.0m")
    assert lost.pop("language") > 85
    assert lost == pytest.approx(dict.fromkeys(lost, 0.0), abs=1)


def test_exact_cameras_have_no_error(report):
    for name in ("camera", "long_walk"):
        group = report[name]
        for key in ("absolute", "relative"):
            assert group[key]["mean_m"]["value"] == pytest.approx(0, abs=1e-9)
            assert group[key]["mean_deg"]["value"] == pytest.approx(0, abs=1e-4)
        assert group["scale"]["value"] == pytest.approx(1.0)
    assert report["camera"]["trajectories"] == 120
    assert report["long_walk"]["poses"] == 2 * 40


def test_a_wrong_scale_shows_in_the_absolute_error_alone(plan, subject):
    group = score(list(run(subject(scale=1.25), plan(2, questions=0), {})))["camera"]
    assert group["scale"]["value"] == pytest.approx(0.8)
    assert group["aligned_m"]["value"] == pytest.approx(0, abs=1e-9)
    assert group["absolute"]["mean_m"]["value"] > 0.02
    assert group["absolute"]["mean_deg"]["value"] == pytest.approx(0, abs=1e-4)


def test_anchors_are_chained_on_a_long_walk(plan, subject):
    robot = subject().robot
    clip = plan(2).load(1_100_000, 40)
    trajectory = follow(robot, shots_of(clip))
    assert robot.anchor_id == 8
    np.testing.assert_allclose(trajectory.estimated, clip.anchor_t_camera, atol=1e-9)


def test_layout_finds_its_frames_by_their_stamps(plan, subject):
    """A localizer that kept frames 1 and 3 alone, as its keyframes 0 and 1."""
    localizer, clip = subject(noise=1e-9).video, plan(2).load(1_100_001, 4)
    watch(localizer, clip)
    whole, kept = localizer.layout(), localizer.keyframes()
    rows = np.isin(whole.keyframe_index, (1, 3))
    part = replace(
        whole, points=whole.points[rows], sigma=whole.sigma[rows], keyframe_index=whole.keyframe_index[rows] // 2
    )
    localizer.layout = lambda: part
    localizer.keyframes = lambda: (replace(kept[1], index=0), replace(kept[3], index=1))
    perceived, sigma = look_at_layout(localizer, clip)
    errors = layout_errors(perceived, perceived.posed(), sigma, clip)
    assert len(errors.error) == 2 * 5
    assert errors.error.max() < 1e-6
    distance = np.linalg.norm(clip.patches[3, 0] - clip.anchor_t_camera[3, :2, 3])
    assert errors.distance[5] == pytest.approx(distance)


def test_a_run_that_was_interrupted_comes_to_the_same(plan, subject):
    whole = list(run(subject(noise=1e-6), plan(5), {}))
    done = {record.seed: data.from_json(data.to_json(record)) for record in whole[:2]}
    rest = list(run(subject(noise=1e-6), plan(5), done))
    assert [record.seed for record in rest] == [record.seed for record in whole[2:]]
    for resumed, first in zip(rest, whole[2:], strict=True):
        assert [one.text for one in resumed.asked] == [one.text for one in first.asked]
        assert resumed.asked[0].replies["video"] == first.asked[0].replies["video"]


def test_questions_stay_balanced_when_a_run_goes_on(plan, subject):
    """What the balance refuses in one go it refuses in two."""
    cue = Cue(("is", "sofa"), "yes", 2)

    def load(seed, frames):
        return replace(make(seed, frames), questions=(Question("is", f"is 0 {seed}?", "yes", 0, (cue,)),))

    make = plan(2).load
    biased = replace(plan(4), load=load)
    whole = list(run(subject(), biased, {}))
    assert [len(record.asked) for record in whole] == [1, 0, 0, 0]
    done = {whole[0].seed: data.from_json(data.to_json(whole[0]))}
    assert [len(record.asked) for record in run(subject(), biased, done)] == [0, 0, 0]


def test_the_blank_run_sees_grey_alone(plan, subject):
    stub, shown = subject(), []
    observe = stub.blank.observe
    stub.blank.observe = lambda image, stamp: shown.append(image) or observe(image, stamp)
    list(run(stub, plan(3, questions=0), {}))
    assert len(shown) == 4, "the same frames serve all scenes"
    assert all((image == 128).all() for image in shown)


def test_no_more_questions_than_wanted(plan, subject):
    (record, _) = run(subject(), plan(2, questions=2), {})
    assert [one.type for one in record.asked] == ["is"] * 2 + ["direction"] * 2 + ["distance"] * 2


def test_shuffled_is_the_scene_before(plan, subject, monkeypatch):
    """The first scene's questions are asked of the last scene's video."""
    stub, seen = subject(), []
    locate = stub.video.locate
    monkeypatch.setattr(
        stub.video, "locate", lambda text: seen.append((stub.video.clip.seed, int(text.split()[-1]))) or locate(text)
    )
    list(run(stub, plan(3, questions=0), {}))
    shown = [[seed % 10 for seed, _ in group] for _, group in itertools.groupby(seen, key=lambda pair: pair[1])]
    assert shown == [[2] * 6 + [0] * 6, [0] * 6 + [1] * 6, [1] * 6 + [2] * 6]


@pytest.mark.slow
def test_through_real_engines(engine_folder, tmp_path):
    from loc3r_ros.evaluation.engines import load_engines, subject_of
    from loc3r_ros.evaluation.run import Plan
    from loc3r_ros.prompt.template import PromptTemplate

    folder = engine_folder("tiny")
    engines = load_engines(folder)
    video = engines.manifest.video
    seeds = range(1_100_000, 1_100_002)
    plan = Plan(seeds, lambda seed, frames: load_clip(seed, frames, video), video.frames, 1, walks=1, walk_frames=24)
    records = list(run(subject_of(engines, PromptTemplate.load(folder)), plan, {}))
    report = score(records)
    assert 0.0 <= report["acc_1.0m"] <= 100.0
    assert len(records[0].camera.true) == video.frames
    assert report["localization"]["video"]["acc_1.0m"]["count"] == sum(len(record.placements) for record in records)
    assert len(records[0].walk.true) >= 2
    again = list(run(subject_of(engines, PromptTemplate.load(folder)), plan, {}))
    assert [data.to_json(record) for record in again] == [data.to_json(record) for record in records]
