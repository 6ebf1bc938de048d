"""What the TensorRT backend and the compiler of plans share: TensorRT's messages, and plans read piece by piece."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import tensorrt as trt

from loc3r_ros.errors import EngineError

CHUNK = 64 << 20
"""Bytes that are read at once: a plan of many gigabytes never lies in memory twice."""

log = logging.getLogger(__name__)


class TrtLog(trt.ILogger):
    """TensorRT's messages, in Python's log; the latest errors are kept for the sentences that users see."""

    LEVELS = {  # noqa: RUF012
        trt.ILogger.Severity.INTERNAL_ERROR: logging.ERROR,
        trt.ILogger.Severity.ERROR: logging.ERROR,
        trt.ILogger.Severity.WARNING: logging.WARNING,
        trt.ILogger.Severity.INFO: logging.DEBUG,
        trt.ILogger.Severity.VERBOSE: logging.NOTSET,
    }

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._errors: list[str] = []

    def log(self, severity: Any, msg: str) -> None:
        """Called by TensorRT."""
        level = self.LEVELS.get(severity, logging.ERROR)
        if level >= logging.ERROR:
            self._errors = [*self._errors[-2:], msg]
        if level:
            log.log(level, "%s", msg)

    def errors(self) -> str:
        """Return the latest errors and forget them."""
        text, self._errors = "; ".join(self._errors), []
        return text or "TensorRT gave no reason"


def read_plan(runtime: Any, path: Path, messages: TrtLog) -> Any:
    """Return the engine of a plan.

    Args:
        runtime: TensorRT's.
        path: of the plan.
        messages: of the runtime.

    Raises:
        EngineError: TensorRT cannot read it.
    """
    with path.open("rb") as stream:
        engine = runtime.deserialize_cuda_engine(PlanReader(stream))
    if engine is None:
        raise EngineError(f"TensorRT could not read {path}: {messages.errors()}.")
    return engine


if hasattr(trt, "IStreamReaderV2"):  # from 10.7 on; 11 has no other

    class PlanReader(trt.IStreamReaderV2):
        """A file as TensorRT wants to read it."""

        def __init__(self, stream: io.BufferedReader) -> None:
            trt.IStreamReaderV2.__init__(self)
            self._stream = stream
            self._whence = {
                trt.SeekPosition.SET: io.SEEK_SET,
                trt.SeekPosition.CUR: io.SEEK_CUR,
                trt.SeekPosition.END: io.SEEK_END,
            }

        def read(self, num_bytes: int, stream: int) -> bytes:
            """Return up to so many bytes; TensorRT asks again for the rest."""
            return self._stream.read(min(num_bytes, CHUNK))

        def seek(self, offset: int, where: Any) -> bool:
            """Go elsewhere."""
            self._stream.seek(offset, self._whence[where])
            return True

else:

    class PlanReader(trt.IStreamReader):  # type: ignore[no-redef]
        """A file as TensorRT wants to read it."""

        def __init__(self, stream: io.BufferedReader) -> None:
            trt.IStreamReader.__init__(self)
            self._stream = stream

        def read(self, size: int) -> bytes:
            """Return so many bytes."""
            return self._stream.read(size)
