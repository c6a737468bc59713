"""Correlated noise of a whole session: what it should come to, in any order, killed and resumed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcz_dask.assess.assessment import Assessment
from mrcz_dask.assess.files import write_json
from mrcz_dask.assess.params import PARTS, AssessParams
from mrcz_dask.assess.plan import assess_memory, assess_plan
from mrcz_dask.assess.results import KINDS, VARIANTS
from mrcz_dask.assess.run import assess
from mrcz_dask.engine.client import Client, SerialClient
from mrcz_dask.engine.clusters import ClientOptions, open_client
from mrcz_dask.formats.gains import write_reference
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.numerics.simulate import named
from mrcz_dask.session.simulation import write_session
from mrcz_dask.values.messages import Listener, Message, PhaseStarted, StackDone, StackFailed, silent
from mrcz_dask.values.params import KomaParams, Settings
from mrcz_dask.values.records import Summed

pytestmark = pytest.mark.slow

FRAMES = 12


def run_noise(
    folder: Path,
    out: Path,
    client: Client | None = None,
    listen: Listener = silent,
    *,
    koma: KomaParams | None = None,
    gain: GainOptions | None = None,
    **params: Any,
) -> Assessment:
    settings = Settings(koma=koma or KomaParams(radius=2))
    params = {"parts": PARTS[:4]} | params
    plan = assess_plan([folder], out, settings, gain=gain or GainOptions())
    assessment = assess(plan, AssessParams(**params), client or SerialClient(), listen)
    write_json(assessment)
    return assessment


def files(out: Path) -> dict[str, bytes]:
    found = out / "assess"
    return {str(p.relative_to(found)): p.read_bytes() for p in sorted(found.rglob("*.json"))}


class Phases:
    """Remembers which phases began, with how many stacks that were not known from before."""

    def __init__(self) -> None:
        self.begun: dict[str, int] = {}

    def __call__(self, message: Message) -> None:
        if isinstance(message, PhaseStarted):
            self.begun[message.phase] = message.stacks
        if isinstance(message, StackDone) and isinstance(message.found, Summed) and message.found.kept:
            self.begun[message.phase] -= 1
        self.begun = {phase: stacks for phase, stacks in self.begun.items() if stacks}


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A session of this name with its report, made once."""
    made: dict[str, tuple[Path, Path, Assessment]] = {}

    def get(name: str) -> tuple[Path, Path, Assessment]:
        if name not in made:
            folder = tmp_path_factory.mktemp("noise")
            params = named(name, shape=(160, 160), frames=FRAMES, stacks=14, seed=7, hot=(0.002, 0.004))
            write_session(folder / "session", params)
            report = run_noise(folder / "session", folder / "out", koma=KomaParams(radius=6))
            made[name] = folder / "session", folder / "out", report
        return made[name]

    yield get


def test_the_order_of_the_kinds(sessions: Any) -> None:
    """Hot pixels make R; the filter takes most of it, KOMA more, and in sample looks better than it is."""
    _, _, report = sessions("standard")
    held_out = {kind: report.means["held_out"][kind][0] for kind in KINDS}
    in_sample = {kind: report.means["in_sample"][kind][0] for kind in KINDS}

    assert held_out["raw"] > 5 * held_out["filter"]
    assert held_out["raw"] > held_out["koma"] > held_out["filter"] > held_out["both"]
    assert in_sample["both"] < held_out["both"]
    assert len(report.stacks) == 14 and report.failures == ()
    assert [line.dose for line in report.stacks] == sorted(line.dose for line in report.stacks)


def test_it_is_what_koma_says_of_its_outputs(sessions: Any, tmp_path: Path, koma: Any) -> None:
    session, _, report = sessions("standard")
    outcome = koma(session, tmp_path / "koma", radius=6, write="references")

    for line, result in zip(report.stacks, outcome.results, strict=True):
        assert line.noise.name == result.name
        held_out, in_sample = line.noise.held_out, line.noise.in_sample
        for kind, theirs in (("raw", "raw"), ("filter", "filtered"), ("both", "corrected")):
            assert held_out[kind][0] == pytest.approx(result.noise[theirs], abs=2e-7)
        assert in_sample["raw"][0] == pytest.approx(result.noise["raw_in_sample"], abs=2e-7)
        assert in_sample["both"][0] == pytest.approx(result.noise["corrected_in_sample"], abs=2e-7)


def test_without_a_pattern_plain_adds_the_shot_noise_of_its_window(sessions: Any) -> None:
    """R(a) - R(filter) = 1 / (2 a n), a little less as the frames' variance grows; `fit` adds nothing."""
    found = sessions("no pattern")[2].over_radius
    assert found is not None
    for a, law, plain, fit in zip(
        found.radii, found.law, found.curves["plain+filter"], found.curves["fit+filter"], strict=True
    ):
        assert law == pytest.approx(1 / (2 * a * FRAMES))
        assert abs(plain[2] - law / (1 + law)) < 4 * plain[3] + 0.02 * law
        assert abs(fit[2]) < 4 * fit[3] + 1e-4
    eq13 = found.fits["plain+filter"]
    assert eq13.curve is not None and eq13.errors is not None
    assert abs(eq13.curve.b + 1) < 5 * eq13.errors[1] + 0.05
    assert not found.choice.helps


def test_a_pattern_is_remembered_and_one_that_evolves_is_forgotten(tmp_path: Path) -> None:
    for name, changes in (("fixed", {}), ("evolving", {"evolve": 0.1, "tau": 60.0})):
        params = named(
            "no pattern" if changes else "white",
            shape=(128, 128), frames=8, stacks=24, dose=2, seed=2, hot=(0.0, 0.0), specimen=0.0, **changes,
        )  # fmt: skip
        write_session(tmp_path / name, params)
    fits = {
        name: run_noise(tmp_path / name, tmp_path / f"{name} out", parts=("dose",)).over_dose.fits["filtered"]  # type: ignore[union-attr]
        for name in ("fixed", "evolving")
    }
    level, error = fits["fixed"].constant
    assert fits["fixed"].curve is None and "no decay" in fits["fixed"].words[0]
    share = 8 * 2 * 0.03**2  # variance of the pattern in that of the shot noise of a sum
    assert abs(level - share / (1 + share)) < 5 * error
    assert fits["evolving"].curve is not None
    assert fits["evolving"].fall is not None and fits["evolving"].fall[0] > 0.05


def test_a_choice_is_made(sessions: Any) -> None:
    found = sessions("standard")[2].over_radius

    assert found.radii == (1, 2, 3, 4, 6) and len(found.stacks) == 8
    assert found.choice.radius in found.radii and found.choice.helps
    assert set(found.curves) == set(found.fits) == set(VARIANTS)


@pytest.mark.parametrize("threads", [1, 2])
def test_workers_change_nothing(sessions: Any, tmp_path: Path, threads: int) -> None:
    session, out, _ = sessions("standard")
    plan = assess_plan([session], tmp_path / "out", Settings(koma=KomaParams(radius=6)))
    with open_client(ClientOptions(2 // threads, threads), assess_memory(plan), silent) as client:
        write_json(assess(plan, AssessParams(parts=PARTS[:4]), client))

    assert files(tmp_path / "out") == files(out)


def test_what_is_known_is_not_computed_again(night: Path, tmp_path: Path) -> None:
    first, out = Phases(), tmp_path / "out"
    run_noise(night, out, listen=first)
    before = files(out)
    assert first.begun == {
        "sums and masks": 7, "pattern of stacks": 7, "noise of stacks": 7, "noise over dose": 6,
        "noise over radius": 7, "common pattern": 1,
    }  # fmt: skip

    second = Phases()
    run_noise(night, out, listen=second)
    assert second.begun == {} and files(out) == before

    sorted((out / "assess" / "stacks").iterdir())[3].unlink()
    third = Phases()
    run_noise(night, out, listen=third)
    assert third.begun == {"noise of stacks": 1} and files(out) == before

    fourth = Phases()
    run_noise(night, out, listen=fourth, koma=KomaParams(radius=3))
    assert fourth.begun == {
        "pattern of stacks": 7,
        "noise of stacks": 7,
        "noise over radius": 7,
    }  # windows of the other radii are the same, but not the stacks that show lasting outliers


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": "key"}', '{"key": "key", "result": {}}', "null"])
def test_a_damaged_result_is_made_again(night: Path, tmp_path: Path, text: str) -> None:
    out, phases = tmp_path / "out", Phases()
    run_noise(night, out, parts=("dose",))
    before = files(out)
    (first, *_) = sorted((out / "assess" / "dose").iterdir())
    key = json.loads(first.read_bytes())["key"]
    first.write_text(text.replace('"key": "key"', f'"key": "{key}"'))

    run_noise(night, out, listen=phases, parts=("dose",))

    assert phases.begun == {"noise over dose": 1} and files(out) == before


class KilledError(Exception):
    """Ends a run where it stands."""


@pytest.mark.parametrize("after", [2, 9, 16, 22])
def test_killed_and_run_again_gives_the_same_bytes(night: Path, tmp_path: Path, after: int) -> None:
    run_noise(night, tmp_path / "whole")

    class Dying(SerialClient):
        left = after

        def submit(self, *arguments: Any, **more: Any) -> Any:
            Dying.left -= 1
            if Dying.left < 0:
                raise KilledError
            return super().submit(*arguments, **more)

    with pytest.raises(KilledError):
        run_noise(night, tmp_path / "killed", Dying())
    run_noise(night, tmp_path / "killed")

    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_the_sums_of_a_koma_run_are_used(night: Path, koma: Any) -> None:
    koma(night, night / "koma", radius=2)
    phases = Phases()

    run_noise(night, night / "koma", listen=phases)

    assert "sums and masks" not in phases.begun


def test_a_stack_that_cannot_be_read_is_a_failure_of_its_own(night: Path, tmp_path: Path) -> None:
    victim = sorted(night.glob("*.mrcz"))[2]
    data = bytearray(victim.read_bytes())
    data[2000:2400] = bytes(400)
    victim.write_bytes(data)
    failed: list[Message] = []

    report = run_noise(night, tmp_path / "out", listen=lambda e: failed.append(e))

    assert [one.name for one in report.failures] == [victim.name] and report.not_done == 1
    assert len(report.stacks) == 6
    assert [e.name for e in failed if isinstance(e, StackFailed)] == [victim.name]


def test_frames_are_scored_after_their_gain(tmp_path: Path) -> None:
    """With the true gain the raw noise of a session without hot pixels is that of the specimen alone."""
    params = named("white", shape=(96, 96), frames=8, stacks=4, seed=3, hot=(0.0, 0.0), dead=0.0, pixel=0.1)
    write_session(tmp_path / "session", params)
    from mrcz_dask.numerics.simulate import simulate_session

    write_reference(tmp_path / "gain.mrc", (1 / simulate_session(params).pattern(0)).astype(np.float32))
    gain = GainOptions(str(tmp_path / "gain.mrc"))
    without = run_noise(tmp_path / "session", tmp_path / "a", parts=("stacks",))
    with_gain = run_noise(tmp_path / "session", tmp_path / "b", parts=("stacks",), gain=gain)

    assert without.means["in_sample"]["raw"][0] > with_gain.means["in_sample"]["raw"][0] + 0.005  # type: ignore[operator]
    assert with_gain.over_dose is None and with_gain.over_radius is None and with_gain.words == ()


@pytest.mark.parametrize("stacks", [1, 2])
def test_few_stacks_are_said(tmp_path: Path, stacks: int) -> None:
    write_session(tmp_path / "s", named("standard", shape=(64, 64), frames=6, stacks=stacks, seed=1))

    report = run_noise(tmp_path / "s", tmp_path / "out")

    assert len(report.stacks) == stacks and report.over_radius is None
    assert any("three usable stacks" in text for text in report.words)
    assert (report.stacks[0].noise.held_out["both"][0] is None) == (stacks == 1)
    assert (report.over_dose is None) == (stacks == 1)
    if report.over_dose is not None:
        assert "three parameters need at least 4" in report.over_dose.fits["filtered"].words[-1]
