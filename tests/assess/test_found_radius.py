"""The radius by the session's own noise: chosen before the run, the same again, and said."""

from dataclasses import replace
from pathlib import Path

import pytest

from mrcz_dask.assess.run import with_found_radius
from mrcz_dask.correction.plan import Plan, make_plan
from mrcz_dask.correction.run import carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.values.errors import OutputExistsError
from mrcz_dask.values.messages import Message, Noted
from mrcz_dask.values.params import KomaParams, OutlierParams, Settings

pytestmark = pytest.mark.slow


def found(plan: Plan) -> tuple[Plan, list[str]]:
    told: list[Message] = []
    chosen = with_found_radius(plan, SerialClient(), told.append)
    return chosen, [message.message for message in told if isinstance(message, Noted)]


def test_it_is_chosen_said_and_the_same_again(night: Path, tmp_path: Path) -> None:
    plan = make_plan(night, tmp_path / "out", Settings(), mixing=True)
    chosen, told = found(plan)
    radius = chosen.settings.koma.radius
    assert 1 <= radius <= 3 and f"radius {radius}: " in told[-1]
    outcome = carry_out(chosen, SerialClient())
    assert outcome.complete
    again, _ = found(make_plan(night, tmp_path / "out", Settings(), mixing=True))
    assert again.settings == chosen.settings
    assert all(result.kept for result in carry_out(again, SerialClient()).results)


def test_a_folder_with_outputs_keeps_their_radius(night: Path, tmp_path: Path) -> None:
    plan = make_plan(night, tmp_path / "out", Settings(), mixing=True)
    radius = found(plan)[0].settings.koma.radius
    other = replace(plan, settings=Settings(koma=KomaParams(radius=radius + 1)))
    carry_out(other, SerialClient())
    kept, told = found(plan)
    assert kept.settings.koma.radius == radius + 1 and "as in the run before" in told[-1]
    assert found(replace(plan, overwrite=True))[0].settings.koma.radius == radius
    with pytest.raises(OutputExistsError, match="rule"):
        found(replace(plan, settings=replace(plan.settings, outliers=OutlierParams(rule="paper"))))


def test_too_few_stacks_keep_the_usual_one(night: Path, tmp_path: Path) -> None:
    for path in sorted(night.glob("*.mrcz"))[2:]:
        path.unlink()
    chosen, told = found(make_plan(night, tmp_path / "out", Settings(), mixing=True))
    assert chosen.settings.koma.radius == KomaParams().radius
    assert "too few" in told[-1]
