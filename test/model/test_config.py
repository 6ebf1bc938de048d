import json
from dataclasses import replace

import pytest

from loc3r_ros.errors import ConfigError
from loc3r_ros.model.config import LanguageConfig, Loc3RConfig, VideoConfig, VisionConfig, preset

SIZES = ["7b", "nano", "mid", "tiny"]


@pytest.mark.parametrize("name", SIZES)
def test_json_round_trip(name, tmp_path):
    config = preset(name)
    config.save(tmp_path / "config.json")
    assert Loc3RConfig.load(tmp_path / "config.json") == config


def test_numbers_of_the_7b():
    config = preset("7b")
    assert (config.vision.grid, config.pooled_grid, config.layout.tokens_per_frame) == (27, 14, 211)
    assert config.pixels_per_patch == 27
    average = replace(config, video=replace(config.video, pool="average"))
    assert (average.pooled_grid, average.pixels_per_patch) == (13, 28)


def test_nano_differs_in_numbers_only():
    nano, paper = preset("nano"), preset("7b")
    assert nano.video == paper.video
    assert nano.heading_bins == paper.heading_bins


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"vision": {"heads": 7}}, "multiple of vision.heads"),
        ({"vision": {"layers": 0}}, "vision.layers must be at least 1"),
        ({"vision": {"layers": "six"}}, "config.vision.layers must be of type int"),
        ({"vision": 3}, "config.vision must be an object"),
        ({"video": {"pool": "max"}}, "choose one of bilinear, average"),
        ({"video": {"pool": ["max"]}}, "choose one of bilinear, average"),
        ({"language": {"kv_heads": 3}}, "multiple of language.kv_heads"),
        ({"language": {"position_token": 200000}}, "below vocab_size"),
        ({"language": {"stop_tokens": 5}}, "stop_tokens must be a list"),
        ({"language": {"tie_embeddings": 1}}, "must be of type bool"),
        ({"pose_prior": {"image_size": [430, 432]}}, "multiples of its patch_size"),
        ({"pose_prior": {"decoder_heads": 5}}, "must be a multiple of 4 * 5 heads"),
        ({"wings": 2}, "unknown fields: wings"),
    ],
)
def test_what_is_wrong_is_said(change, sentence):
    with pytest.raises(ConfigError, match=sentence.replace("*", r"\*")):
        Loc3RConfig.from_json(json.dumps(change))


def test_a_missing_or_broken_file_is_said(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Loc3RConfig.load(tmp_path / "config.json")
    with pytest.raises(ConfigError, match="not JSON"):
        Loc3RConfig.from_json("{")
    with pytest.raises(ConfigError, match="no model size 'huge'"):
        preset("huge")


def test_parts_check_themselves():
    with pytest.raises(ConfigError):
        VisionConfig(image_size=8, patch_size=16)
    with pytest.raises(ConfigError):
        VideoConfig(pool_stride=0)
    with pytest.raises(ConfigError):
        LanguageConfig(hidden_size=100, heads=3)
