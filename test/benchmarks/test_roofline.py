"""The counts of the roofline model are those that were measured on the public classes, its times those published."""

import pytest

from loc3r_ros.benchmarks import calibration, roofline
from loc3r_ros.model.config import preset

CONFIG = preset("7b")
ORIN, ORIN_32, H100 = (roofline.DEVICES[name] for name in ("agx_orin_64gb", "agx_orin_32gb", "h100_sxm"))
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


def test_work_of_the_pose_prior():
    """478.2 GMAC were counted on CUT3R's own classes at 432 x 432 without dense heads."""
    assert roofline.pose_prior_flops(CONFIG) / 2e9 == pytest.approx(478.2, rel=0.015)


@pytest.mark.parametrize("one", calibration.PUBLISHED, ids=lambda one: one.what)
def test_published_speeds(one):
    """Within 10 % on the device that the model is for; one of another module is further off, and the docs say so."""
    tolerance = 0.1 if one.device is ORIN else 0.25
    assert one.expected() == pytest.approx(one.value, rel=0.01 if one.is_calibration else tolerance)


def test_the_smaller_module_computes_slower_and_reads_as_fast():
    frame = CONFIG.layout.tokens_per_frame
    appending = [roofline.append_seconds(CONFIG, device, frame, TOKENS) for device in (ORIN, ORIN_32)]
    decoding = [roofline.decode_seconds(CONFIG, device, TOKENS, "int4") for device in (ORIN, ORIN_32)]
    assert appending[1] / appending[0] == pytest.approx(42.5 / 26.9)
    assert decoding[0] == decoding[1]
    assert ORIN_32.memory < ORIN.memory / 2


def test_a_question_on_the_cache_is_far_cheaper():
    ratios = [row.value for row in roofline.measure() if row.name == "anew / cached"]
    assert len(ratios) == 3 and min(ratios) > 10
