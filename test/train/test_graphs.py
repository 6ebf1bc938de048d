"""Steps that a GPU replays are those that it would do."""

import pytest
import torch

from loc3r_ros.train.config import JointConfig
from loc3r_ros.train.graphs import graphed
from loc3r_ros.train.joint_stage import JointStage
from loc3r_ros.train.plan import tasks_at
from loc3r_ros.train.stages import joint_source

pytestmark = pytest.mark.gpu
if not torch.cuda.is_available():
    pytest.skip("no CUDA GPU", allow_module_level=True)


class Square(torch.nn.Module):
    """A module with a scalar that is trained and one that is looked at."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(256, 256)

    def forward(self, batch):
        out = self.layer(batch["x"])
        return {"loss": out.square().mean(), "size": out.detach().abs().mean()}


def test_replayed_steps_give_the_same_gradients():
    torch.manual_seed(0)
    module = Square().cuda()
    replay = graphed(module)
    for size in (4, 8, 4):
        for _ in range(2):
            batch = {"x": torch.randn(size, 256, device="cuda")}
            found = {}
            for name, run in (("eager", module), ("graph", replay)):
                module.zero_grad()
                scalars = run(batch)
                scalars["loss"].backward()
                found[name] = [*scalars.values(), *(p.grad.clone() for p in module.parameters())]
            for one, other in zip(found["eager"], found["graph"], strict=True):
                torch.testing.assert_close(one.detach(), other.detach())


def test_another_shape_gives_the_memory_back():
    module = Square().cuda()
    replay = graphed(module)
    used = []
    for size in (200_000, 100_000, 200_000, 100_000, 200_000):
        replay({"x": torch.randn(size, 256, device="cuda")})["loss"].backward()
        module.zero_grad()
        torch.cuda.synchronize()
        used.append(torch.cuda.memory_reserved())
    assert used[-1] < 1.2 * used[0]


def test_the_joint_stage_is_replayed(tiny_model, recipe):
    config = recipe(from_scratch=False, joint=JointConfig(suffixes=6, tokens=150))
    stage = JointStage(joint_source(config, tiny_model), config)
    stage.prepare(torch.device("cuda"), bf16=False)
    stage.begin()
    module = stage.module.cuda().train()
    replay = graphed(module)
    for step in range(3):
        tasks = tasks_at(config, step)
        batch = stage.collate([stage.loader(task) for task in tasks], tasks)
        found = []
        for run in (module, replay):
            module.zero_grad()
            scalars = run(batch)
            scalars["loss"].backward()
            language = module.model.language
            weights = (language.layers[0].self_attn.k_proj.weight, language.embed_tokens.weight)
            found.append([*scalars.values(), *(weight.grad.clone() for weight in weights)])
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one.detach(), other.detach(), rtol=1e-4, atol=1e-5)
