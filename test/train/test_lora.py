import pytest
import torch
from torch import nn

from loc3r_ros.model.checkpoint import load_model
from loc3r_ros.model.losses import LossWeights
from loc3r_ros.train.joint_model import JointModel
from loc3r_ros.train.lora import LoraLinear, add_lora, merge_lora


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Sequential(nn.Linear(5, 4, bias=False)))


def test_adapters_begin_as_nothing_and_merge_into_the_weights(network):
    x = torch.randn(3, 6)
    before, names = network(x), set(network.state_dict())
    add_lora(network, rank=2, alpha=8.0)
    assert torch.equal(network(x), before)
    for module in network.modules():
        if isinstance(module, LoraLinear):
            nn.init.normal_(module.up)
    after = network(x)
    assert not torch.allclose(after, before)
    merged = merge_lora(network.state_dict(), scale=4.0)
    assert set(merged) == names
    plain = nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Sequential(nn.Linear(5, 4, bias=False)))
    plain.load_state_dict(merged)
    torch.testing.assert_close(plain(x), after)


def test_only_adapters_are_trained(network):
    add_lora(network, rank=2, alpha=8.0)
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {"0.down", "0.up", "2.0.down", "2.0.up"}


def test_what_looks_like_an_adapter_but_is_none_stays():
    tensors = {"block.up": torch.ones(2), "block.weight": torch.ones(2)}
    assert set(merge_lora(tensors, 1.0)) == set(tensors)


def test_the_joint_model_trains_heads_adapters_and_special_tokens(tiny_model):
    module = JointModel(load_model(tiny_model).train(), LossWeights(), lora_rank=2)
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    parts = {name.removeprefix("model.").partition(".")[0] for name in trained}
    assert parts == {"projector", "newline", "camera", "heads", "language", "special"}
    language = {name for name in trained if ".language." in name}
    assert language and all(name.endswith((".up", ".down")) for name in language)
    with torch.no_grad():
        module.special[0] += 1
    config = module.model.config.language
    ids = torch.tensor([[5, config.position_token, config.orientation_token]])
    moved = (module.embed(ids) - module.model.language.embed_tokens(ids))[0]
    torch.testing.assert_close(moved, torch.tensor([[0.0], [1.0], [0.0]]).expand_as(moved))
