"""What the lessons ask of names, poses and answers."""

import math

import torch

from loc3r_ros.train.lessons import LOOKS, PLACES, READ, fixed_reading, poses_in_places, total


def test_poses_are_two_places():
    class Texts:
        pose = torch.tensor([[[1.0, 2.0, math.pi / 2], [0.0, 0.0, math.pi]]])
        posed = torch.tensor([[True, False]])
        position, orientation = torch.tensor([[3, 8]]), torch.tensor([[4, 9]])

    columns, places, known = poses_in_places(Texts)
    assert columns.tolist() == [[3, 8, 4, 9]] and known.tolist() == [[True, False, True, False]]
    torch.testing.assert_close(places[0], torch.tensor([[1.0, 2.0], [0.0, 0.0], [1.0, 3.0], [-1.0, 0.0]]))


def test_what_an_answer_says_is_read_in_directions_that_never_change():
    directions = fixed_reading(192)
    assert torch.equal(directions, fixed_reading(192))
    torch.testing.assert_close(directions.T @ directions, READ**2 * torch.eye(5))
    assert fixed_reading(3).shape == (3, 5)


def test_every_lesson_is_in_one_sum():
    lessons = {name: torch.tensor(float(number)) for number, name in enumerate((*LOOKS, *PLACES))}
    assert len(lessons) == len(LOOKS) + len(PLACES)
    assert float(total(lessons, LOOKS) + total(lessons, PLACES)) == sum(range(len(lessons)))
