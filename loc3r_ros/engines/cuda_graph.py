"""CUDA graphs by the driver's C interface, which pycuda lacks: work of a stream, recorded once and launched whole.

The six functions exist since CUDA 11.4 (CUDA Driver API, "Stream Management" and "Graph Management").
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from loc3r_ros.errors import EngineError

LIBRARY = "libcuda.so.1"
THIS_THREAD_ONLY = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may go on allocating meanwhile."""
HANDLE = ctypes.c_void_p
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "cuStreamBeginCapture_v2": (HANDLE, ctypes.c_int),
    "cuStreamEndCapture": (HANDLE, ctypes.POINTER(HANDLE)),
    "cuGraphInstantiateWithFlags": (ctypes.POINTER(HANDLE), HANDLE, ctypes.c_ulonglong),
    "cuGraphLaunch": (HANDLE, HANDLE),
    "cuGraphExecDestroy": (HANDLE,),
    "cuGraphDestroy": (HANDLE,),
}
"""Name -> arguments; all return a CUresult, which is 0 where it went well."""


@lru_cache
def library() -> Any:
    """Return the driver's library with the functions' types set."""
    loaded = ctypes.CDLL(LIBRARY)
    for name, arguments in FUNCTIONS.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = list(arguments), ctypes.c_int
    return loaded


def call(name: str, *arguments: Any) -> None:
    """Call a function of the driver.

    Raises:
        EngineError: it reports an error.
    """
    result = getattr(library(), name)(*arguments)
    if result:
        raise EngineError(f"The GPU failed: {name} returned CUDA error {result}.")


class CudaGraph:
    """Recorded work. It holds addresses, not memory: whoever launches it keeps what it reads and writes alive."""

    def __init__(self, stream: int, work: Callable[[], None]) -> None:
        """Record what `work` sends to the stream, without running it.

        Raises:
            EngineError: something of it cannot be recorded.
        """
        graph, executable = HANDLE(), HANDLE()
        call("cuStreamBeginCapture_v2", stream, THIS_THREAD_ONLY)
        try:
            work()
        finally:  # a stream that stays in this state can do nothing else
            call("cuStreamEndCapture", stream, ctypes.byref(graph))
        try:
            call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, 0)
        finally:
            call("cuGraphDestroy", graph)
        self._stream = stream
        self._executable = executable

    def launch(self) -> None:
        """Run the work."""
        call("cuGraphLaunch", self._executable, self._stream)

    def close(self) -> None:
        """Forget it."""
        call("cuGraphExecDestroy", self._executable)
