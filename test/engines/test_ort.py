import subprocess
import sys
import textwrap

import numpy as np
import onnxruntime
import pytest

from loc3r_ros.engines import Buffer, Engine, EngineSet
from loc3r_ros.engines.ort import BUSY_WAIT, HostBuffer, OnnxRuntimeBackend, waiting
from loc3r_ros.engines.protocol import Backend
from loc3r_ros.errors import EngineError


@pytest.fixture(scope="module")
def engines(engine_folder):
    return EngineSet.load(engine_folder("tiny"), threads=1)


def test_the_backend_keeps_the_protocol(engines):
    assert isinstance(engines.backend, Backend)
    assert isinstance(engines.vision, Engine)
    assert isinstance(engines.backend.allocate((2, 3), "float32"), Buffer)


def test_a_view_is_the_same_memory(engines):
    buffer = engines.backend.allocate((4, 2), "float32")
    buffer.rows(1, 3).write(np.ones((2, 2)))
    assert buffer.read().tolist() == [[0, 0], [1, 1], [1, 1], [0, 0]]
    other = engines.backend.allocate((2, 2), "float32")
    other.write(buffer.rows(0, 2))
    assert other.read().tolist() == [[0, 0], [1, 1]]
    assert buffer.nbytes == 32


def test_an_output_lands_in_the_buffer(engines):
    picture = np.full((32, 32, 3), 200, np.uint8)
    expected = engines.vision.run({"image": picture})["tokens"]
    buffer = engines.backend.allocate((10 + len(expected), expected.shape[1]), "float32")
    rest = engines.vision.run({"image": picture}, into={"tokens": buffer.rows(10, 10 + len(expected))})
    assert rest == {}
    np.testing.assert_array_equal(buffer.read()[10:], expected)
    assert not buffer.read()[:10].any()


def test_inputs_that_do_not_fit(engines):
    with pytest.raises(EngineError, match="needs the input 'image'"):
        engines.vision.run({})
    with pytest.raises(EngineError, match=r"'image' of vision.onnx must be .*uint8.*\(32, 32, 3\)"):
        engines.vision.run({"image": np.zeros((31, 32, 3), np.uint8)})
    with pytest.raises(EngineError, match="'tokens'"):
        into = {"tokens": engines.backend.allocate((1, 32), "float32")}
        engines.vision.run({"image": np.zeros((32, 32, 3), np.uint8)}, into=into)
    with pytest.raises(EngineError, match="another backend"):
        engines.vision.run({"image": np.zeros((32, 32, 3), np.uint8)}, into={"tokens": object()})


def test_buffers_are_not_converted_in_silence(engines):
    wrong = HostBuffer(np.zeros((32, 32, 3), np.int64))
    with pytest.raises(EngineError, match="uint8"):
        engines.vision.run({"image": wrong})


def test_a_file_that_is_no_graph(engines, tmp_path):
    (tmp_path / "vision.onnx").write_bytes(b"nonsense")
    with pytest.raises(EngineError, match="could not load"):
        OnnxRuntimeBackend().load(tmp_path, engines.vision.spec)


def test_threads_are_bounded():
    assert OnnxRuntimeBackend(threads=3).threads == 3
    assert 1 <= OnnxRuntimeBackend().threads <= 4


@pytest.mark.parametrize("version", ["1.18.0", "1.23.2", "1.25.1"])
def test_threads_sleep_where_a_busy_wait_has_no_bound(version):
    assert waiting(version) == {"session.intra_op.allow_spinning": "0"}


@pytest.mark.parametrize("version", ["1.26.0", "1.31.1", "2.0.0", "1.27.0.dev20260901"])
def test_threads_wait_for_a_moment_within_a_run_and_not_between_runs(version):
    entries = waiting(version)
    assert entries["session.intra_op.spin_duration_us"] == BUSY_WAIT and int(BUSY_WAIT) < 100
    assert entries["session.force_spinning_stop"] == "1"


def test_sessions_are_told_how_to_wait():
    options = OnnxRuntimeBackend(threads=2).options()
    for entry, value in waiting(onnxruntime.__version__).items():
        assert options.get_session_config_entry(entry) == value


def test_the_robot_needs_no_torch(engine_folder):
    """The whole Python API in a process where torch, transformers and onnx cannot be imported."""
    program = """
        import sys
        for name in ("torch", "transformers", "onnx", "onnxscript", "safetensors"):
            sys.modules[name] = None
        import numpy as np
        import loc3r_ros
        assert "onnxruntime" not in sys.modules, "importing the package imports a runtime"
        from loc3r_ros import Localizer
        localizer = Localizer.load(sys.argv[1], threads=1, answer_tokens=2)
        keyframe = localizer.observe(np.zeros((48, 64, 3), np.uint8), 0)
        place = localizer.locate("I am standing in the room.")
        print(keyframe.index, place.pose.shape, localizer.ask("Where?").keyframe_count)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(engine_folder("tiny"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["0", "(3,)", "1"], done.stderr


def test_importing_the_package_is_light():
    program = "import sys, loc3r_ros; print(sorted({'numpy', 'torch', 'onnxruntime', 'rclpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
