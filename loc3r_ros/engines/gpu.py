"""A CUDA device through pycuda: one context, one stream, memory that is kept, and access for one thread at a time."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pycuda.driver as driver

from loc3r_ros.engines.protocol import Array, Buffer
from loc3r_ros.errors import EngineError

SMALLEST = 256
"""Bytes of the smallest allocation: TensorRT wants an address of its own for every tensor, an empty one too."""


class Gpu:
    """The first CUDA device. All work goes to one stream, in the order in which threads take their turn."""

    def __init__(self) -> None:
        """Take the device's primary context, which TensorRT uses as well.

        Raises:
            EngineError: there is no device.
        """
        try:
            driver.init()
            device = driver.Device(0)
            self.compute_capability = "{}.{}".format(*device.compute_capability())
            self.is_integrated = bool(device.get_attribute(driver.device_attribute.INTEGRATED))
            self._context = device.retain_primary_context()
        except driver.Error as error:
            raise EngineError(f"There is no CUDA device that can be used here: {error}.") from error
        self._turn = threading.RLock()
        self._retired: deque[tuple[Any, int]] = deque()
        with self.turn():
            self.stream = driver.Stream()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Own the device for a while; its errors become EngineErrors."""
        with self._turn:
            self._context.push()
            try:
                yield
            except driver.Error as error:
                raise EngineError(f"The GPU failed: {error}.") from error
            finally:
                self._context.pop()

    def finish(self) -> None:
        """Wait until the stream is empty."""
        self.stream.synchronize()

    def memory(self) -> int:
        """Return the free bytes of the device's memory."""
        with self.turn():
            return int(driver.mem_get_info()[0])

    def allocate(self, nbytes: int) -> Allocation:
        """Return zeroed memory. What was given back in the same size is used again, at its old address."""
        nbytes = max(nbytes, SMALLEST)
        with self.turn():
            handle = self._reused(nbytes)
            if handle is None:
                while self._retired:
                    self._retired.popleft()[0].free()
                handle = driver.mem_alloc(nbytes)
            driver.memset_d8_async(int(handle), 0, nbytes, self.stream)
        allocation = Allocation(int(handle), nbytes)
        # An object dies in whatever thread drops it last; memory can be freed only where the context is active.
        weakref.finalize(allocation, self._retired.append, (handle, nbytes)).atexit = False
        return allocation

    def _reused(self, nbytes: int) -> Any | None:
        for _ in range(len(self._retired)):  # other threads append meanwhile
            handle, size = self._retired.popleft()
            if size == nbytes:
                return handle
            self._retired.append((handle, size))
        return None

    def slot(self, nbytes: int) -> Slot:
        """Return memory that host and device see; on Jetson, where both share it, there is one copy of it."""
        nbytes = max(nbytes, SMALLEST)
        with self.turn():
            if self.is_integrated:
                host = driver.pagelocked_empty(nbytes, np.uint8, mem_flags=driver.host_alloc_flags.DEVICEMAP)
                return Slot(self, host, None, int(host.base.get_device_pointer()))
            host = driver.pagelocked_empty(nbytes, np.uint8)
        device = self.allocate(nbytes)
        return Slot(self, host, device, device.address)

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the device, in the stream's order."""
        if nbytes:
            driver.memcpy_dtod_async(target, source, nbytes, self.stream)


class Allocation:
    """Memory of the device; once nobody holds it, it may be used for something else."""

    def __init__(self, address: int, nbytes: int) -> None:
        self.address = address
        self.nbytes = nbytes


class Slot:
    """Memory through which arrays reach the device, or come back from it."""

    def __init__(self, gpu: Gpu, host: Array, device: Allocation | None, address: int) -> None:
        self.address = address
        self._gpu = gpu
        self._host = host
        self._device = device

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return int(self._host.nbytes)

    def fill(self, array: Array) -> None:
        """Send a contiguous array."""
        if array.nbytes:
            part = self._host[: array.nbytes]
            part[:] = array.reshape(-1).view(np.uint8)
            if self._device is not None:
                driver.memcpy_htod_async(self.address, part, self._gpu.stream)

    def fetch(self, nbytes: int) -> None:
        """Bring the first bytes back; they are there once the stream is finished."""
        if self._device is not None and nbytes:
            driver.memcpy_dtoh_async(self._host[:nbytes], self.address, self._gpu.stream)

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return a copy of what was fetched."""
        count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return self._host[:count].view(dtype).reshape(shape).copy()


class DeviceBuffer:
    """A buffer in the device's memory, which engines read and write in place."""

    def __init__(
        self, gpu: Gpu, allocation: Allocation, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.address = address
        self.dtype = dtype
        self._gpu = gpu
        self._allocation = allocation
        self._shape = shape

    @classmethod
    def zeros(cls, gpu: Gpu, shape: tuple[int, ...], dtype: np.dtype[Any]) -> DeviceBuffer:
        """Allocate."""
        allocation = gpu.allocate(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        return cls(gpu, allocation, allocation.address, shape, dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """See `Buffer`."""
        return self._shape

    @property
    def nbytes(self) -> int:
        """See `Buffer`."""
        return int(np.prod(self._shape, dtype=np.int64)) * self.dtype.itemsize

    def rows(self, start: int, stop: int) -> DeviceBuffer:
        """See `Buffer`."""
        start, stop, _ = slice(start, stop).indices(self._shape[0])
        row = int(np.prod(self._shape[1:], dtype=np.int64)) * self.dtype.itemsize
        shape = (max(0, stop - start), *self._shape[1:])
        return DeviceBuffer(self._gpu, self._allocation, self.address + start * row, shape, self.dtype)

    def write(self, source: Array | Buffer) -> None:
        """See `Buffer`."""
        if isinstance(source, DeviceBuffer):
            self._check(source.shape)
            with self._gpu.turn():
                self._gpu.copy(self.address, source.address, self.nbytes)
            return
        array = np.ascontiguousarray(source, dtype=self.dtype)
        self._check(array.shape)
        if array.nbytes:
            with self._gpu.turn():
                self._gpu.finish()
                driver.memcpy_htod(self.address, array)

    def read(self) -> Array:
        """See `Buffer`."""
        array = np.empty(self._shape, self.dtype)
        if array.nbytes:
            with self._gpu.turn():
                self._gpu.finish()
                driver.memcpy_dtoh(array, self.address)
        return array

    def _check(self, shape: tuple[int, ...]) -> None:
        if shape != self._shape:
            raise ValueError(f"cannot copy an array of shape {shape} into a buffer of shape {self._shape}")
