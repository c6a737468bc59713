"""Electron counting on simulated raw frames: methods by occupancy, others on the same frames, spectra.

Usage: python docs/study/counting_table.py [--stempy PYTHON] [--electroncounting PYTHON] [--quick]

PYTHON is an interpreter that has the other program. Prints Markdown; draws docs/images/counting-spectrum.png.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.truth import ElectronScore, score_electrons, significance_for
from mrcz_dask.numerics.counting.coincidence import loss_curve
from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.events import EventFinder
from mrcz_dask.numerics.counting.params import CountingParams, RawParams
from mrcz_dask.numerics.counting.places import add_events, learn_places
from mrcz_dask.numerics.counting.simulate import RawStack

OCCUPANCIES = (0.001, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1)
SEEDS = range(4)
SIDE = 512
REPEATS = 40
METHODS = {
    "fitted, 4.1 sigma": CountingParams(),
    "fitted, 1 % false": None,
    "centroid, evened": CountingParams(position="centroid"),
    "maximum pixel": CountingParams(position="maximum"),
    "components 4 sigma, centroid": CountingParams(sigma=4.0, clusters="components", position="centroid"),
}
STEMPY = """
import json, sys, time
import numpy as np
import stempy.image as image
folder, sigma, unit = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
frames, dark = np.load(folder + "/frames.npy"), np.load(folder + "/dark.npy")
count = lambda f: image.electron_count_frame(
    f, darkreference=dark, background_threshold=sigma * unit, xray_threshold=35 * unit).data[0, 0]
count(frames[0])
found, times = [], []
for f in frames:
    start = time.thread_time()
    found.append(count(f))
    times.append(time.thread_time() - start)
y, x = zip(*[np.divmod(np.asarray(a, dtype=np.int64), f.shape[1]) for a in found])
out = {"y": [a.tolist() for a in y], "x": [a.tolist() for a in x], "s": times}
json.dump(out, open(folder + "/out", "w"))
"""
FASTER = """
import json, os, sys, time, warnings
warnings.filterwarnings("ignore")
import numpy as np, torch, CountingNN
from CountingNN.locator import Locator
torch.set_num_threads(1)
folder, mode, unit = sys.argv[1], sys.argv[2], float(sys.argv[3])
frames, dark = np.load(folder + "/frames.npy")[:1, :256, :256], np.load(folder + "/dark.npy")[:256, :256]
weights = os.path.dirname(CountingNN.__file__) + "/modelweights/model_200kV_final.pt"
model = torch.load(weights, map_location="cpu")
scale = 241 / (11.5 * unit)  # its mean charge of an electron
light = np.maximum((frames - dark) * scale, 0).astype(np.float32)
finder = Locator(model, torch.device("cpu"), 64, "max", 3.5 * unit * scale, None, mode, meanADU=241.0)
start = time.process_time()
found = finder.predict_sequence(torch.as_tensor(light))[0].numpy()
times = [time.process_time() - start]
out = [np.nonzero(f) for f in found]
json.dump({"y": [a[0].tolist() for a in out], "x": [a[1].tolist() for a in out], "s": times},
          open(folder + "/out", "w"))
"""


def geometric_limit(occupancy: float) -> float:
    """Return the share of electrons that ideal 3 x 3 maxima find: one for each 9 pixels that hold any."""
    area = 9 * occupancy
    return -math.expm1(-area) / area if area > 0 else 1.0


def frames_of(occupancy: float, electrons: int) -> int:
    """Return how many frames hold about so many electrons."""
    return max(4, math.ceil(electrons / (occupancy * SIDE * SIDE)))


def detector_of(stack: RawStack) -> Detector:
    """Return the stack's detector, as dark frames, a gain reference and a list of defects would give it."""
    return Detector(stack.offset, stack.noise, np.where(stack.gain > 0, stack.gain, 1), stack.gain == 0)


def places_of(params: CountingParams) -> Any:
    """Return the map that makes centroids even, from sparse simulated frames."""
    stack = RawStack(RawParams(occupancy=0.002, seed=999, frames=16))
    finder = EventFinder(detector_of(stack), params)
    own = np.concatenate([finder.places_within(stack.frame(k).values) for k in range(16)])
    return learn_places(own)


def finder_for(name: str, occupancy: float, stack: RawStack) -> EventFinder:
    """Return the finder of a method."""
    params = METHODS[name] or CountingParams(sigma=significance_for(0.009, occupancy))
    evened = params.position == "centroid" and params.clusters == "maxima"
    return EventFinder(detector_of(stack), params, places_of(params) if evened else None)


def run(finder: EventFinder, stack: RawStack) -> tuple[ElectronScore, float]:
    """Return the score over a stack, and Mpx/s."""
    pairs = []
    for k in range(stack.params.frames):
        values, truth = stack.frame(k)
        found = finder.find(values)
        pairs.append((np.c_[truth.y, truth.x], np.c_[found.y, found.x]))
    return score_electrons(pairs), speed(finder, stack.frame(0).values)


def speed(finder: EventFinder, frame: Any) -> float:
    """Return Mpx/s of one frame by its processor time, the least of many repeats."""
    fastest = math.inf
    for _ in range(REPEATS):
        start = time.thread_time()
        finder.find(frame)
        fastest = min(fastest, time.thread_time() - start)
    return float(frame.size / fastest / 1e6)


def with_error(values: list[float], digits: int = 2, factor: float = 100) -> str:
    """Return mean and standard error of a few seeds."""
    a = np.array(values) * factor
    return f"{a.mean():.{digits}f} ± {a.std(ddof=1) / math.sqrt(a.size):.{digits}f}"


def row(name: str, occupancy: float, scores: list[ElectronScore], doses: list[float], speed: float) -> str:
    """Return a line of the table."""
    each = [[s[k] for s in scores] for k in range(len(ElectronScore._fields))]
    cells = [with_error(each[k]) for k in range(3)] + [with_error(each[k], 3, 1) for k in (3, 4)]
    dose = with_error(doses) if doses else ""
    start = f"| {name} | {100 * occupancy:g} | {100 * geometric_limit(occupancy):.1f} |"
    return f"{start} {' | '.join(cells)} | {dose} | {max(speed, 0.1):.3g} |"


def methods(electrons: int) -> Iterator[str]:
    """Yield the lines of our methods."""
    for name in METHODS:
        curve = loss_curve(METHODS[name]) if METHODS[name] else None
        for occupancy in OCCUPANCIES:
            scores, doses, speeds = [], [], []
            for seed in SEEDS:
                n = frames_of(occupancy, electrons)
                stack = RawStack(RawParams(shape=(SIDE, SIDE), occupancy=occupancy, seed=seed, frames=n))
                found, fast = run(finder_for(name, occupancy, stack), stack)
                there = np.mean([stack.frame(k).truth.y.size for k in range(n)]) / SIDE**2
                scores.append(found)
                speeds.append(fast)
                if curve:
                    doses.append(curve.true(found.ratio * there) / there)
            yield row(name, occupancy, scores, doses, max(speeds))


def other(python: str, code: str, argument: str, occupancy: float, seed: int) -> tuple[ElectronScore, float]:
    """Return the score of another program on a stack, and its Mpx/s."""
    stack = RawStack(RawParams(shape=(SIDE, SIDE), occupancy=occupancy, seed=seed, frames=4))
    both = [stack.frame(k) for k in range(4)]
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/frames.npy", np.stack([f.values for f in both]))
        np.save(f"{folder}/dark.npy", stack.offset.astype(np.float32))
        subprocess.run([python, "-c", code, folder, argument, str(stack.params.read_noise)], check=True)
        out = json.loads(Path(folder, "out").read_text())
    side = SIDE if len(out["y"]) == 4 else 256
    pairs = []
    for frame, y, x in zip(both, out["y"], out["x"], strict=False):
        inside = (frame.truth.y < side) & (frame.truth.x < side)
        pairs.append((np.c_[frame.truth.y, frame.truth.x][inside], np.c_[y, x].reshape(-1, 2) + 0.5))
    return score_electrons(pairs), side * side / min(out["s"]) / 1e6


def others(name: str, python: str, code: str, argument: str, occupancies: tuple[float, ...]) -> Iterator[str]:
    """Yield the lines of another program."""
    for occupancy in occupancies:
        both = [other(python, code, argument, occupancy, seed) for seed in list(SEEDS)[:3]]
        yield row(name, occupancy, [s for s, _ in both], [], max(v for _, v in both))


def spectrum(image_of: Callable[[int], Any], frames: int) -> tuple[Any, Any]:
    """Return frequencies in cycles per detector pixel, and the power over that of independent electrons."""
    total, n = np.zeros((2 * SIDE, SIDE + 1)), 0.0
    for k in range(frames):
        image = image_of(k).astype(np.float64)
        total += np.abs(np.fft.rfft2(image)) ** 2
        n += float(image.sum())
    f = 2 * np.hypot(np.fft.fftfreq(2 * SIDE)[:, None], np.fft.rfftfreq(2 * SIDE))
    bins = np.arange(0.01, 1.0001, 0.03)
    which = np.digitize(f, bins)
    power = [total[which == b].mean() / n for b in range(1, bins.size)]
    return (bins[1:] + bins[:-1]) / 2, np.array(power)


def counted_image(
    y: NDArray[Any],
    x: NDArray[Any],
    shape: tuple[int, int],
    upsampling: int = 1,
    dtype: type[np.unsignedinteger[Any]] = np.uint8,
) -> NDArray[Any]:
    """Return the counted image of some electrons; see `add_events`. shape is the detector's."""
    image = np.zeros((shape[0] * upsampling, shape[1] * upsampling), dtype)
    add_events(y, x, upsampling, image)
    return image


def spectra(frames: int) -> Iterator[str]:
    """Yield the lines of the spectra, and draw them."""
    _, axes = plt.subplots(figsize=(7, 4.2))
    for occupancy in (0.001, 0.01, 0.03, 0.05, 0.1):
        stack = RawStack(RawParams(shape=(SIDE, SIDE), occupancy=occupancy, seed=77))
        finder = EventFinder(detector_of(stack), CountingParams(sigma=significance_for(0.009, occupancy)))

        def counted(k: int, finder: EventFinder = finder, stack: RawStack = stack) -> Any:
            found = finder.find(stack.frame(k).values)
            return counted_image(found.y, found.x, (SIDE, SIDE), 2)

        def true(k: int, stack: RawStack = stack) -> Any:
            t = stack.truth(k)
            return counted_image(t.y, t.x, (SIDE, SIDE), 2)

        f, ours = spectrum(counted, frames)
        _, theirs = spectrum(true, frames)
        below = f < 0.5
        axes.plot(f, ours, label=f"{100 * occupancy:g} %")
        if occupancy == 0.001:
            axes.plot(f, theirs, "k:", label="true impacts, 0.1 %")
        cells = [f"{100 * (a[below] / a[below].mean() - 1)[i]:+.2f}" for a in (ours, theirs)
                 for i in (np.argmin(a[below]), np.argmax(a[below]))]  # fmt: skip
        yield f"| {100 * occupancy:g} | {' | '.join(cells)} | {ours[0]:.3f} | {ours[below][-1]:.3f} |"
    axes.axvline(0.5, color="gray", lw=0.8)
    axes.set(
        xlabel="cycles per detector pixel; line: its Nyquist frequency",
        ylabel="power / independent electrons",
    )
    axes.set_title("Vacuum counted at 2x upsampling")
    axes.legend(title="occupancy")
    plt.tight_layout()
    plt.savefig(Path(__file__).parents[1] / "images" / "counting-spectrum.png", dpi=110)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--stempy", default="")
    parser.add_argument("--electroncounting", default="")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    print("| method | occupancy, % | 3 x 3 limit, % | isolated found, % | all found, % | false, % |", end="")
    print(" rms, px | rms all, px | corrected dose, % | Mpx/s |\n|---|---|---|---|---|---|---|---|---|---|")
    for line in methods(3_000 if given.quick else 8_000):
        print(line, flush=True)
    if given.stempy:
        for sigma in ("4.0", "3.6"):
            for line in others(f"stempy {sigma} sigma", given.stempy, STEMPY, sigma, OCCUPANCIES):
                print(line, flush=True)
    if given.electroncounting:
        for mode in ("static", "dynamic_window"):
            name = f"electroncounting {mode}"
            for line in others(name, given.electroncounting, FASTER, mode, (0.01, 0.02)):
                print(line, flush=True)
    print("\n| occupancy, % | lowest, % | highest, % | true lowest, % | true highest, % |", end="")
    print(" power at 0 | at Nyquist |")
    print("|---|---|---|---|---|---|---|")
    for line in spectra(20 if given.quick else 60):
        print(line, flush=True)


if __name__ == "__main__":
    main()
