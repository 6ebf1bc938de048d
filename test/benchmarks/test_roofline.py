"""The counts of the roofline model are those that were measured on the public classes, its times those published."""

import pytest

from loc3r_ros.benchmarks import roofline
from loc3r_ros.model.config import preset

CONFIG = preset("7b")
ORIN, H100 = roofline.DEVICES
TOKENS = 6852


def test_work_of_the_whole_prompt():
    assert roofline.block_flops(CONFIG.language, TOKENS) / 1e12 == pytest.approx(89.4, abs=0.05)
    assert roofline.attention_flops(CONFIG.language, TOKENS, 0) / 1e12 == pytest.approx(9.4, abs=0.05)
    assert 32 * roofline.vision_flops(CONFIG) / 1e12 == pytest.approx(20.5 + 0.8, abs=0.05)


def test_appending_in_pieces_is_the_same_work():
    whole = roofline.attention_flops(CONFIG.language, 100, 0)
    pieces = roofline.attention_flops(CONFIG.language, 60, 0) + roofline.attention_flops(CONFIG.language, 40, 60)
    assert pieces == pytest.approx(whole)


def test_bytes():
    assert roofline.linear_weights(CONFIG.language) == 6_525_288_448
    assert roofline.cache_bytes_per_token(CONFIG.language) == 57_344
    gigabytes = [roofline.weight_bytes(CONFIG.language, precision) / 1e9 for precision in ("fp16", "int8", "int4")]
    assert gigabytes == pytest.approx([14.14, 7.07, 4.48], abs=0.01)


@pytest.mark.parametrize(
    ("device", "precision", "tokens_per_second"),
    [(ORIN, "fp16", 10.9), (ORIN, "int8", 21), (ORIN, "int4", 32), (H100, "fp16", 173), (H100, "int4", 516)],
)
def test_decoding(device, precision, tokens_per_second):
    assert 1 / roofline.decode_seconds(CONFIG, device, TOKENS, precision) == pytest.approx(tokens_per_second, rel=0.02)


def test_published_speed_of_a_model_of_this_class():
    """NVILA-8B, whose language model is of this size, on Jetson Orin: 11.6 tokens/s in fp16 and 32.8 in int4."""
    for precision, published in (("fp16", 11.6), ("int4", 32.8)):
        assert 1 / roofline.decode_seconds(CONFIG, ORIN, 256, precision) == pytest.approx(published, rel=0.08)


def test_a_question_on_the_cache_is_far_cheaper():
    ratios = [row.value for row in roofline.measure() if row.name == "anew / cached"]
    assert len(ratios) == 2 and min(ratios) > 10
