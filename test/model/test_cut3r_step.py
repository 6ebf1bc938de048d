"""The run-time graph: equal to the network, and equal again in onnxruntime."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from loc3r_ros.model.config import preset
from loc3r_ros.model.cut3r import Cut3R, Cut3RStep

SIZE = (32, 48)
FIRST = (True, False, False, False, True, False)
"""The graph starts over in the middle."""


@pytest.fixture(scope="module", params=["cut3r", pytest.param("ttt3r", marks=pytest.mark.slow)])
def step(request):
    torch.manual_seed(0)
    config = replace(preset("tiny").pose_prior, state_rule=request.param)
    network = Cut3R(config)
    for parameter in network.parameters():  # biases and norms of a fresh network hide mistakes
        torch.nn.init.normal_(parameter, std=0.2)
    return Cut3RStep(network, *SIZE).eval()


@pytest.fixture(scope="module")
def session(step, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "step.onnx"
    names = {"input_names": list(step.INPUTS), "output_names": list(step.OUTPUTS)}
    torch.onnx.export(step, step.example_inputs(), str(path), dynamo=True, verbose=False, **names)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]), onnx.load(path)


def images():
    return torch.rand(len(FIRST), 1, 3, *SIZE, generator=torch.Generator().manual_seed(3)) * 2 - 1


@torch.inference_mode()
def run_torch(step):
    _, state, memory, _ = step.example_inputs()
    outputs = []
    for image, is_first in zip(images(), FIRST, strict=True):
        outputs.append(step(image, state, memory, torch.tensor([is_first])))
        state, memory = outputs[-1][2:]
    return outputs


@torch.inference_mode()
def test_the_graph_equals_the_network(step):
    network = step.network
    state = network.initial_state()
    for image, is_first, outputs in zip(images(), FIRST, run_torch(step), strict=True):
        if is_first:
            state = network.initial_state()
        observation, state = network.step(image, state)
        for ours, theirs in zip(outputs, (*observation, state.tokens, state.memory), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_the_first_frame_ignores_the_state(step):
    image, state, memory, is_first = step.example_inputs()
    from_zeros = step(image, state, memory, is_first)
    from_noise = step(image, state + 5, memory - 5, is_first)
    assert all(torch.equal(a, b) for a, b in zip(from_zeros, from_noise, strict=True))


def test_onnxruntime_equals_torch_over_several_frames(step, session):
    runtime, _ = session
    state, memory = (x.numpy() for x in step.example_inputs()[1:3])
    for image, is_first, expected in zip(images(), FIRST, run_torch(step), strict=True):
        inputs = (image.numpy(), state, memory, np.array([is_first]))
        outputs = runtime.run(list(step.OUTPUTS), dict(zip(step.INPUTS, inputs, strict=True)))
        for ours, theirs in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)
        state, memory = outputs[2:]


def test_the_exported_graph_is_static(session):
    """No control flow, no shape arithmetic, no trigonometry: what TensorRT wants."""
    _, model = session
    operators = {node.op_type for node in model.graph.node}
    assert not operators & {"If", "Loop", "Scan", "Range", "Sin", "Cos", "Shape", "NonZero"}
    for value in (*model.graph.input, *model.graph.output):
        assert all(dimension.dim_value > 0 for dimension in value.type.tensor_type.shape.dim), value.name
