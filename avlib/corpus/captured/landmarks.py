"""MediaPipe's 478 face landmarks: which outline the lips, which speech does not move, and the mesh of the first 468.

"Left" and "right" are those of the person; the right half of a face is on the left of its picture.
"""

import numpy as np

COUNT, MESH_COUNT = 478, 468  # the last ten are the irises
REST_SHARE = 0.1  # of a person's frames: those in which the lips are nearest to each other show the face at rest
RIGHT_IRIS, LEFT_IRIS = 468, 473  # their centres
CHIN, FOREHEAD = 152, 10

# Lines along the lips from the right to the left corner. The inner lines are where the lips meet.
OUTER_UPPER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
OUTER_LOWER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
INNER_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
INNER_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
UPPER_MIDDLE, LOWER_MIDDLE = 13, 14
LOWER_LIDS = (145, 374)

# Forehead, temples, bridge of the nose and corners of the eyes: speech does not move them.
STABLE = (
    *(10, 151, 9, 8, 168, 6, 197),
    *(109, 67, 103, 54, 21, 162, 127, 108, 69, 104, 68, 71, 139, 34, 193, 122, 33, 133),
    *(338, 297, 332, 284, 251, 389, 356, 337, 299, 333, 298, 301, 368, 264, 417, 351, 263, 362),
)
# (right, left) pairs that mirror each other, all over the face
MIRRORED = (
    *((33, 263), (133, 362), (127, 356), (234, 454), (93, 323), (132, 361), (58, 288), (172, 397), (136, 365)),
    *((150, 379), (149, 378), (176, 400), (148, 377), (21, 251), (54, 284), (103, 332), (67, 297), (109, 338)),
    *((61, 291), (98, 327), (RIGHT_IRIS, LEFT_IRIS)),
)
# The 51 inner points of the iBUG annotation with 68 points (Sagonas et al. 2016), in its order from point 17 on: brows,
# nose, eyes, outer and inner lips.
IBUG_INNER = (
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
    *(168, 197, 5, 4, 98, 97, 2, 326, 327),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
    *(78, 82, 13, 312, 308, 317, 14, 87),
)


def mesh_triangles() -> np.ndarray:
    """(852, 3): the triangles of MediaPipe's tesselation, with normals towards the viewer. Eyes and mouth are open.

    ValueError if the package lacks them.
    """
    try:
        from mediapipe.tasks.python.vision.face_landmarker import (  # pyright: ignore[reportMissingImports]  # optional
            FaceLandmarksConnections,
        )
    except ImportError as error:
        raise ValueError(f"MediaPipe does not load ({error}): pip install mediapipe") from None
    edges = np.array([(e.start, e.end) for e in FaceLandmarksConnections.FACE_LANDMARKS_TESSELATION])
    triangles = edges.reshape(-1, 3, 2)  # the edges come in threes, around a triangle
    if not np.array_equal(triangles[:, :, 1], np.roll(triangles[:, :, 0], -1, 1)):
        raise ValueError("MediaPipe's tesselation is not a list of triangles in this version")
    return triangles[:, :, 0]


def lip_gap(landmarks: np.ndarray) -> np.ndarray:
    """(T,): mean distance between the lips over the middle five of the eleven points of their inner lines.

    landmarks: (T, 478, 3), any unit.
    """
    upper, lower = np.array(INNER_UPPER[3:8]), np.array(INNER_LOWER[3:8])
    return np.linalg.norm(landmarks[:, upper] - landmarks[:, lower], axis=-1).mean(1)


def face_at_rest(landmarks: np.ndarray) -> np.ndarray:
    """(478, 3): the mean of the frames in which the lips are nearest to each other.

    landmarks: (T, 478, 3), of a person's frames, any unit.
    """
    gap = lip_gap(landmarks)
    return landmarks[gap <= np.quantile(gap, REST_SHARE)].mean(0)
