"""Electrons in the middle of their largest pixel: no sub-pixels, nothing that could be biased."""


def maximum(frame, camera):
    """Return y, x (pixels; pixel i covers i <= y < i + 1) and charge (ADU) of a raw frame's electrons."""
    return camera.find(frame, position="maximum")
