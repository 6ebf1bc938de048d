"""The roofline model against published measurements of similar language models; a model, not measured here.

NVIDIA TensorRT Edge-LLM's performance page (0.10.0, AGX Orin 64 GB, JetPack 7.2), the README of llm-awq (TinyChat,
"Jetson Orin") and NVIDIA's announcement of the Orin Nano's Super mode.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from loc3r_ros.benchmarks import Measurement
from loc3r_ros.benchmarks.roofline import (
    DEVICES,
    Device,
    attention_flops,
    block_flops,
    cache_bytes_per_token,
    vision_flops,
    weight_bytes,
)
from loc3r_ros.model.config import LanguageConfig, preset

ORIN_NANO = Device("Orin Nano 8 GB, Super mode", 7e9, 16.7e12, 102e9, 21.4 / 42.5, 0.77)


@dataclass(frozen=True)
class Published:
    """What somebody measured of a language model.

    Attributes:
        what: device, model and software.
        device: that it was measured on.
        language: sizes of the model.
        precision: of its weights.
        tokens: new ones: many in prefill, one in decoding.
        past: tokens before them.
        value: tokens per second.
        is_calibration: whether the device's shares were taken from it.
    """

    what: str
    device: Device
    language: LanguageConfig
    precision: str
    tokens: int
    past: int
    value: float
    is_calibration: bool = False

    def expected(self) -> float:
        """Return the tokens per second that the model gives."""
        flops = block_flops(self.language, self.tokens) + attention_flops(self.language, self.tokens, self.past)
        traffic = weight_bytes(self.language, self.precision) + self.past * cache_bytes_per_token(self.language)
        return self.tokens / self.device.seconds(flops, traffic)


def _sized(hidden: int, layers: int, heads: int, kv_heads: int, intermediate: int, vocabulary: int) -> LanguageConfig:
    return replace(
        preset("7b").language,
        hidden_size=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        intermediate_size=intermediate,
        vocab_size=vocabulary,
        position_token=1,
        orientation_token=2,
        stop_tokens=(0,),
    )


QWEN3_8B = _sized(4096, 36, 32, 8, 12288, 151936)
LLAMA3_8B = _sized(4096, 32, 32, 8, 14336, 128256)
QWEN2_7B = preset("7b").language
ORIN = DEVICES["agx_orin_64gb"]
PUBLISHED = (
    Published("Edge-LLM 0.10, Qwen3-8B int4: prefill of 2048", ORIN, QWEN3_8B, "int4", 2048, 0, 1480, True),
    Published("Edge-LLM 0.10, Qwen3-8B int4: decode at 2048", ORIN, QWEN3_8B, "int4", 1, 2048, 30.6, True),
    Published("TinyChat, NVILA-8B fp16: decode", ORIN, QWEN2_7B, "fp16", 1, 256, 11.6),
    Published("TinyChat, NVILA-8B int4: decode", ORIN, QWEN2_7B, "int4", 1, 256, 32.8),
    Published("TinyChat, LLaMA-3-8B fp16: prefill of 4096", ORIN, LLAMA3_8B, "fp16", 4096, 0, 4096 / 3.11),
    Published("TinyChat, LLaMA-3-8B fp16: decode", ORIN, LLAMA3_8B, "fp16", 1, 256, 10.4),
    Published("TinyChat, LLaMA-3-8B int4: decode", ORIN, LLAMA3_8B, "int4", 1, 256, 30.7),
    Published("MLC, Qwen2.5-7B int4: decode", ORIN_NANO, QWEN2_7B, "int4", 1, 256, 21.75),
)


PATCHES_PER_SECOND = 1060 / 0.053
"""Of a vision tower of SigLIP so400m's width and depth (Qwen3-VL-8B's), Edge-LLM, fp16."""


def vision_row() -> Measurement:
    """Return the model's speed of the vision tower."""
    config = preset("7b")
    expected = config.vision.grid**2 / ORIN.seconds(vision_flops(config), 0.0)
    note = f"published {PATCHES_PER_SECOND:.4g}, model / published {expected / PATCHES_PER_SECOND:.2f}"
    return Measurement(f"{ORIN.name}: Edge-LLM 0.10, vision tower of Qwen3-VL-8B", expected, "patches/s", note)


def measure() -> list[Measurement]:
    """Return the model's speed of everything that was published."""
    return [
        vision_row(),
        *(
            Measurement(
                f"{one.device.name}: {one.what}",
                one.expected(),
                "tokens/s",
                f"published {one.value:.4g}, model / published {one.expected() / one.value:.2f}"
                + (", used to calibrate" if one.is_calibration else ""),
            )
            for one in PUBLISHED
        ),
    ]
