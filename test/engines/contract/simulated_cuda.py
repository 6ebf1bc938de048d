"""pycuda.driver and libcuda in host memory: every address is checked, work is done when it is sent to the stream.

Names and arguments are those of pycuda 2026.1 (src/wrapper/wrap_cudadrv.cpp). A graph is what was sent between
begin and end of a capture, and does it again when it is launched.
"""

import ctypes
import sys
import threading
import types

import numpy as np


class Error(Exception):
    """pycuda.driver.Error."""


class Memory:
    """What lies on the device: address -> bytes."""

    def __init__(self):
        self.blocks = {}

    def add(self, nbytes):
        """Return a block that begins at a multiple of 256, as CUDA's do."""
        room = np.zeros(nbytes + 255, np.uint8)
        block = room[-room.ctypes.data % 256 :][:nbytes]
        self.blocks[block.ctypes.data] = block
        return block

    def at(self, address, nbytes):
        """Return a view; an address that nobody allocated, or a range beyond its end, is an error."""
        assert type(address) is int, f"an address is an int, not {type(address).__name__}"
        for start, block in self.blocks.items():
            if start <= address and address + nbytes <= start + block.nbytes:
                return block[address - start : address - start + nbytes]
        raise Error(f"illegal memory access: {nbytes} bytes at {address:#x}")


class Device:
    def __init__(self, number):
        assert number == 0
        if not machine.has_device:
            raise Error("no CUDA-capable device is detected")

    def compute_capability(self):
        return machine.capability

    def get_attribute(self, attr):
        assert attr == device_attribute.INTEGRATED
        return int(machine.is_integrated)

    def retain_primary_context(self):
        return Context()


class device_attribute:  # noqa: N801
    INTEGRATED = "INTEGRATED"


class host_alloc_flags:  # noqa: N801
    DEVICEMAP = 2


class Context:
    def push(self):
        machine.contexts.depth = getattr(machine.contexts, "depth", 0) + 1

    @staticmethod
    def pop():
        need_context()
        machine.contexts.depth -= 1


class Stream:
    def __init__(self, flags=0):
        need_context()
        self.handle = 77
        self.capture = None
        machine.streams[self.handle] = self

    def synchronize(self):
        need_context()
        if self.capture is not None:
            raise Error("a stream that is being captured cannot be waited for")

    def send(self, work):
        need_context()
        if self.capture is None:
            work()
        else:
            self.capture.append(work)


class DeviceAllocation:
    def __init__(self, nbytes):
        self.block = machine.memory.add(nbytes)

    def __int__(self):
        return self.block.ctypes.data

    def free(self):
        need_context()
        del machine.memory.blocks[int(self)]


class PagelockedHostAllocation(bytearray):
    """Has room to begin at a multiple of 256."""

    is_mapped = False

    def get_device_pointer(self):
        if not self.is_mapped:
            raise Error("this memory is not mapped")
        array = np.frombuffer(self, np.uint8)[self.offset :]
        machine.memory.blocks[array.ctypes.data] = array
        return array.ctypes.data

    @property
    def offset(self):
        return -np.frombuffer(self, np.uint8).ctypes.data % 256


class Machine:
    """What the simulated machine is, and what was done on it."""

    def __init__(self):
        self.capability = (8, 7)
        self.is_integrated = False
        self.has_device = True
        self.memory = Memory()
        self.contexts = threading.local()
        self.streams = {}
        self.graphs = {}
        self.launched = 0
        self.copied = {"htod": 0, "dtoh": 0, "dtod": 0}

    def reset(self, is_integrated=False):
        self.is_integrated, self.launched = is_integrated, 0
        self.copied = dict.fromkeys(self.copied, 0)


machine = Machine()


def need_context():
    if not getattr(machine.contexts, "depth", 0):
        raise Error("no context is active in this thread")


def init(flags=0):
    pass


def mem_get_info():
    need_context()
    return 1 << 33, 1 << 34


def mem_alloc(nbytes):
    need_context()
    return DeviceAllocation(nbytes)


def pagelocked_empty(shape, dtype, order="C", mem_flags=0):
    need_context()
    allocation = PagelockedHostAllocation(int(np.prod(shape)) * np.dtype(dtype).itemsize + 255)
    allocation.is_mapped = bool(mem_flags & host_alloc_flags.DEVICEMAP)
    return np.ndarray(shape, dtype, allocation, allocation.offset)


def memset_d8_async(dest, data, size, stream=None):
    stream.send(lambda: machine.memory.at(dest, size).fill(data))


def memcpy_htod(dest, src):
    need_context()
    source = np.frombuffer(src, np.uint8)
    machine.memory.at(dest, source.nbytes)[:] = source


def memcpy_dtoh(dest, src):
    need_context()
    target = dest.reshape(-1).view(np.uint8)
    target[:] = machine.memory.at(src, target.nbytes)


def memcpy_htod_async(dest, src, stream=None):
    machine.copied["htod"] += src.nbytes
    stream.send(lambda: memcpy_htod(dest, src))


def memcpy_dtoh_async(dest, src, stream=None):
    machine.copied["dtoh"] += dest.nbytes
    stream.send(lambda: memcpy_dtoh(dest, src))


def memcpy_dtod_async(dest, src, size, stream=None):
    machine.copied["dtod"] += size

    def copy():
        machine.memory.at(dest, size)[:] = machine.memory.at(src, size).copy()

    stream.send(copy)


class Function:
    """A function of a C library, which refuses calls that were not declared so."""

    argtypes = restype = None

    def __init__(self, work):
        self.work = work

    def __call__(self, *arguments):
        assert self.restype is ctypes.c_int and len(arguments) == len(self.argtypes)
        return self.work(*arguments)


class Library:
    """libcuda.so.1, as far as graphs go."""

    def __init__(self):
        for name in dir(self):
            if name.startswith("cu"):
                setattr(self, name, Function(getattr(self, name)))

    def cuStreamBeginCapture_v2(self, stream, mode):
        machine.streams[stream].capture = []
        return 0

    def cuStreamEndCapture(self, stream, graph):
        held, machine.streams[stream].capture = machine.streams[stream].capture, None
        return self._hand_out(graph, held)

    def cuGraphInstantiateWithFlags(self, executable, graph, flags):
        return self._hand_out(executable, machine.graphs[graph.value])

    def cuGraphLaunch(self, executable, stream):
        machine.launched += 1
        for work in machine.graphs[executable.value]:
            work()
        return 0

    def cuGraphDestroy(self, graph):
        del machine.graphs[graph.value]
        return 0

    def cuGraphExecDestroy(self, executable):
        return self.cuGraphDestroy.work(executable)

    def _hand_out(self, pointer, content):
        handle = 1000 + len(machine.graphs) + max(machine.graphs, default=0)
        machine.graphs[handle] = content
        pointer._obj.value = handle
        return 0


def install():
    """Put the simulation in the place of pycuda and libcuda."""
    package = types.ModuleType("pycuda")
    package.driver = sys.modules[__name__]
    sys.modules["pycuda"], sys.modules["pycuda.driver"] = package, package.driver
    ctypes.CDLL = lambda name: Library() if name == "libcuda.so.1" else _load(name)


_load = ctypes.CDLL
