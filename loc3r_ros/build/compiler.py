"""One ONNX graph to one TensorRT plan, by whatever the installed TensorRT offers, from 10.3 to 11.

Every network is strongly typed: types come from the graph, and so does the precision. That is the only kind that
TensorRT 11 has, and 10 has it too. Where TensorRT can take weights from mapped memory (10.13) and write a plan to a
stream (by 10.16), neither ever lies in memory whole; elsewhere each does once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorrt as trt

from loc3r_ros.build.progress import Progress
from loc3r_ros.engines.manifest import GraphSpec
from loc3r_ros.engines.profiles import Dimensions, profiles
from loc3r_ros.engines.trt_plan import TrtLog
from loc3r_ros.errors import EngineError


class Monitor(trt.IProgressMonitor):
    """Hands TensorRT's phases to a `Progress`."""

    def __init__(self, progress: Progress) -> None:
        trt.IProgressMonitor.__init__(self)
        self._progress = progress

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """Called by TensorRT."""
        self._progress.begin(phase_name, num_steps)

    def phase_finish(self, phase_name: str) -> None:
        """Called by TensorRT."""
        self._progress.end(phase_name)

    def step_complete(self, phase_name: str, step: int) -> bool:
        """Called by TensorRT; it goes on where the answer is True."""
        self._progress.step(phase_name, step)
        return True


def compile_graph(
    graph: Path, plan: Path, spec: GraphSpec, dimensions: Dimensions, workspace: int, progress: Progress
) -> None:
    """Compile a graph for this machine's GPU.

    Args:
        graph: ONNX file, its weights beside it.
        plan: file to write.
        spec: of the graph.
        dimensions: ranges of its variable sizes.
        workspace: bytes that kernels may use beside weights and results.
        progress: is told what goes on.

    Raises:
        EngineError: TensorRT does not know an operator, or finds no kernels; its reasons are in the text.
    """
    messages = TrtLog()
    builder = trt.Builder(messages)
    network = builder.create_network(network_flags())
    parser = trt.OnnxParser(network, messages)
    weights = parse(parser, graph)
    config = builder.create_builder_config()
    monitor = Monitor(progress)
    config.progress_monitor = monitor
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    for ranges in profiles(spec, dimensions):
        profile = builder.create_optimization_profile()
        for name, (smallest, usual, largest) in ranges.items():
            profile.set_shape(name, smallest, usual, largest)
        if config.add_optimization_profile(profile) < 0:
            raise EngineError(f"TensorRT refuses the sizes of {graph.name}: {messages.errors()}.")
    if not write_plan(builder, network, config, plan):
        raise EngineError(f"TensorRT could not compile {graph.name}: {messages.errors()}.")
    del weights  # they must outlive the builder's work, not more


def network_flags() -> int:
    """Return the flags of a strongly typed network; 11 calls the flag obsolete, as it has no other."""
    flags = trt.NetworkDefinitionCreationFlag
    return 1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0


def parse(parser: Any, graph: Path) -> dict[str, Any]:
    """Read a graph into the parser's network, the weights by mapping where the parser can take them so.

    Returns:
        The mapped weights, which must live until the plan is written.

    Raises:
        EngineError: says what the parser does not understand.
    """
    weights: dict[str, Any] = {}
    if hasattr(parser, "load_initializer"):
        from loc3r_ros.build.onnx_graph import load_graph, mapped_weights

        weights = mapped_weights(load_graph(graph), graph.parent)
        is_parsed = parser.load_model_proto(graph.read_bytes(), str(graph))
        for name, values in weights.items():
            is_parsed = is_parsed and parser.load_initializer(name, values.ctypes.data, values.nbytes)
        is_parsed = is_parsed and parser.parse_model_proto()
    else:
        is_parsed = parser.parse_from_file(str(graph))
    if not is_parsed:
        reasons = "; ".join(describe(parser.get_error(index)) for index in range(parser.num_errors))
        raise EngineError(f"TensorRT {trt.__version__} does not understand {graph.name}: {reasons}.")
    return weights


def describe(error: Any) -> str:
    """Return an error of the parser in words."""
    return f"{error.node_operator()} ({error.node_name()}): {error.desc()}"


def write_plan(builder: Any, network: Any, config: Any, plan: Path) -> bool:
    """Compile, and write the plan; return whether TensorRT succeeded."""
    with plan.open("wb") as stream:
        if hasattr(builder, "build_serialized_network_to_stream"):
            return bool(builder.build_serialized_network_to_stream(network, config, PlanWriter(stream)))
        memory = builder.build_serialized_network(network, config)
        if memory is not None:
            stream.write(memory)
        return memory is not None


if hasattr(trt, "IStreamWriter"):

    class PlanWriter(trt.IStreamWriter):
        """A file as TensorRT wants to write it."""

        def __init__(self, stream: Any) -> None:
            trt.IStreamWriter.__init__(self)
            self._stream = stream

        def write(self, data: bytes) -> int:
            """Append; return how many bytes were."""
            return int(self._stream.write(data))
