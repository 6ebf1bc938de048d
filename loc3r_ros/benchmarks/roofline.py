"""What the 7B should take on a robot: a model of the hardware's limits, not a measurement.

Work is counted from the model's configuration. A step takes as long as the slower of its arithmetic and its memory
traffic, each at the share of the data sheet's limit that others have measured on that hardware: AGX Orin 64 GB by
TensorRT Edge-LLM with Qwen3-8B (21.4 of 42.5 dense FP16 TFLOPS in prefill, 77 % of 204.8 GB/s in decode), and the same
shares for the 32 GB module, which has 7/8 of the tensor cores at 0.94 instead of 1.3 GHz and the same memory; for the
H100 SXM 55 % of 989 TFLOPS and 75 % of 3.35 TB/s are assumed. The benchmark `calibration` compares the model with what
others measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from loc3r_ros.benchmarks import Measurement
from loc3r_ros.model.config import LanguageConfig, Loc3RConfig, preset

QUESTION_TOKENS = 100
HEAD_TOKENS = 14
FP16_BYTES = 2.0
BITS = {"fp16": 16.0, "int8": 8.0, "int4": 4.16}
"""Bits per weight; int4 has one fp16 scale for each group of 128 and a zero point now and then."""


@dataclass(frozen=True)
class Device:
    """A GPU.

    Attributes:
        name: of the device.
        memory: bytes that programs can have, the system's share taken off.
        flops: dense FP16 tensor operations per second, data sheet.
        bandwidth: bytes per second, data sheet.
        compute_share: part of `flops` that prefill reaches.
        memory_share: part of `bandwidth` that decode reaches.
    """

    name: str
    memory: float
    flops: float
    bandwidth: float
    compute_share: float
    memory_share: float

    def seconds(self, flops: float, traffic: float) -> float:
        """Return how long work takes that reads and writes `traffic` bytes."""
        return max(flops / (self.flops * self.compute_share), traffic / (self.bandwidth * self.memory_share))


DEVICES = {
    "agx_orin_64gb": Device("AGX Orin 64 GB", 60e9, 42.5e12, 204.8e9, 21.4 / 42.5, 0.77),
    "agx_orin_32gb": Device("AGX Orin 32 GB", 29e9, 26.9e12, 204.8e9, 21.4 / 42.5, 0.77),
    "h100_sxm": Device("H100 SXM", 79e9, 989e12, 3.35e12, 0.55, 0.75),
}


def linear_weights(language: LanguageConfig) -> int:
    """Return the weights of all matrices of the language model's blocks."""
    width, kv_width = language.hidden_size, language.kv_heads * language.head_dim
    return language.layers * (2 * width * width + 2 * width * kv_width + 3 * width * language.intermediate_size)


def cache_bytes_per_token(language: LanguageConfig) -> float:
    """Return what one token takes in an fp16 cache."""
    return 2 * language.layers * language.kv_heads * language.head_dim * FP16_BYTES


def block_flops(language: LanguageConfig, tokens: int) -> float:
    """Return the operations of the matrices for some tokens."""
    return 2.0 * linear_weights(language) * tokens


def attention_flops(language: LanguageConfig, tokens: int, past: int) -> float:
    """Return the operations of causal attention of new tokens on a past: QK^T and PV, only what is seen."""
    pairs = tokens * past + tokens * tokens / 2
    return 4.0 * language.layers * language.hidden_size * pairs


def vision_flops(config: Loc3RConfig) -> float:
    """Return the operations of tower and projector for one frame."""
    vision, patches = config.vision, config.vision.grid**2
    width = vision.hidden_size
    block = 2.0 * patches * (4 * width * width + 2 * width * vision.intermediate_size) + 4.0 * patches**2 * width
    stem = 2.0 * patches * 3 * vision.patch_size**2 * width
    hidden = config.language.hidden_size
    return vision.layers * block + stem + 2.0 * patches * (width * hidden + hidden * hidden)


def pose_prior_flops(config: Loc3RConfig) -> float:
    """Return the operations of one step of CUT3R without its dense heads (MACs by CUT3R's sizes, times two)."""
    prior = config.pose_prior
    d, e, s = prior.encoder_dim, prior.decoder_dim, prior.state_tokens
    n = prior.image_size[0] * prior.image_size[1] // prior.patch_size**2
    encoder = prior.encoder_layers * (12 * d * d * n + 2 * n * n * d) + 3 * prior.patch_size**2 * d * n
    image = 14 * e * e * (n + 1) + 2 * e * e * s + 2 * (n + 1) ** 2 * e + 2 * (n + 1) * s * e
    state = 14 * e * e * s + 2 * e * e * (n + 1) + 2 * s * s * e + 2 * (n + 1) * s * e
    slots, wide = prior.memory_slots, 2 * e
    memory = prior.memory_layers * slots * (12 * wide * wide + 2 * slots * wide)
    return 2.0 * (encoder + prior.decoder_layers * (image + state) + d * e * n + memory)


def weight_bytes(language: LanguageConfig, precision: str) -> float:
    """Return what one pass over the language model reads: blocks and output head."""
    head = language.vocab_size * language.hidden_size
    return (linear_weights(language) * BITS[precision] + head * (16.0 if precision == "int4" else BITS[precision])) / 8


def append_seconds(config: Loc3RConfig, device: Device, tokens: int, past: int) -> float:
    """Return how long new tokens take on a cached past, fp16."""
    language = config.language
    flops = block_flops(language, tokens) + attention_flops(language, tokens, past)
    traffic = weight_bytes(language, "fp16") + past * cache_bytes_per_token(language)
    return device.seconds(flops, traffic)


def decode_seconds(config: Loc3RConfig, device: Device, past: int, precision: str) -> float:
    """Return how long one token of an answer takes."""
    language = config.language
    flops = block_flops(language, 1) + attention_flops(language, 1, past)
    traffic = weight_bytes(language, precision) + past * cache_bytes_per_token(language)
    return device.seconds(flops, traffic)


def measure() -> list[Measurement]:
    """Return the model's numbers for the 7B with 32 keyframes."""
    config = preset("7b")
    frame = config.layout.tokens_per_frame
    video = HEAD_TOKENS + config.video.frames * frame
    rows = []
    for device in DEVICES.values():
        vision = device.seconds(vision_flops(config), 0.0)
        cached = append_seconds(config, device, QUESTION_TOKENS, video)
        whole = append_seconds(config, device, video + QUESTION_TOKENS, 0) + config.video.frames * vision
        note = f"{device.name}, model"
        rows += [
            Measurement("pose prior of a frame", 1e3 * device.seconds(pose_prior_flops(config), 0.0), "ms", note),
            Measurement("vision of a frame", 1e3 * vision, "ms", note),
            Measurement("append a frame to 32", 1e3 * append_seconds(config, device, frame, video), "ms", note),
            Measurement(f"question of {QUESTION_TOKENS} tokens, cached", 1e3 * cached, "ms", note),
            Measurement("the same, everything anew", 1e3 * whole, "ms", f"{note}, without CUT3R"),
            Measurement("anew / cached", whole / cached, "x", note),
        ]
        rows += [
            Measurement(f"decode, {precision}", 1 / decode_seconds(config, device, video, precision), "tokens/s", note)
            for precision in BITS
        ]
    return rows
