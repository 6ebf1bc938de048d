"""Run compiled graphs: one small protocol, a manifest that says what a folder of engines is, one backend per module.

Nothing here imports a runtime before it is needed, and none of it needs torch except the reference backend.
"""

from loc3r_ros.engines.engine_set import EngineSet
from loc3r_ros.engines.manifest import Manifest
from loc3r_ros.engines.protocol import Backend, Buffer, Engine

__all__ = ["Backend", "Buffer", "Engine", "EngineSet", "Manifest"]
