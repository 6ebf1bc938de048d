import json
from collections import Counter

import numpy as np
import pytest

from loc3r_ros.errors import ConfigError
from loc3r_ros.evaluation import sqa3d

QUESTION = {"scene_id": "s1", "situation": "I am here.", "question": "What is it?", "question_id": 7}
ANNOTATION = {
    "question_id": 7,
    "answers": [{"answer": "piano"}],
    "rotation": {"_w": -0.02919952230128897, "_x": 0, "_y": 0, "_z": -0.9995736030415032},
    "position": {"x": 0.5, "y": -1.5, "z": 0},
}


def question(scene="s1", situation="here", pose=(0.0, 0.0, 0.0), text="What?"):
    return sqa3d.SituatedQuestion(scene, 1, situation, text, "yes", np.array(pose))


def write(folder, questions, annotations):
    paths = folder / "questions.json", folder / "annotations.json"
    paths[0].write_text(json.dumps({"questions": questions}))
    paths[1].write_text(json.dumps({"annotations": annotations}))
    return paths


def test_the_two_files_are_joined(tmp_path):
    (one,) = sqa3d.load_questions(*write(tmp_path, [QUESTION], [ANNOTATION]))
    assert (one.scene, one.answer, one.type) == ("s1", "piano", "what")
    # 2 atan2(-0.99957, -0.0292) is past -pi
    np.testing.assert_allclose(one.pose, [0.5, -1.5, np.pi - 2 * np.arcsin(0.02919952230128897)], atol=1e-6)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="not SQA3D's files"):
        sqa3d.load_questions(*write(tmp_path, [QUESTION], []))
    with pytest.raises(ConfigError, match="cannot be read"):
        sqa3d.load_questions(tmp_path / "no.json", tmp_path / "none.json")


def test_observers_face_away_from_the_stored_yaw():
    assert sqa3d.facing(0.0) == pytest.approx(-np.pi)
    assert sqa3d.facing(-np.pi / 2) == pytest.approx(np.pi / 2)


def test_the_best_position_and_the_best_heading_count():
    asked = [question(), question("s2")]
    near, ahead, off = (0.4, 0.0, 3.0), (9.0, 0.0, np.radians(14.0)), (0.0, 0.5, np.radians(15.0))
    scores = sqa3d.score_localization(asked, np.array([[near, ahead], [off, off]]))
    assert {name: score.value for name, score in scores.items()} == {
        "acc_0.5m": 0.5,
        "acc_1.0m": 1.0,
        "acc_15deg": 0.5,
        "acc_30deg": 1.0,
    }
    with pytest.raises(ConfigError, match="allows 3 guesses"):
        sqa3d.score_localization(asked, np.zeros((2, 4, 3)))


def test_situations_are_asked_once():
    asked = [question(text="one"), question(text="two"), question(situation="there"), question(scene="s2")]
    assert [(one.scene, one.situation, one.question) for one in sqa3d.situations(asked)] == [
        ("s1", "here", "one"),
        ("s1", "there", "What?"),
        ("s2", "here", "What?"),
    ]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  The  TV. ", "TV"),
        ("tv", "TV"),
        ("None", "zero"),
        ("0", "zero"),
        ("let", "left"),
        ("20 chairs", "twenty chairs"),
        ("23", "twenty-three"),
        ("21", "21"),
        ("mat2", "mat"),
        ("a an the chair", "chair"),
        ("2 o clock", "two o'clock"),
        ("10 oclock", "ten o'clock"),
        ("Backwards!", "backward"),
        ("an apple", "apple"),
    ],
)
def test_answers_are_cleaned(text, cleaned):
    assert sqa3d.clean_answer(text) == cleaned


@pytest.mark.parametrize(
    ("reply", "answers", "expected"),
    [
        ("The TV", ["tv"], (True, True)),
        ("wooden chair", ["chair"], (False, True)),
        ("chair", ["arm chair"], (False, True)),
        ("arm chair", ["armchair"], (False, True)),
        ("table", ["chair"], (False, False)),
        ("", ["chair"], (False, False)),
        ("?", ["chair"], (False, False)),
        ("brown", ["dark brown", "brown"], (True, True)),  # exact first, though the other contains it
    ],
)
def test_exact_and_refined_match(reply, answers, expected):
    assert sqa3d.match(reply, answers) == expected


@pytest.fixture(scope="module")
def official(shared):
    folder = shared / "data" / "sqa3d"
    return sqa3d.load_questions(
        folder / "v1_balanced_questions_test_scannetv2.json", folder / "v1_balanced_sqa_annotations_test_scannetv2.json"
    )


@pytest.mark.shared_data
def test_the_official_test_split(official):
    assert len(official) == 3519
    assert len({one.scene for one in official}) == 67
    assert len(sqa3d.situations(official)) == 719
    counts = Counter(one.type for one in official)
    assert counts == {"what": 1147, "is": 652, "how": 465, "can": 338, "which": 351, "others": 566}
    poses = np.array([one.pose for one in official])
    assert np.median(np.hypot(*np.array([one.pose[:2] for one in sqa3d.situations(official)]).T)) == pytest.approx(
        1.45, abs=0.01
    )
    assert np.abs(poses[:, 2]).max() <= np.pi


@pytest.mark.shared_data
@pytest.mark.parametrize(("guesses", "published"), [(1, (7.2, 25.8, 8.4, 16.9)), (3, (14.6, 34.2, 22.4, 42.3))])
def test_random_guesses_score_as_published(official, guesses, published):
    asked = sqa3d.situations(official)
    drawn = [sqa3d.score_localization(asked, sqa3d.random_guesses(len(asked), guesses, seed)) for seed in range(8)]
    means = [100 * np.mean([scores[name].value for scores in drawn]) for name in drawn[0]]
    np.testing.assert_allclose(means, published, atol=1.8)


@pytest.mark.shared_data
def test_the_scene_centre_scores_as_measured(official):
    asked = sqa3d.situations(official)
    scores = sqa3d.score_localization(asked, np.zeros((len(asked), 1, 3)))
    found = [100 * scores[name].value for name in scores]
    np.testing.assert_allclose(found, [10.0, 30.6, 15.9, 23.4], atol=0.06)
    low, high = scores["acc_1.0m"].interval
    assert low < 0.306 < high


@pytest.mark.shared_data
def test_the_commonest_answer_of_each_type(official):
    common = {
        kind: Counter(one.answer for one in official if one.type == kind).most_common(1)[0][0]
        for kind in {one.type for one in official}
    }
    exact = [sqa3d.match(common[one.type], [one.answer])[0] for one in official]
    assert 100 * np.mean(exact) == pytest.approx(21.3, abs=0.3)
