"""Options of `assess`: its parts, methods and radii."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mrcz_dask.values.checks import whole
from mrcz_dask.values.params import Parameters

PARTS = ("pattern", "stacks", "dose", "radius", "methods")
USUAL_PARTS = ("pattern", "radius")
METHODS = ("raw", "outliers", "plain", "fit", "session")
RADII = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)


@dataclass(frozen=True, slots=True)
class AssessParams(Parameters):
    """Options of an assessment: which parts are done, with which methods and radii, on how many stacks.

    Attributes
    ----------
    parts
        ``pattern``: the pattern by scale, and a verdict; ``stacks``: R of every stack; ``dose``: sums of
        stacks over the dose between them; ``radius``: some stacks with windows of several radii;
        ``methods``: some stacks corrected by several methods.
    methods
        Which ones: ``raw``, ``outliers`` (the filter alone), and with the filter ``plain``, ``fit``,
        ``session``.
    sample
        Number of stacks for ``radius`` and ``methods``, evenly spread over the session.
    anchors
        Number of stacks whose sums are correlated with others at growing distance.
    stacks
        At most so many stacks are looked at, from the middle of the session; 0 = all.
    radii
        The radii that are compared; empty = `RADII` and the radius of the settings, as far as the session
        fills their windows.
    """

    _title = "assess"
    parts: tuple[str, ...] = USUAL_PARTS
    methods: tuple[str, ...] = METHODS
    sample: int = 8
    anchors: int = 12
    stacks: int = 100
    radii: tuple[int, ...] = ()

    def _problems(self) -> Iterator[str]:
        for radius in self.radii:
            yield from whole("radius", radius, 1, 1000)
        yield from whole("sample", self.sample, 1, 10**6)
        yield from whole("anchors", self.anchors, 1, 10**6)
        yield from whole("stacks", self.stacks, 0, 10**6)
        for name, values, known in (("parts", self.parts, PARTS), ("methods", self.methods, METHODS)):
            if not values or not set(values) <= set(known) or len(set(values)) < len(values):
                given = ", ".join(values) or "none"
                yield f"{name} are {given}; expected some of {', '.join(known)}, each once"
