import enum

from .face_landmarker import FaceLandmarker as FaceLandmarker
from .face_landmarker import FaceLandmarkerOptions as FaceLandmarkerOptions


class RunningMode(enum.Enum):
    VIDEO = 2
