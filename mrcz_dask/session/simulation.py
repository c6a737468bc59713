"""Write a simulated session to disk: stacks in MRCZ, an .mdoc beside each, and the truth in Zarr."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import zarr

from mrcz_dask.formats.atomic import explain
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.numerics.simulate import SimulationParams, simulate_session
from mrcz_dask.numerics.simulate.specimen import tilt_angle
from mrcz_dask.numerics.simulate.streams import Effect, stream
from mrcz_dask.values.errors import OutputExistsError
from mrcz_dask.values.messages import Listener, PhaseFinished, PhaseStarted, StackDone, silent

PHASE = "simulate"
TRUTH = "truth.zarr"
PIXEL_SIZE = 1.06
VOLTAGE = 300
START = datetime(2026, 10, 14, 18, 30)
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
IMAGES = (
    "mask",
    "hot",
    "dead",
    "hot_excess",
    "pattern",
    "additive",
    "illumination",
    "noiseless",
    "expected_sum",
)


@dataclass(frozen=True, slots=True)
class Exposure:
    """File name and acquisition time of a simulated stack.

    Attributes
    ----------
    stem
        File name without suffix; the order of the names is not that of the times.
    time
        Local time.
    tilt
        Angle of the stage in degrees.
    """

    stem: str
    time: datetime
    tilt: float = 0.0


def exposures(params: SimulationParams) -> tuple[Exposure, ...]:
    """Return file names and times of a simulated session's stacks, in order of time, 60-70 s apart.

    Tilts are called as SerialEM does it: series, number and angle.
    """
    draws = stream(params.seed, Effect.NAMES)
    seconds = np.cumsum(draws.integers(60, 71, params.stacks)).tolist()
    holes = sorted(100_000 + int(k) for k in draws.choice(900_000, params.stacks, replace=False))
    if params.tilts:
        angles = [tilt_angle(params, i) for i in range(params.stacks)]
        series = [divmod(i, params.tilts) for i in range(params.stacks)]
        return tuple(
            Exposure(f"TS_{s + 1:02d}_{k:03d}_{angle:.1f}", START + timedelta(seconds=after), angle)
            for (s, k), angle, after in zip(series, angles, seconds, strict=True)
        )
    order = draws.permutation(params.stacks)
    if params.stacks > 1 and (np.diff(order) > 0).all():
        order = order[::-1]
    data = draws.integers(1000, 10_000, params.stacks)
    return tuple(
        Exposure(f"FoilHole_{holes[rank]}_Data_{number}", START + timedelta(seconds=after))
        for rank, number, after in zip(order, data, seconds, strict=True)
    )


def write_session(
    folder: str | os.PathLike[str],
    params: SimulationParams | None = None,
    *,
    codec: str = "zstd:1",
    listener: Listener = silent,
) -> tuple[Path, ...]:
    """Simulate a session into `folder`, one stack at a time, with its truth in ``truth.zarr``.

    The folder gets its files when all of them are whole; an interrupted simulation leaves it empty.

    Parameters
    ----------
    folder
        Folder of the session, empty or new.
    params
        None = the *standard* session.
    codec
        As `mrcz_dask.write` takes it.
    listener
        Told when the phase ``simulate`` begins, of every stack, and when it is over.

    Returns
    -------
    tuple of Path
        The stacks in order of acquisition.

    Raises
    ------
    OutputExistsError
        There is something in the folder.
    SpaceError
        The folder cannot be made or is full.

    Notes
    -----
    ``truth.zarr`` has one group a stack, named by its stem: `mask`, `hot`, `dead` (bool, True = outlier),
    `hot_excess`, `pattern`, `additive`, `illumination`, `noiseless`, `expected_sum` (float32, rows and
    columns), `drift` (frames, 2), and in its attributes `index`, `dose` and `time`. The root's attributes
    hold the parameters and the stems in order of acquisition.
    """
    params = SimulationParams() if params is None else params
    session, plan = simulate_session(params), exposures(params)
    stack_bytes = params.frames * params.shape[0] * params.shape[1] * np.dtype(params.dtype).itemsize
    about = {"params": params.to_dict(), "stems": [exposure.stem for exposure in plan]}
    with filled_at_once(Path(folder)) as place:
        truth = zarr.create_group(place / TRUTH, attributes=about)
        listener(PhaseStarted(PHASE, params.stacks, params.stacks * stack_bytes))
        for i, exposure in enumerate(plan):
            stack, path = session.stack(i), place / f"{exposure.stem}.mrcz"
            time, dose = exposure.time.isoformat(), stack.truth.dose
            meta = {"voltage": float(VOLTAGE), "time": time, "simulated": True}
            write(path, stack.frames, codec=codec, pixel_size=PIXEL_SIZE, meta=meta, durable=False)
            text = mdoc_text(exposure, len(stack.frames), dose)
            Path(f"{path}.mdoc").write_text(text, encoding="ascii")
            group = truth.create_group(exposure.stem, attributes={"index": i, "dose": dose, "time": time})
            for name in (*IMAGES, "drift"):
                group.create_array(name, data=getattr(stack.truth, name))
            listener(StackDone(PHASE, exposure.stem, stack_bytes))
    listener(PhaseFinished(PHASE))
    return tuple(Path(folder) / f"{e.stem}.mrcz" for e in plan)


def mdoc_text(exposure: Exposure, frames: int, dose: float) -> str:
    """Return the text of an .mdoc, as SerialEM writes it beside a stack, for a simulated stack.

    Parameters
    ----------
    exposure
        Name and time of the stack.
    frames
        Number of frames.
    dose
        Counts/pixel/frame; written in e-/A^2.
    """
    per_frame = dose / PIXEL_SIZE**2
    time = exposure.time
    return "\n".join(
        [
            "[T = SerialEM: Digitized on a simulated K2]",
            "",
            "[FrameSet = 0]",
            f"TiltAngle = {exposure.tilt:.1f}",
            f"PixelSpacing = {PIXEL_SIZE}",
            f"Voltage = {VOLTAGE}",
            f"ExposureDose = {per_frame * frames:.4f}",
            f"NumSubFrames = {frames}",
            f"FrameDosesAndNumber = {per_frame:.5f} {frames}",
            f"SubFramePath = X:\\frames\\{exposure.stem}.mrcz",
            # strftime would name the month in the language of the machine
            f"DateTime = {time.day:02d}-{MONTHS[time.month - 1]}-{time.year % 100:02d}  {time:%H:%M:%S}",
            "",
        ]
    )


@contextmanager
def filled_at_once(folder: Path) -> Iterator[Path]:
    """Give a hidden folder in `folder`, new or empty; files move up if the block succeeds, else vanish."""
    is_new = not folder.exists()
    _prepare(folder)
    try:
        with TemporaryDirectory(prefix=".simulating-", dir=folder) as place:
            yield Path(place)
            for path in sorted(Path(place).iterdir()):
                path.rename(folder / path.name)
    except OSError as error:
        raise explain(error, folder) from error
    finally:
        if is_new and not any(folder.iterdir()):
            folder.rmdir()


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise explain(error, folder) from error
    if names:
        raise OutputExistsError(
            f"{folder} holds {len(names)} entries, {names[0]!r} among them; expected a new or an empty"
            " folder; choose another one or remove what is there"
        )
