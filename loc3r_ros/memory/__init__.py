"""What the model remembers: the prefix of keyframes with its cache, that grows, is evicted from and is rebuilt."""

from loc3r_ros.memory.memory import Frame, Memory
from loc3r_ros.memory.snapshot import Entry, Snapshot

__all__ = ["Entry", "Frame", "Memory", "Snapshot"]
