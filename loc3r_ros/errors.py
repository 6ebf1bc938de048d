"""The errors that users see. Each text says what is wrong, where, and what to do."""

from __future__ import annotations


class Loc3RError(Exception):
    """Base of all errors that a user can put right; its text is a whole sentence."""


class NotReadyError(Loc3RError):
    """A question came before it could be answered (no images yet, no engines, too few keyframes)."""


class ImageError(Loc3RError):
    """An image that cannot be decoded."""


class ConfigError(Loc3RError):
    """A parameter, option or configuration value that is not allowed."""


class CheckpointError(Loc3RError):
    """A checkpoint whose keys or shapes are not those expected."""


class EngineError(Loc3RError):
    """A folder of engines that is missing, damaged or made for something else."""


class PoseError(Loc3RError):
    """A pose that is not finite, not normalised or not a rigid motion."""


class BagError(Loc3RError):
    """A recording that is missing, damaged or lacks what was asked of it."""


class PromptError(Loc3RError):
    """A text that the model cannot read."""


class SessionError(Loc3RError):
    """A saved memory that is missing, damaged or from other engines."""
