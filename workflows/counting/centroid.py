"""Electrons at the center of mass of their charge, each cloud without those of its neighbors."""


def centroid(frame, camera):
    """Return y, x (pixels; pixel i covers i <= y < i + 1) and charge (ADU) of a raw frame's electrons."""
    return camera.find(frame, position="centroid")
