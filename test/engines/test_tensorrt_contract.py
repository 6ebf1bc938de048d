"""Our TensorRT code against the real Python bindings of three versions, without a GPU.

The bindings are compiled modules that need three libraries to be imported; stubs with nine symbols do. Their classes
then tell every method, property, enumeration and overload. Doubles of them, which refuse what the real ones would
refuse, stand before a simulation that runs plans in onnxruntime and knows every address of its memory: build and
backend run on it as they would on a robot.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from loc3r_ros.export.folder import export_engines
from loc3r_ros.export.source import random_source
from loc3r_ros.model.config import preset

VERSIONS = {
    "tensorrt-cu12-bindings==10.3.0": 10,  # JetPack 6.2
    "tensorrt-cu12-bindings==10.16.1.11": 10,  # the newest 10; JetPack 7.2 has one of 10.1x
    "tensorrt-cu13-bindings==11.4.0.106": 11,  # the newest
}
LIBRARIES = {
    "libnvinfer.so.{}": """createInferBuilder_INTERNAL createInferRefitter_INTERNAL createInferRuntime_INTERNAL
        getBuilderPluginRegistry getPluginRegistry""",
    "libnvinfer_plugin.so.{}": "initLibNvInferPlugins",
    "libnvonnxparser.so.{}": """createNvOnnxParser_INTERNAL createNvOnnxParserRefitter_INTERNAL
        getNvOnnxParserVersion""",
    "libcuda.so.1": "cuMemcpyHtoD_v2 cuPointerGetAttribute",
}
CONTRACT = Path(__file__).parent / "contract"
KEYFRAMES = 6


@pytest.fixture(scope="module")
def onnx_folders(tmp_path_factory):
    """Folders of fp16 engines, with a fixed cache and without."""
    folder = tmp_path_factory.mktemp("onnx")
    export_engines(random_source(preset("tiny")), folder / "fixed", "fp16", KEYFRAMES)
    export_engines(random_source(preset("tiny")), folder / "variable", "fp16")
    return folder / "fixed", folder / "variable"


@pytest.fixture(scope="module")
def run_scenario(package_file, onnx_folders, tmp_path_factory):
    """Return a function that runs contract/scenario.py on the bindings of a version, once."""
    results = {}

    def run(requirement, *arguments):
        if (requirement, *arguments) not in results:
            scratch = tmp_path_factory.mktemp("bindings")
            with zipfile.ZipFile(package_file(requirement, "--only-binary=:all:")) as wheel:
                wheel.extractall(scratch)
            build_stubs(scratch / "stubs", VERSIONS[requirement])
            results[(requirement, *arguments)] = scenario(scratch, *map(str, onnx_folders), str(scratch), *arguments)
        return results[(requirement, *arguments)]

    return run


def build_stubs(folder, major):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder.mkdir()
    for template, symbols in LIBRARIES.items():
        library = template.format(major)
        source = "".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in symbols.split())
        command = [compiler, "-shared", "-fPIC", "-x", "c", "-", f"-Wl,-soname,{library}", "-o", str(folder / library)]
        subprocess.run(command, input=source, text=True, check=True)


def scenario(folder, *arguments):
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": f"{folder / 'stubs'}:{os.environ.get('LD_LIBRARY_PATH', '')}",
        "PYTHONPATH": f"{folder}:{CONTRACT}:{os.environ.get('PYTHONPATH', '')}",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, str(CONTRACT / "scenario.py"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(params=VERSIONS, ids=lambda requirement: requirement.partition("==")[2])
def result(request, run_scenario):
    found = run_scenario(request.param)
    assert found["version"] == request.param.partition("==")[2]
    return found


def test_what_was_built_says_what_the_graphs_say(result):
    """Plan and ONNX run in the same onnxruntime here: nothing may differ but what we do around it."""
    assert result["difference"] == 0.0
    assert [line.partition(":")[0] for line in result["said"]] == [
        "pose_prior (fp16)",
        "vision (fp16)",
        "language (fp16)",
    ]


@pytest.mark.parametrize("memory", ["separate", "shared", "variable"])
def test_a_localizer_says_the_same(result, memory):
    """On a GPU with memory of its own, on one that shares the CPU's, and with a cache of variable size."""
    assert result[memory]["says the same"] and result[memory]["decodes alike"]
    assert memory == "variable" or result[memory]["decodes the same"]


def test_a_token_copies_its_own_rows_alone(result):
    """The cache is never copied: on the device a token moves its own keys and values, and none of the cache's."""
    for memory in ("separate", "shared", "variable"):
        assert result[memory]["copied"]["dtod"] == result[memory]["row"] == 128
    assert result["separate"]["cache"] > 100 * result["separate"]["copied"]["dtod"]


def test_shared_memory_is_not_copied(result):
    assert result["shared"]["copied"]["htod"] == result["shared"]["copied"]["dtoh"] == 0
    assert result["separate"]["copied"]["htod"] > 0 and result["separate"]["copied"]["dtoh"] > 0


def test_tokens_are_cuda_graphs(result):
    """From the second token on; where the cache's size varies no two runs are alike."""
    assert result["separate"]["launched"] == result["shared"]["launched"] == 5
    assert result["variable"]["launched"] == 0


def test_what_does_not_fit_is_refused(result):
    missing, shape, kind, size, stranger = result["misuse"]["said"]
    assert "vision.plan needs the input 'image'" in missing
    assert "'image' of vision.plan must be a uint8 array of shape (32, 32, 3), not uint8 (31, 32, 3)" in shape
    assert "not int64 (32, 32, 3)" in kind
    assert "'tokens' of vision.plan must be" in size
    assert "belongs to another backend" in stranger


def test_rows_may_begin_anywhere(result):
    """TensorRT wants addresses that are multiples of 256, and the simulation refuses others."""
    assert result["misuse"]["misaligned"]


def test_dropped_buffers_are_used_again_or_freed(result):
    assert result["misuse"]["kept"] <= 2


def test_threads_take_turns(result):
    assert result["threads"]


def test_few_bits(result):
    assert 0 < result["int8"] < 0.02
    assert result["int8"] < result["int4"] < 0.2


def test_the_manifest_holds_the_key(result):
    key = result["key"]
    assert (key["tensorrt"], key["compute_capability"], key["precision"]) == (result["version"], "8.7", "fp16")
    assert len(key["model"]) == 64 and key["shapes"]


def test_nothing_is_built_twice_nor_silently(result):
    assert result["again"] == []
    assert "the compute capability of the GPU is 8.7 instead of 9.0" in result["other GPU"]
    assert result["other GPU"].endswith("Build them again: loc3r build SOURCE --out OUT")
    assert "is replaced: the compute capability" in result["rebuilt"][0] and len(result["rebuilt"]) == 4


def test_the_command_says_what_it_does(result):
    (code, built), (dry_code, planned) = result["command"]
    assert code == dry_code == 0
    assert "This machine: memory and disk suffice." in built and "holds these engines already" in built
    assert "memory to build" in planned and "holds these engines" not in planned


def test_reasons_are_told(result):
    assert "does not understand vision.onnx: UnknownOperator" in result["unknown"]
    assert "the plan ends before it begins" in result["empty plan"]
    assert "There is no CUDA device that can be used here: no CUDA-capable device is detected" in result["no device"]


def test_a_failed_build_leaves_nothing(result):
    assert result["left behind"] == []


def test_each_version_is_used_as_it_can(run_scenario):
    oldest, _, newest = (set(run_scenario(requirement)["used"]) for requirement in VERSIONS)
    assert {"OnnxParser.parse_from_file", "Builder.build_serialized_network", "IStreamReader.read"} <= oldest
    assert {
        "OnnxParser.load_initializer",
        "Builder.build_serialized_network_to_stream",
        "IStreamWriter.write",
        "IStreamReaderV2.read",
    } <= newest
    assert not {"OnnxParser.load_initializer", "IStreamWriter"} & oldest
    assert not {"OnnxParser.parse_from_file", "IStreamReader.read"} & newest


@pytest.mark.parametrize(
    "requirement",
    [
        pytest.param(requirement, marks=[] if major == 11 else [pytest.mark.slow], id=requirement.partition("==")[2])
        for requirement, major in VERSIONS.items()
    ],
)
def test_a_renamed_member_is_noticed(run_scenario, requirement):
    """Every class, method, property and enumerator that we use, taken away one by one, stops build or run."""
    found = run_scenario(requirement, "rename")
    assert len(found) > 45
    assert [member for member, error in found.items() if member.rpartition(".")[2] not in error] == []
