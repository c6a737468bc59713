"""The oldest way, in SciPy: pixels above a threshold that touch are one electron, at its center of mass."""

import numpy as np
from scipy import ndimage


def threshold(frame, camera):
    """Return y, x (pixels; pixel i covers i <= y < i + 1) and charge (ADU) of a raw frame's electrons."""
    z = camera.standardized(frame)  # (ny, nx) in read noises, 0 where a pixel is not used
    labels, number = ndimage.label(z > camera.params.sigma, np.ones((3, 3)))
    which = np.arange(1, number + 1)
    if number == 0:
        return [], [], []
    charge = ndimage.sum_labels(z, labels, which)
    place = np.array(ndimage.center_of_mass(z, labels, which)) + 0.5
    brightest = ndimage.maximum(z, labels, which)
    keep = brightest < camera.params.xray_limit
    return place[keep, 0], place[keep, 1], charge[keep] * camera.noise
