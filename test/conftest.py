"""Shared by all tests: reference data, engines and checkpoints, a private ROS domain, and how hypothesis draws."""

import json
import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# Before any rclpy is imported: parallel runs on one machine must not see each other.
# The workers of one run inherit its environment, so each adds its own number.
_DOMAIN = int(os.environ.setdefault("LOC3R_TEST_DOMAIN", str(1 + os.getpid() % 90)))
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
os.environ["ROS_DOMAIN_ID"] = str(_DOMAIN + _WORKER)
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# A shell that starts the tests in the background lets them ignore Ctrl-C, and so would all processes that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def has_cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


# Before any Triton is imported: without a GPU its interpreter runs the kernels.
if not has_cuda():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Fixed draws and no wall time: a red test is red on every machine.
settings.register_profile("loc3r", max_examples=60, deadline=None, derandomize=True)
settings.load_profile("loc3r")


def pytest_collection_modifyitems(items):
    """Leave out what this machine cannot run, with the reason."""
    shared = shared_folder()
    for item in items:
        if item.get_closest_marker("shared_data") and not shared.exists():
            item.add_marker(pytest.mark.skip(reason=f"no reference data in {shared}: set LOC3R_SHARED"))
        if item.get_closest_marker("gpu") and not has_cuda():
            item.add_marker(pytest.mark.skip(reason="no CUDA GPU"))


def shared_folder() -> Path:
    """Folder of the recorded walk and the reference fixtures."""
    return Path(os.environ.get("LOC3R_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    return shared_folder()


@pytest.fixture(scope="session")
def engine_folder(tmp_path_factory):
    """Return a function: size and precision -> folder of engines with random weights, made once."""
    made: dict[tuple[str, str], Path] = {}

    def make(size: str = "tiny", precision: str = "fp32") -> Path:
        if (size, precision) not in made:
            from loc3r_ros.export.folder import export_engines
            from loc3r_ros.export.source import random_source
            from loc3r_ros.model.config import preset

            folder = tmp_path_factory.mktemp("engines") / f"{size}_{precision}"
            export_engines(random_source(preset(size)), folder, precision)
            made[size, precision] = folder
        return made[size, precision]

    return make


OFFICIAL_JSON = {
    "model_type": "llava_qwen",
    "mm_vision_tower": "google/siglip-so400m-patch14-384",
    "mm_spatial_pool_mode": "bilinear",
    "mm_newline_position": "grid",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rope_theta": 1000000.0,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 32768,
}
OFFICIAL_HEADS = {
    "camera": "model.camera_mlp",
    "heads.layout": "bev_head",
    "heads.position": "pos_head",
    "heads.orientation": "ori_head",
}


@pytest.fixture(scope="session")
def official_config():
    """What OFFICIAL_JSON and the checkpoint beside it describe, but for the pose prior."""
    from loc3r_ros.model.config import LanguageConfig, Loc3RConfig, VisionConfig

    return Loc3RConfig(
        head_hidden=24,
        vision=VisionConfig(hidden_size=32, intermediate_size=48, layers=2, heads=16),
        language=LanguageConfig(
            vocab_size=320,
            hidden_size=32,
            intermediate_size=48,
            layers=2,
            heads=4,
            kv_heads=2,
            position_token=3,
            orientation_token=4,
            stop_tokens=(2, 0),
        ),
    )


@pytest.fixture(scope="session")
def write_official():
    """Return a function that writes a model as a Hugging Face folder: sharded bf16 under the official names."""
    from loc3r_ros.model.checkpoint_files import INDEX_FILE, write
    from loc3r_ros.model.hub_layout import official_name
    from loc3r_ros.prompt.training import train_tokenizer

    def name_of(ours):
        root = next((part for part in OFFICIAL_HEADS if ours.startswith(part + ".")), None)
        return OFFICIAL_HEADS[root] + ours[len(root) :] if root else official_name(ours)

    def make(folder, model, with_heads=True, change=None, json_changes=None):
        tensors = {
            name_of(name): tensor.detach().bfloat16()
            for name, tensor in model.state_dict().items()
            if with_heads or not name.startswith(("camera.", "heads."))
        }
        if change:
            change(tensors)
        write(folder, tensors.items(), shard_bytes=60_000)
        assert (folder / INDEX_FILE).exists()
        (folder / "config.json").write_text(json.dumps(OFFICIAL_JSON | (json_changes or {})))
        train_tokenizer(["I am standing in the room"], 300).save(folder)
        return folder

    return make
