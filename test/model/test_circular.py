import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loc3r_ros.model.circular import bin_centres, circular_mean, circular_std, wrapped_gaussian

HEADINGS = st.floats(-20, 20)
SIGMA = math.radians(20)


def difference(a, b):
    return abs(math.remainder(float(a) - float(b), 2 * math.pi))


def test_bins_cover_the_circle_from_minus_pi():
    centres = bin_centres(36)
    assert centres[0] == pytest.approx(-math.pi + math.pi / 36)
    assert centres[-1] == pytest.approx(math.pi - math.pi / 36)


@given(HEADINGS)
def test_decoding_gives_the_heading_back(heading):
    target = wrapped_gaussian(torch.tensor(heading, dtype=torch.float64), SIGMA, 36)
    assert float(target.sum()) == pytest.approx(1)
    assert difference(circular_mean(target), heading) < 1e-5
    assert float(circular_std(target)) == pytest.approx(SIGMA, rel=1e-3)


@given(HEADINGS, st.integers(-3, 3))
def test_whole_turns_change_nothing(heading, turns):
    heading = torch.tensor(heading, dtype=torch.float64)
    turned = wrapped_gaussian(heading + turns * 2 * math.pi, SIGMA, 36)
    torch.testing.assert_close(wrapped_gaussian(heading, SIGMA, 36), turned, atol=1e-9, rtol=0)


def test_the_seam_is_no_edge():
    target = wrapped_gaussian(torch.tensor([math.pi, -math.pi, math.pi - 1e-6]), SIGMA, 36)
    torch.testing.assert_close(target[0], target[1], atol=1e-6, rtol=0)
    torch.testing.assert_close(target[0], target[0].flip(0), atol=1e-6, rtol=0)  # first and last bins weigh the same
    assert target[0].argmax() in (0, 35)
    assert difference(circular_mean(target[2]), math.pi) < 1e-3


@pytest.mark.parametrize("sigma", [0.35, 1.0, 3.0])
def test_the_gaussian_wraps_all_the_way_round(sigma):
    """Its Fourier series: 1 + 2 sum over k of exp(-k^2 sigma^2 / 2) cos k (angle - heading)."""
    heading = torch.tensor(2.0, dtype=torch.float64)
    k = torch.arange(1, 60, dtype=torch.float64)[:, None]
    series = 1 + 2 * ((-0.5 * (k * sigma) ** 2).exp() * (k * (bin_centres(36).double() - heading)).cos()).sum(0)
    torch.testing.assert_close(wrapped_gaussian(heading, sigma, 36), series / series.sum(), atol=1e-6, rtol=0)


def test_the_mean_is_not_the_mean_of_numbers():
    probabilities = torch.zeros(36)
    probabilities[0] = probabilities[-1] = 0.5
    assert difference(circular_mean(probabilities), math.pi) < 1e-5


def test_extremes_are_finite():
    uniform = torch.full((36,), 1 / 36)
    certain = torch.nn.functional.one_hot(torch.tensor(4), 36).float()
    assert circular_std(uniform) > 3
    assert float(circular_std(certain)) == pytest.approx(0, abs=1e-3)
    assert torch.isfinite(circular_mean(uniform))
    assert torch.isfinite(wrapped_gaussian(torch.tensor(1.0), 1e-3, 36)).all()
    torch.testing.assert_close(wrapped_gaussian(torch.tensor(1.0), 10.0, 36), uniform, atol=1e-2, rtol=0)
