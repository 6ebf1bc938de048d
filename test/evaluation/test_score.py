"""Scores of records made by hand."""

import numpy as np
import pytest

from loc3r_ros.evaluation.records import Asked, Estimated, LayoutErrors, Placement, SceneRecord, Trajectory
from loc3r_ros.evaluation.score import score

EVEN = np.full(36, 1 / 36)
ACCURACIES = ("acc_0.5m", "acc_1.0m", "acc_15deg", "acc_30deg")


def place(off, sigma, degrees=0.0, heading_sigma=10.0, confidence=0.75):
    """A place whose estimate is `off` metres too far along x; those of the other conditions are 9 m off."""
    pose = np.array([1.0 + off, 2.0, np.pi - 0.01 + np.radians(degrees)])
    pose[2] = (pose[2] + np.pi) % (2 * np.pi) - np.pi
    covariance = np.diag([sigma, sigma, np.radians(heading_sigma)]) ** 2
    far = Estimated(pose + np.array([9.0, 0.0, 0.0]), covariance, EVEN, confidence)
    estimates = {"video": Estimated(pose, covariance, EVEN, confidence), "shuffled": far, "blank": far}
    truth = np.array([1.0, 2.0, np.pi - 0.01])
    east = np.array([1.0, 0.0, 0.0])
    metres = {"model_map": 0.8, "prior_map": 0.6, "posed_map": 0.4, "true_map": 0.0}
    readers = {name: truth + error * east for name, error in metres.items()}
    return Placement("there", truth, dict.fromkeys(ACCURACIES, 1.0), estimates, readers)


def asked(kind, answer, video, shuffled="", blank=""):
    return Asked(kind, "?", "", answer, {"video": video, "shuffled": shuffled, "blank": blank})


def record(seed, placements=(), questions=(), distances=(), errors=()):
    layout = LayoutErrors(np.array(distances), np.array(errors), np.full(len(errors), 0.5), 0.5 * np.array(errors))
    camera = Trajectory(np.tile(np.eye(4), (2, 1, 1)), np.tile(np.eye(4), (2, 1, 1)))
    own = [place(0.1, 0.1)]
    return SceneRecord(seed, np.zeros(3), list(placements), own, list(questions), layout, camera)


def values(group):
    return {name: one["value"] for name, one in group.items()}


def test_places():
    groups = score(
        [
            record(0, [place(0.2, 0.1, 10.0), place(0.7, 0.2, -20.0), place(3.0, 2.0, 40.0)]),
            record(1, [place(2.0, 1.0, 5.0)]),
        ]
    )
    assert {name: groups[name] for name in ACCURACIES} == {
        "acc_0.5m": 25.0,
        "acc_1.0m": 50.0,
        "acc_15deg": 50.0,
        "acc_30deg": 75.0,
    }
    assert groups["localization"]["video"]["median_m"]["value"] == pytest.approx(0.7)
    assert groups["localization"]["video"]["median_deg"]["value"] == pytest.approx(10.0)
    assert groups["localization"]["blank"]["acc_1.0m"]["value"] == 0.0
    # Draws of the second scene alone, of both, of the first alone.
    video = groups["localization"]["video"]["acc_1.0m"]
    assert (video["low"], video["high"]) == pytest.approx((0.0, 200 / 3))


def test_what_each_part_loses():
    groups = score([record(0, [place(0.2, 0.1), place(0.7, 0.2)]), record(1, [place(2.0, 1.0), place(3.0, 1.0)])])
    explained = groups["explained"]
    rows = {name: row["acc_0.5m"]["value"] for name, row in explained["truth_given_for"].items()}
    assert list(rows.values()) == [25.0, 0.0, 0.0, 100.0, 100.0]
    assert list(rows) == ["nothing", "language", "language_and_pose_prior", "language_and_cameras", "all_but_the_words"]
    assert {name: row["acc_0.5m"]["value"] for name, row in explained["lost_to"].items()} == {
        "words": 0.0,
        "language": -25.0,  # the model does better than its own map says
        "pose_prior": 0.0,
        "camera_belief": 100.0,
        "perception": 0.0,
    }
    language = explained["lost_to"]["language"]
    assert language["acc_1.0m"]["value"] == 50.0
    assert (language["acc_1.0m"]["low"], language["acc_1.0m"]["high"]) == (0.0, 100.0)  # one scene of two loses all


def test_uncertainty():
    placed = [place(0.25, 0.1), place(0.7, 0.4), place(3.0, 2.0, 15.0), place(1.9, 1.0, 25.0)]
    groups = score([record(0, placed)])["uncertainty"]
    position, heading = groups["position"], groups["heading"]
    assert position["rank_correlation"] == pytest.approx(1.0)
    assert position["within_1_sigma"]["value"] == 0.0  # 2.5, 1.75, 1.5 and 1.9 sigma
    assert position["within_2_sigma"]["value"] == 75.0
    assert position["median_sigma_m"] == pytest.approx(0.7)
    assert heading["within_1_sigma"]["value"] == 50.0
    assert heading["within_2_sigma"]["value"] == 75.0
    assert heading["median_sigma_deg"] == pytest.approx(10.0)
    confidence = groups["confidence"]
    assert confidence["calibration_error"] == pytest.approx(0.25)  # 0.75 claimed, half of them right
    assert confidence["brier"] == pytest.approx((2 * 0.25**2 + 2 * 0.75**2) / 4)
    assert confidence["mean"] == 75.0
    assert values(groups["by_sigma"]) == {
        "acc_1.0m_surer_half": 100.0,
        "acc_1.0m_other_half": 0.0,
        "difference": 100.0,
    }


def test_a_model_that_is_surest_where_it_is_wrong():
    groups = score([record(0, [place(3.0, 0.1), place(2.0, 0.2), place(0.7, 0.4), place(0.2, 2.0)])])["uncertainty"]
    assert groups["position"]["rank_correlation"] == pytest.approx(-1.0)
    assert groups["by_sigma"]["difference"]["value"] == -100.0


def test_questions():
    first = [
        asked("is", "yes", "Yes.", "no", "yes"),
        asked("is", "no", "yes", "no", "yes"),
        asked("distance", "2.0", "2.0", "4.0", "none"),
    ]
    second = [asked("is", "yes", "yes", "no", "no"), asked("distance", "4.0", "2.2", "4.0", "4.0")]
    groups = score([record(0, questions=first), record(1, questions=second)])["questions"]
    yes_no, distance = groups["types"]["is"], groups["types"]["distance"]
    assert values(yes_no["score"]) == pytest.approx(
        {"video": 200 / 3, "shuffled": 100 / 3, "blank": 100 / 3, "constant": 200 / 3}
    )
    # 45 % off is right under the limit of 0.5 alone; the constant is 3.0: 50 % off, and 25 % off (right up to 0.7).
    assert values(distance["score"]) == pytest.approx(
        {"video": 55.0, "shuffled": 50.0, "blank": 50.0, "constant": 25.0}
    )
    assert values(distance["exact"])["video"] == 50.0
    assert groups["mean"]["video"]["value"] == pytest.approx((200 / 3 + 55) / 2)
    assert groups["gain"]["over_blank"]["value"] == pytest.approx((100 / 3 + 5) / 2)
    assert groups["least_gain_over_blank"] == {"type": "distance", "value": pytest.approx(5.0)}
    assert "count" not in groups["types"]


def test_layout_by_distance():
    groups = score(
        [record(0, distances=[0.5, 1.0, 1.9], errors=[0.1, 0.2, 0.4]), record(1, distances=[7.0], errors=[2])]
    )
    layout = groups["layout"]
    assert [(row["distance"], row["mean_m"]["value"], row["mean_m"]["count"]) for row in layout["by_distance"]] == [
        ("0-1 m", pytest.approx(0.1), 1),
        ("1-2 m", pytest.approx(0.3), 2),
        ("6+ m", pytest.approx(2.0), 1),
    ]
    assert layout["all"]["mean_m"]["value"] == pytest.approx(2.7 / 4)
    assert layout["poses_given"]["mean_m"]["value"] == pytest.approx(2.7 / 8)
    assert layout["all"]["within_1_sigma"]["value"] == 0.0  # a level of 0.5 lies between 39 % and 86 %
    assert layout["all"]["within_2_sigma"]["value"] == 100.0


def test_scenes_without_anything_to_ask():
    groups = score([record(0), record(1)])
    assert groups["scenes"] == 2
    assert "acc_1.0m" not in groups
    assert groups["localization"] == groups["questions"] == groups["layout"] == groups["uncertainty"] == {}
    assert groups["explained"] == {}
    assert groups["long_walk"] == {}
    assert groups["own_place"]["acc_0.5m"]["value"] == 100.0
