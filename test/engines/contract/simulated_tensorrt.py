"""What TensorRT's objects do, in the simulation: a plan is the ONNX graph with its weights, and onnxruntime runs it."""

import ctypes
import hashlib
import json

import numpy as np
import onnx
import onnxruntime
from onnx import external_data_helper
from simulated_cuda import machine

TYPES = {"tensor(float)": "FLOAT", "tensor(float16)": "HALF", "tensor(int64)": "INT64", "tensor(uint8)": "UINT8", "tensor(bool)": "BOOL"}  # fmt: skip  # noqa: E501
SCRATCH = 4096


class Builder:
    def __init__(self, logger):
        self.logger = logger

    def create_network(self, flags=0):
        real = tensorrt.contract.real
        assert flags & 1 << int(real.NetworkDefinitionCreationFlag.STRONGLY_TYPED), (
            "weakly typed networks are gone in 11"
        )
        return INetworkDefinition()

    def create_builder_config(self):
        return IBuilderConfig()

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def build_serialized_network(self, network, config):
        return self._compile(network, config)

    def build_serialized_network_to_stream(self, network, config, writer):
        plan = memoryview(self._compile(network, config))
        half = len(plan) // 2
        write = tensorrt.contract.callback("IStreamWriter", writer, "write")
        return write(bytes(plan[:half])) == half and write(bytes(plan[half:])) == len(plan) - half

    def _compile(self, network, config):
        assert config.workspace > 0
        inputs = {item.name: [d.dim_param or d.dim_value for d in item.type.tensor_type.shape.dim] for item in network.model.graph.input}  # fmt: skip  # noqa: E501
        dynamic = {name for name, shape in inputs.items() if any(isinstance(size, str) for size in shape)}
        assert config.profiles or not dynamic, "inputs of variable size need a profile"
        for profile in config.profiles:
            assert set(profile.shapes) == dynamic, f"profile of {set(profile.shapes)} instead of {dynamic}"
        begin, step, end = (
            tensorrt.contract.callback("IProgressMonitor", config.progress_monitor, name)
            for name in ("phase_start", "step_complete", "phase_finish")
        )
        begin("Building", None, 2)
        begin("Tactics", "Building", 1)
        assert step("Tactics", 0) is True
        end("Tactics")
        end("Building")
        head = json.dumps([profile.shapes for profile in config.profiles]).encode()
        return len(head).to_bytes(8, "little") + head + network.model.SerializeToString()


class INetworkDefinition:
    model = None


class IBuilderConfig:
    progress_monitor = None

    def __init__(self):
        self.profiles, self.workspace = [], 0

    def set_memory_pool_limit(self, pool, pool_size):
        assert pool == tensorrt.contract.real.MemoryPoolType.WORKSPACE
        self.workspace = pool_size

    def add_optimization_profile(self, profile):
        self.profiles.append(profile)
        return len(self.profiles) - 1


class IOptimizationProfile:
    def __init__(self):
        self.shapes = {}

    def set_shape(self, input, min, opt, max):
        assert all(low <= usual <= high for low, usual, high in zip(min, opt, max, strict=True))
        self.shapes[input] = [list(min), list(opt), list(max)]


class OnnxParser:
    def __init__(self, network, logger):
        self.network, self.logger, self.errors = network, logger, []

    @property
    def num_errors(self):
        return len(self.errors)

    def get_error(self, index):
        return self.errors[index]

    def parse_from_file(self, model):
        return self._take(onnx.load(model))

    def load_model_proto(self, model, path=None):
        self.model = onnx.load_model_from_string(bytes(model))
        return True

    def load_initializer(self, name, data, size):
        tensor = next(item for item in self.model.graph.initializer if item.name == name)
        tensor.raw_data = ctypes.string_at(data, size)
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
        return True

    def parse_model_proto(self):
        assert not any(external_data_helper.uses_external_data(item) for item in self.model.graph.initializer)
        return self._take(self.model)

    def _take(self, model):
        unknown = [node for node in model.graph.node if node.op_type.startswith("Unknown")]
        self.errors = [ParserError(node) for node in unknown]
        self.network.model = model
        return not unknown


class ParserError:
    def __init__(self, node):
        self._node = node

    def node_operator(self):
        return self._node.op_type

    def node_name(self):
        return self._node.name

    def desc(self):
        return "no importer"


class Runtime:
    def __init__(self, logger):
        self.logger = logger

    def deserialize_cuda_engine(self, source):
        contract = tensorrt.contract
        if hasattr(source, "seek"):
            seek, position = contract.callback("IStreamReaderV2", source, "seek"), contract.real.SeekPosition
            assert seek(0, position.END) and seek(0, position.SET)
            read_piece = contract.callback("IStreamReaderV2", source, "read")

            def read(count):
                return read_piece(count, 77)
        else:
            read = contract.callback("IStreamReader", source, "read")
        head = read(8)
        if len(head) < 8:
            say = contract.callback("ILogger", self.logger, "log")
            say(contract.real.ILogger.Severity.ERROR, "the plan ends before it begins")
            return None
        shapes = json.loads(read(int.from_bytes(head, "little")))
        content = b""
        while piece := read(1 << 16):
            content += piece
        return ICudaEngine(content, shapes)


class ICudaEngine:
    device_memory_size_v2 = SCRATCH

    def __init__(self, content, profiles):
        self.session = session(hashlib.sha256(content).hexdigest(), content)
        self.profiles = profiles
        self.inputs = {item.name: item for item in self.session.get_inputs()}
        self.outputs = {item.name: item for item in self.session.get_outputs()}

    @property
    def num_io_tensors(self):
        return len(self.inputs) + len(self.outputs)

    def get_tensor_name(self, index):
        return [*self.inputs, *self.outputs][index]

    def get_tensor_mode(self, name):
        mode = tensorrt.contract.real.TensorIOMode
        return mode.INPUT if name in self.inputs else mode.OUTPUT

    def get_tensor_dtype(self, name):
        return getattr(tensorrt.contract.real.DataType, TYPES[(self.inputs | self.outputs)[name].type])

    def get_tensor_location(self, name):
        return tensorrt.contract.real.TensorLocation.DEVICE

    def create_execution_context(self, strategy):
        assert strategy == tensorrt.contract.real.ExecutionContextAllocationStrategy.USER_MANAGED
        return IExecutionContext(self)


class IExecutionContext:
    """Keeps what TensorRT's does: shapes and addresses stay until they are changed."""

    def __init__(self, engine):
        self.engine, self.profile, self.scratch = engine, None, None
        self.shapes, self.addresses = {}, {}

    def set_optimization_profile_async(self, profile_index, stream_handle):
        assert stream_handle in machine.streams
        self.profile = profile_index
        return True

    def set_device_memory(self, memory, size):
        assert size >= SCRATCH
        self.scratch = memory

    def set_input_shape(self, name, shape):
        low, _, high = self.engine.profiles[self.profile][name]
        self.shapes[name] = tuple(shape)
        return all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True))

    def set_tensor_address(self, name, memory):
        assert name in self.engine.inputs or name in self.engine.outputs
        assert memory % 256 == 0, f"{name} begins at {memory:#x}"
        self.addresses[name] = memory
        return memory != 0

    def execute_async_v3(self, stream_handle):
        assert self.profile is not None and self.scratch is not None
        machine.memory.at(self.scratch, SCRATCH)
        missing = (set(self.engine.inputs) | set(self.engine.outputs)) - set(self.addresses)
        assert not missing, f"no address for {missing}"
        shapes, addresses = dict(self.shapes), dict(self.addresses)
        machine.streams[stream_handle].send(lambda: self._run(shapes, addresses))
        return True

    def _run(self, shapes, addresses):
        feeds = {}
        for name, item in self.engine.inputs.items():
            shape = shapes.get(name, tuple(item.shape))
            dtype = np.dtype({"FLOAT": "f4", "HALF": "f2", "INT64": "i8", "UINT8": "u1", "BOOL": "?"}[TYPES[item.type]])
            nbytes = int(np.prod(shape)) * dtype.itemsize
            feeds[name] = machine.memory.at(addresses[name], nbytes).view(dtype).reshape(shape).copy()
        for name, value in zip(self.engine.outputs, self.engine.session.run(None, feeds), strict=True):
            machine.memory.at(addresses[name], value.nbytes)[:] = np.ascontiguousarray(value).reshape(-1).view(np.uint8)


SESSIONS = {}


def session(key, content):
    """Return a session, the same for the same plan: making one takes longer than the runs of a test."""
    if key not in SESSIONS:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        SESSIONS[key] = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return SESSIONS[key]


BEHAVIOURS = {kind.__name__: kind for kind in (Builder, OnnxParser, Runtime)}
tensorrt = None
"""The module's double, once it is installed."""
