import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from loc3r_ros.errors import ConfigError
from loc3r_ros.model import losses
from loc3r_ros.model.circular import wrapped_gaussian
from loc3r_ros.model.heads import MAX_LOG_VARIANCE, MIN_LOG_VARIANCE, Gaussian, as_gaussian, bound_log_variance
from loc3r_ros.model.losses import Losses, LossWeights, heading_divergence, language_loss, place_nll

SIGMA = math.radians(20)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_the_likelihood_of_places_is_the_papers_formula():
    mean, log_variance, target = random(5, 2), random(5, 2, seed=1), random(5, 2, seed=2).float().double()
    variance = log_variance.exp()
    expected = (0.5 * ((mean - target) ** 2 / variance + variance.log()).sum(1)).mean()
    loss = place_nll(Gaussian(mean, log_variance), target, torch.ones(5, dtype=torch.bool))
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("tails", [0.0, 4.0])
def test_gradients_are_the_numerical_ones(tails):
    mask = torch.tensor([True, False, True])
    target = random(3, 2, seed=3)
    inputs = (random(3, 2).requires_grad_(), random(3, 2, seed=1).requires_grad_())
    assert gradcheck(lambda mean, raw: place_nll(Gaussian(mean, bound_log_variance(raw)), target, mask, tails), inputs)
    logits = random(3, 36, seed=4).requires_grad_()
    heading = torch.tensor([3.1, math.nan, -9.0])
    assert gradcheck(lambda x: heading_divergence(x, heading, mask, SIGMA), (logits,))


def pull(distance, sigma, tails=0.0, even=0.0):
    """Return how strongly a place is drawn to a target that far away along x."""
    mean = torch.tensor([[distance, 0.0]], requires_grad=True)
    log_variance = torch.full((1, 2), 2 * math.log(sigma), requires_grad=True)
    place_nll(Gaussian(mean, log_variance), torch.zeros(1, 2), torch.ones(1, dtype=torch.bool), tails, even).backward()
    return float(mean.grad[0, 0])


@given(st.floats(0.01, 100), st.floats(0.05, 5), st.floats(1, 10))
def test_a_place_with_tails_is_drawn_no_harder_by_what_is_far(distance, sigma, tails):
    assert pull(distance, sigma) == pytest.approx(distance / sigma**2, rel=1e-3)
    assert 0 < pull(distance, sigma, tails) <= (tails + 2) / (2 * math.sqrt(tails) * sigma) * (1 + 1e-3)
    assert pull(distance, sigma, tails=1e9) == pytest.approx(distance / sigma**2, rel=1e-2)


@given(st.floats(0.05, 5), st.floats(0.05, 5))
def test_places_of_all_sigmas_can_be_drawn_alike(distance, sigma):
    assert pull(distance, sigma, even=0.5) == pytest.approx(distance / sigma, rel=1e-3)
    assert pull(distance, sigma, even=1.0) == pytest.approx(distance, rel=1e-3)
    assert pull(distance * sigma, sigma, 4.0, 0.5) == pytest.approx(pull(distance, 1.0, 4.0), rel=1e-3)


@pytest.mark.parametrize("weights", [{"tails": -1.0}, {"even": 1.5}])
def test_weights_that_mean_nothing_are_said(weights):
    with pytest.raises(ConfigError, match=f"objective.{next(iter(weights))} must be"):
        LossWeights(**weights)


def test_sigma_at_the_extremes_keeps_value_and_gradient_finite():
    raw = torch.tensor([-1e30, -1e4, -50.0, 0.0, 50.0, 1e4, 1e30], requires_grad=True)
    log_variance = bound_log_variance(raw)
    assert torch.isfinite(log_variance).all()
    assert (log_variance >= MIN_LOG_VARIANCE - 1e-4).all() and (log_variance <= MAX_LOG_VARIANCE + 1e-4).all()
    predicted = Gaussian(torch.full((7, 2), 500.0, requires_grad=True), log_variance[:, None].expand(7, 2))
    loss = place_nll(predicted, torch.zeros(7, 2), torch.ones(7, dtype=torch.bool))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(raw.grad).all() and torch.isfinite(predicted.mean.grad).all()


def test_between_the_bounds_the_log_variance_is_left_alone():
    raw = torch.linspace(-4, 4, 20)
    torch.testing.assert_close(bound_log_variance(raw), raw, atol=1e-2, rtol=0)
    inside = torch.tensor([-9.0, 0.0, 9.0], requires_grad=True)
    bound_log_variance(inside).sum().backward()
    assert (inside.grad > 0.3).all()


@pytest.mark.parametrize("invalid", [math.nan, math.inf, -math.inf])
def test_what_is_not_supervised_may_hold_anything(invalid):
    mean = torch.zeros(4, 2, requires_grad=True)
    logits = torch.zeros(4, 36, requires_grad=True)
    mask = torch.tensor([True, False, True, False])
    target = torch.where(mask[:, None], torch.ones(4, 2), torch.full((4, 2), invalid))
    heading = torch.where(mask, torch.ones(4), torch.full((4,), invalid))
    loss = place_nll(Gaussian(mean, mean * 0), target, mask) + heading_divergence(logits, heading, mask, SIGMA)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(mean.grad).all() and torch.isfinite(logits.grad).all()
    assert (mean.grad[~mask] == 0).all() and (logits.grad[~mask] == 0).all()
    assert (mean.grad[mask] != 0).all()


def test_nothing_supervised_is_no_loss(build_model):
    nothing = torch.zeros(4, dtype=torch.bool)
    mean = torch.zeros(4, 2, requires_grad=True)
    logits = torch.zeros(4, 36, requires_grad=True)
    model = build_model().language
    hidden = torch.zeros(2, 5, model.config.hidden_size, requires_grad=True)
    parts = (
        place_nll(Gaussian(mean, mean), torch.full((4, 2), math.nan), nothing),
        heading_divergence(logits, torch.full((4,), math.nan), nothing, SIGMA),
        language_loss(model, hidden, torch.full((2, 5), losses.IGNORED)),
    )
    sum(parts).backward()
    assert [part.item() for part in parts] == [0, 0, 0]
    for tensor in (mean, logits, hidden):
        assert (tensor.grad == 0).all()


@given(st.floats(-10, 10), st.integers(-2, 2))
def test_the_heading_wraps_around(heading, turns):
    logits = random(1, 36, dtype=torch.float32)
    mask = torch.ones(1, dtype=torch.bool)
    losses_ = [
        float(heading_divergence(logits, torch.tensor([heading + turn * 2 * math.pi]), mask, SIGMA))
        for turn in (0, turns)
    ]
    assert losses_[0] == pytest.approx(losses_[1], abs=1e-4)


def test_the_divergence_is_least_at_the_target_and_zero_there():
    heading = torch.tensor([math.pi - 0.01])
    mask = torch.ones(1, dtype=torch.bool)
    best = wrapped_gaussian(heading, SIGMA, 36).log()
    assert float(heading_divergence(best, heading, mask, SIGMA)) == pytest.approx(0, abs=1e-6)
    assert float(heading_divergence(best.roll(1, dims=1), heading, mask, SIGMA)) > 0.05
    far = torch.full((1, 36), -1e4)
    far[0, 17] = 1e4  # certain of the opposite heading
    assert torch.isfinite(heading_divergence(far, heading, mask, SIGMA))


def test_language_loss_is_the_mean_cross_entropy_of_what_is_supervised(build_model):
    model = build_model().language
    hidden = random(2, 5, model.config.hidden_size, dtype=torch.float32)
    labels = torch.tensor([[7, losses.IGNORED, 9, 3, losses.IGNORED], [losses.IGNORED] * 4 + [4]])
    with torch.no_grad():
        logits = model.logits(hidden)
        chances = logits.log_softmax(-1)
        expected = -(chances[0, 0, 7] + chances[0, 2, 9] + chances[0, 3, 3] + chances[1, 4, 4]) / 4
        torch.testing.assert_close(language_loss(model, hidden, labels), expected)


def test_the_total_has_the_papers_weights():
    parts = Losses(*(torch.tensor(float(value)) for value in (1, 10, 100, 1000)))
    assert float(parts.total(LossWeights())) == pytest.approx(1 + 0.05 * 10 + 0.075 * (100 + 3.5 * 1000))


def test_half_precision_outputs_are_read_in_float32():
    raw = torch.randn(3, 4).half()
    gaussian = as_gaussian(raw)
    assert gaussian.mean.dtype == gaussian.log_variance.dtype == torch.float32
    assert torch.equal(gaussian.mean, raw[:, :2].float())
