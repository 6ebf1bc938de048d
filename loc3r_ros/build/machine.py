"""What this machine has for a build."""

from __future__ import annotations

from pathlib import Path

from loc3r_ros.errors import EngineError

MEMINFO = Path("/proc/meminfo")


def free_memory() -> int:
    """Return the bytes of memory that a new process can have: free, reclaimable or swap.

    Raises:
        EngineError: this is no Linux.
    """
    try:
        entries = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        return 1024 * sum(int(entries[name].split()[0]) for name in ("MemAvailable", "SwapFree"))
    except (OSError, KeyError, ValueError) as error:
        raise EngineError(f"{MEMINFO} does not say how much memory is free: engines are built on Linux.") from error


def free_gpu_memory() -> int | None:
    """Return the free bytes of a GPU that has memory of its own; None where it has not, or there is none."""
    try:
        from loc3r_ros.engines.gpu import Gpu

        gpu = Gpu()
    except (ImportError, EngineError):
        return None
    return None if gpu.is_integrated else gpu.memory()


def is_streaming() -> bool:
    """Say whether the TensorRT that is installed maps weights and streams plans; no where there is none."""
    try:
        import tensorrt as trt
    except ImportError:
        return False
    return hasattr(trt.OnnxParser, "load_initializer") and hasattr(trt.Builder, "build_serialized_network_to_stream")
