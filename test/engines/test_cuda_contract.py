"""What we ask of pycuda and of the CUDA driver, against pycuda's source and NVIDIA's header."""

import ctypes
import importlib.util
import inspect
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from loc3r_ros.engines import cuda_graph

HEADERS = ("nvidia-cuda-runtime-cu12==12.9.79", "nvidia-cuda-runtime==13.5.37")
PYCUDA = "pycuda==2026.1"
C_TYPES = {
    "CUstream": cuda_graph.HANDLE,
    "CUgraph": cuda_graph.HANDLE,
    "CUgraphExec": cuda_graph.HANDLE,
    "CUgraph *": ctypes.POINTER(cuda_graph.HANDLE),
    "CUgraphExec *": ctypes.POINTER(cuda_graph.HANDLE),
    "CUstreamCaptureMode": ctypes.c_int,
    "unsigned long long": ctypes.c_ulonglong,
}


@pytest.fixture(scope="module")
def simulation():
    """The module that stands for pycuda.driver in the contract tests, not installed."""
    path = Path(__file__).parent / "contract" / "simulated_cuda.py"
    spec = importlib.util.spec_from_file_location("simulated_cuda_alone", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wrapper(package_file):
    """pycuda's binding code, which says what Python sees."""
    archive = package_file(PYCUDA, "--no-binary=:all:", "--no-build-isolation")
    with tarfile.open(archive) as files:
        member = next(name for name in files.getnames() if name.endswith("src/wrapper/wrap_cudadrv.cpp"))
        return files.extractfile(member).read().decode()


def used_of_driver():
    """Names that our code takes from pycuda.driver."""
    source = Path(cuda_graph.__file__).with_name("gpu.py").read_text()
    return set(re.findall(r"\bdriver\.(\w+)", source))


def test_the_simulation_has_all_that_is_used(simulation):
    used = used_of_driver()
    assert {"Device", "Stream", "mem_alloc", "memcpy_htod_async", "pagelocked_empty", "Error"} <= used
    assert [name for name in used if not hasattr(simulation, name)] == []


def test_functions_are_pycudas(simulation, wrapper):
    checked = set()
    for name in used_of_driver():
        member = getattr(simulation, name)
        if not inspect.isfunction(member):
            continue
        checked.add(name)
        definition = re.search(rf'py::def\("{name}"(.*?)\);', wrapper, re.DOTALL)
        if definition is None:
            assert f"DEF_SIMPLE_FUNCTION({name})" in wrapper, name
            assert not inspect.signature(member).parameters
            continue
        parts = re.findall(r"py::args?\(([^)]*)\)", definition[1])
        names = [word for part in parts for word in re.findall(r'"(\w+)"', part)]
        if names:  # else they are positional
            assert list(inspect.signature(member).parameters) == names, name
    assert {"init", "mem_alloc", "mem_get_info", "memset_d8_async", "memcpy_dtod_async", "memcpy_dtoh"} <= checked


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("Device", {"compute_capability", "get_attribute", "retain_primary_context"}),
        ("Context", {"push", "pop"}),
        ("Stream", {"handle", "synchronize"}),
        ("DeviceAllocation", {"__int__", "free"}),
        ("HostPointer", {"get_device_pointer"}),
    ],
)
def test_classes_are_pycudas(wrapper, kind, members):
    body = re.search(rf'\(\s*"{kind}".*?\n\s*;', wrapper, re.DOTALL)[0]
    found = re.findall(r'\.(?:def|add_property)\("(\w+)"|DEF_SIMPLE_METHOD\((\w+)\)', body)
    assert members <= {name for pair in found for name in pair}


def test_constants_are_pycudas(wrapper):
    assert '.value("INTEGRATED", CU_DEVICE_ATTRIBUTE_INTEGRATED)' in wrapper
    assert 'cls.attr("DEVICEMAP") = CU_MEMHOSTALLOC_DEVICEMAP;' in wrapper


@pytest.mark.parametrize("requirement", HEADERS)
def test_the_drivers_functions_are_declared_so(package_file, requirement):
    with zipfile.ZipFile(package_file(requirement, "--only-binary=:all:")) as wheel:
        header = wheel.read(next(name for name in wheel.namelist() if name.endswith("/cuda.h"))).decode()
    for name, arguments in cuda_graph.FUNCTIONS.items():
        declared = name.removesuffix("_v2").removesuffix("WithFlags")  # the header maps these names to those exported
        assert declared == name or re.search(rf"#define {declared}\s+(?:__CUDA_API_PTSZ\()?{name}\)?", header), name
        match = re.search(rf"CUresult CUDAAPI {declared}\(([^)]*\w{{6,}}[^)]*)\);", header)
        types = [re.match(r"(.*?[ *])\w+$", part.strip())[1].strip() for part in match[1].split(",")]
        assert tuple(C_TYPES[kind] for kind in types) == arguments, name
