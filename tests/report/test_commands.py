"""The command in a report does what the run did."""

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.cli import app
from mrcz_dask.report.commands import koma_command, other_commands, unnamed_settings
from mrcz_dask.report.data import SessionData
from mrcz_dask.values.params import InputParams, KomaParams, OutlierParams, Settings, WriteParams

SETTINGS = [
    Settings(),
    Settings(
        OutlierParams(rule="paper"),
        koma=KomaParams(radius=3, method="plain", form="divide", breaks="none", break_after=1.5),
        write=WriteParams(dtype="float32", codec="lz4:1"),
    ),
    Settings(koma=KomaParams(long="around", groups="none", smooth_limit=0.05, pool=0, always=True)),
    Settings(koma=KomaParams(trust_reference=True)),
    Settings(koma=KomaParams(radius=2), write=WriteParams(dtype="float32", format="tiff")),
    Settings(
        write=WriteParams(write="recompressed", format="mrcz"),
        input=InputParams(mode0="unsigned", four_bit="plain", eer_frames=20, eer_upsampling=2),
    ),
    Settings(write=WriteParams(step=0.25)),
    Settings(write=WriteParams(write="references")),
]


@pytest.fixture
def asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], dict[str, Any]]:
    """asked(command): the settings that a command asks for."""

    def ask(command: str) -> dict[str, Any]:
        more = ["--dry-run", "--json", "--workers", "0"]
        monkeypatch.setattr("sys.argv", [*shlex.split(command), *more])
        capsys.readouterr()
        with pytest.raises(SystemExit):
            app.main()
        return dict(json.loads(capsys.readouterr().out)["settings"])

    return ask


@pytest.mark.parametrize("settings", SETTINGS)
def test_it_asks_for_the_settings_of_the_run(
    settings: Settings, data: SessionData, night: Path, tmp_path: Path, asked: Any
) -> None:
    session = replace(
        data, settings=settings.to_dict(), session=str(night), folder=str(tmp_path / "a folder")
    )
    found = asked(koma_command(session))
    said = settings.to_dict()
    if said["write"]["write"] != "normalized":  # these have no pixels to be of a type
        found["write"].pop("dtype"), said["write"].pop("dtype")
    assert found == said
    assert unnamed_settings(session) == {}


def test_a_gain_is_named_as_it_was_turned(quiet: SessionData) -> None:
    gain = {
        "gain": {"name": "gain.mrc", "sense": "divide", "orientation": {"turns": 1, "flip_rows": True}},
        "defects": {"name": "bad ones.txt"},
    }
    settings = Settings().to_dict()
    settings["gain"] |= {"gamma": [0.5], "frame_time": 0.2}
    command = koma_command(replace(quiet, gain=gain, settings=settings))
    asked_for = "--gain gain.mrc --defects 'bad ones.txt' --gain-rotate 1 --gain-flip 1 --gain-divide"
    assert command.endswith(f"{asked_for} --gain-gamma 0.5 --frame-time 0.2") or asked_for in command
    assert {"--gain-gamma", "0.5", "--frame-time", "0.2"} <= set(shlex.split(command))


def test_settings_without_an_option_are_told(quiet: SessionData) -> None:
    settings = Settings(outliers=OutlierParams(tail_fdr=0.2)).to_dict()
    assert unnamed_settings(replace(quiet, settings=settings)) == {"outliers.tail_fdr": 0.2}


def test_other_commands_name_an_output(quiet: SessionData) -> None:
    commands = dict(other_commands(replace(quiet, folder="/my night/koma")))
    assert all(shlex.split(command)[0] == "mrcz-dask" for command in commands.values())
    assert any("'/my night/koma/1.mrcz'" in command for command in commands.values())
    empty = replace(quiet, stacks=())
    assert not any("reproduce" in command for _, command in other_commands(empty))
