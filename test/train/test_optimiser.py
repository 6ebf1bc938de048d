"""Muon and AdamW share what is trained."""

from dataclasses import replace

import pytest
import torch
from accelerate import DistributedType
from torch import nn

from loc3r_ros.errors import ConfigError
from loc3r_ros.model.checkpoint import load_pose_prior
from loc3r_ros.train.config import OptimiserConfig, TrainConfig
from loc3r_ros.train.loop import check_whole_matrices
from loc3r_ros.train.optimiser import Muon, make_optimisers, orthogonalised


class Small(nn.Module):
    """Two layers and a head."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 4), nn.Linear(4, 6)])
        self.head = nn.Linear(6, 3)


def test_steps_are_orthogonal():
    matrices = torch.randn(3, 5, 9, generator=torch.Generator().manual_seed(0))
    for given in (matrices, matrices.mT):
        values = torch.linalg.svdvals(orthogonalised(given))
        assert ((values > 0.4) & (values < 1.3)).all()
        left, _, right = torch.linalg.svd(given, full_matrices=False)
        nearest = left @ right
        alike = (orthogonalised(given) * nearest).sum(dim=(1, 2)) / nearest.square().sum(dim=(1, 2))
        assert (alike > 0.6).all()


def test_a_step_is_as_long_as_adamws():
    matrix = nn.Parameter(torch.zeros(48, 64))
    matrix.grad = torch.randn(48, 64, generator=torch.Generator().manual_seed(0))
    Muon([matrix], rate=0.01, decay=0.0).step()
    assert float(matrix.detach().square().mean().sqrt()) == pytest.approx(0.2 * 0.01, rel=0.2)


def test_a_layer_stays_bounded_by_its_own_decay():
    module = Small()
    muon, adam = make_optimisers(module, OptimiserConfig(rate=0.01, weight_decay=0.1, muon=True, muon_decay=2.0))
    assert muon.param_groups[0]["weight_decay"] == 2.0 and adam.param_groups[0]["weight_decay"] == 0.1
    weight = module.layers[0].weight
    for _ in range(400):
        weight.grad = torch.ones_like(weight)
        muon.step()
    # where a step adds what decays: 0.2 sqrt(6) / 2 for a matrix of rank one, whose step has a singular value near 1
    assert 0.6 < float(torch.linalg.matrix_norm(weight.detach(), 2)) / (0.2 * 6**0.5 / 2) < 1.2


def test_matrices_of_layers_take_orthogonal_steps_and_all_else_adamws():
    module, config = Small(), OptimiserConfig(weight_decay=0.1, muon=True)
    module.layers[1].bias.requires_grad_(False)
    muon, adam = make_optimisers(module, config)
    assert muon.param_groups[0]["params"] == [module.layers[0].weight, module.layers[1].weight]
    assert [group["weight_decay"] for group in adam.param_groups] == [0.1, 0.0]
    assert adam.param_groups[0]["params"] == [module.head.weight]
    assert adam.param_groups[1]["params"] == [module.layers[0].bias, module.head.bias]
    (alone,) = make_optimisers(module, replace(config, muon=False))
    assert sum(len(group["params"]) for group in alone.param_groups) == 5


def test_matrices_of_one_shape_move_as_each_alone():
    torch.manual_seed(0)
    together = [nn.Parameter(torch.randn(4, 6)) for _ in range(2)]
    alone = [nn.Parameter(one.detach().clone()) for one in together]
    optimisers = [Muon(together, 0.1, 0.01), *(Muon([one], 0.1, 0.01) for one in alone)]
    for _ in range(3):
        for one, other in zip(together, alone, strict=True):
            one.grad = torch.randn(4, 6)
            other.grad = one.grad.clone()
        for optimiser in optimisers:
            optimiser.step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other)


def test_the_layers_of_the_pose_prior_take_orthogonal_steps_too(tiny_model):
    prior = load_pose_prior(tiny_model)
    muon, adam = make_optimisers(prior, OptimiserConfig(muon=True))
    names = {id(one): name for name, one in prior.named_parameters()}
    orthogonal, rest = (
        {names[id(one)] for group in each.param_groups for one in group["params"]} for each in (muon, adam)
    )
    assert {"enc_blocks.0.mlp.fc1.weight", "dec_blocks.0.cross_attn.projq.weight"} <= orthogonal
    assert {"patch_embed.proj.weight", "downstream_head.pose_head.mlp.fc1.weight", "enc_blocks.0.mlp.fc1.bias"} <= rest


def test_muon_is_refused_where_matrices_are_cut():
    config = TrainConfig(optimiser=OptimiserConfig(muon=True))
    check_whole_matrices(config, DistributedType.MULTI_GPU)
    check_whole_matrices(TrainConfig(), DistributedType.FSDP)
    with pytest.raises(ConfigError, match="whole matrices"):
        check_whole_matrices(config, DistributedType.FSDP)
