"""Volumes: planned, resampled, cut into patches to train on, and predicted onto the grid that they came from."""

from volumes.cases import VolumeCase, Volumes
from volumes.frame import Frame, frame_of
from volumes.patches import Patches
from volumes.plan import planned

__all__ = ["Frame", "Patches", "VolumeCase", "Volumes", "frame_of", "planned"]
