"""Settings files: every option in them, the command line before them, mistakes named by line."""

import re
import tomllib
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from mrcz_dask.cli.app import app
from mrcz_dask.cli.options.declare import command, info
from mrcz_dask.cli.options.settings import read_settings, settings_of, settings_text

ROOT: Any = typer.main.get_command(app)
WITH_SETTINGS = [
    name
    for name, one in ROOT.commands.items()
    if getattr(one, "callback", None) and one.callback.__dict__.get("settings")
]


def parameters(name: str) -> Any:
    return ROOT.commands[name].callback.settings


def long_names(name: str) -> set[str]:
    options = [p for p in ROOT.commands[name].params if p.param_type_name == "option"]
    names = {next(o for o in p.opts if o.startswith("--")) for p in options}
    return names - {"--settings", "--help-all", "--help"}


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_every_option_stands_in_the_file_of_init(name: str, mrcz: Any) -> None:
    shown = mrcz("init", name)
    assert shown.code == 0
    keys = re.findall(r"^#([a-z0-9-]+) = ", shown.out, re.MULTILINE)
    assert {f"--{key}" for key in keys} == long_names(name)
    assert len(keys) == len(set(keys))
    assert tomllib.loads(shown.out) == {}


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_the_lines_with_defaults_are_the_defaults(name: str, tmp_path: Path) -> None:
    text = settings_text(name, parameters(name))
    settings = {one.key: one for one in settings_of(parameters(name))}
    lines = re.findall(r"^#(([a-z0-9-]+) = .+)", text, re.MULTILINE)
    known = [line for line, key in lines if settings[key].default not in (None, Parameter.empty)]
    path = tmp_path / "session.toml"
    path.write_text("\n".join(known))
    values = read_settings(path, name, parameters(name))
    expected = {one.name: one.default for one in settings.values() if one.name in values}
    assert len(values) == len(known) > 3
    assert values == {key: str(one) if isinstance(one, Path) else one for key, one in expected.items()}


def test_the_commands_with_many_options_have_settings() -> None:
    many = {
        name
        for name in ROOT.commands
        if hasattr(ROOT.commands[name], "callback") and len(long_names(name)) > 20
    }
    assert {"koma", "live", "count"} <= many <= set(WITH_SETTINGS)


def test_init_of_other_commands_names_those_that_have_one(mrcz: Any) -> None:
    shown = mrcz("init", "status")
    assert shown.code == 2
    assert "status has no settings file; expected one of" in shown.err and "koma" in shown.err
    assert mrcz("init").out == mrcz("init", "koma").out


class TestKoma:
    def run(self, mrcz: Any, night: Path, text: str, *options: object) -> Any:
        path = night / "session.toml"
        path.write_text(text)
        return mrcz("koma", night, "--settings", path, *options)

    def test_the_same_bytes_as_from_the_command_line(self, night: Path, tmp_path: Path, mrcz: Any) -> None:
        text = f"""
            radius = 2
            output = "{tmp_path / "a"}"
            rule = "paper"
            step = 0.125
            codec = "lz4:1"
            eer-frames = 7
            exclude = ["*_0004*"]
            breaks = "none"
            workers = 0
            report = false
        """
        assert self.run(mrcz, night, text).code == 0
        options = [
            "--radius",
            2,
            "-o",
            tmp_path / "b",
            "--rule",
            "paper",
            "--step",
            0.125,
            "--codec",
            "lz4:1",
        ]
        options += ["--eer-frames", 7, "--exclude", "*_0004*", "--breaks", "none", "--workers", 0]
        assert mrcz("koma", night, *options).code == 0
        outputs = sorted(p.name for p in (tmp_path / "a").glob("*.mrcz"))
        assert outputs and outputs == sorted(p.name for p in (tmp_path / "b").glob("*.mrcz"))
        for name in outputs:
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    def test_the_command_line_wins(self, night: Path, mrcz: Any) -> None:
        text = 'radius = 1\nrecursive = true\nexclude = ["*"]\njson = true\ndry-run = true'
        below = night / "below"
        below.mkdir()
        shown = self.run(
            mrcz, night, text, "--radius", 2, "--exclude", "nothing", "--no-recursive", "--no-json"
        )
        assert shown.code == 0
        assert "windows, if all stacks are usable" in shown.out and "  0: 1-4" in shown.out

    def test_an_unknown_key_is_named_with_its_line_and_the_nearest_name(self, night: Path, mrcz: Any) -> None:
        shown = self.run(mrcz, night, 'write = "normalized"\nradiu = 3\n')
        assert shown.code == 2 and not (night / "koma").exists()
        assert "session.toml, line 2: mrcz-dask koma has no option radiu; did you mean radius?" in shown.err
        assert "did you mean eer-frames?" in self.run(mrcz, night, "eer_frames = 3").err
        assert "mrcz-dask init koma lists all" in self.run(mrcz, night, "xyzzy = 3").err
        assert "no option output.folder" not in self.run(mrcz, night, '[output]\nfolder = "a"').err

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ('recursive = "yes"', 'line 1: recursive is "yes"; expected true or false'),
            ("\nworkers = -1", "line 2: workers is -1; expected a whole number of at least 0"),
            ("workers = true", "workers is true; expected a whole number"),
            ("workers = 1.5", "workers is 1.5; expected a whole number"),
            ('step = "0.5"', 'step is "0.5"; expected a number'),
            ("gain = 3", "gain is 3; expected a path in quotes"),
            ("codec = 3", "codec is 3; expected text in quotes"),
            ("radius = true", "radius is true; expected text in quotes or a number"),
            ('exclude = "a*"', 'exclude is "a*"; expected a list, such as ["TEXT"], of text in quotes'),
            ('write = "all"', 'expected one of "auto", "normalized", "recompressed", "references"'),
            ("eer-upsampling = 3", 'eer-upsampling is 3; expected one of "1", "2", "4"'),
            ('[gain]\nfile = "a.mrc"', "line 1: gain is a table; expected a path in quotes"),
            ("a 3", "session.toml: expected TOML"),
            ("radius = 1\nradius = 2", "Cannot overwrite a value"),
        ],
    )
    def test_a_wrong_value_is_named_with_what_was_expected(
        self, night: Path, mrcz: Any, text: str, said: str
    ) -> None:
        shown = self.run(mrcz, night, text)
        assert shown.code == 2
        assert said in shown.err
        assert not (night / "koma").exists()

    def test_all_mistakes_are_named_at_once(self, night: Path, mrcz: Any) -> None:
        shown = self.run(mrcz, night, "radiu = 3\nworkers = true\n")
        assert "line 1" in shown.err and "line 2" in shown.err

    def test_a_file_that_is_not_there(self, night: Path, mrcz: Any) -> None:
        shown = mrcz("koma", night, "--settings", night / "none.toml")
        assert shown.code == 2
        assert "none.toml cannot be read" in shown.err and "mrcz-dask init koma > none.toml" in shown.err

    def test_numbers_need_no_quotes_where_text_may_be_one(self, night: Path, mrcz: Any) -> None:
        assert self.run(mrcz, night, "radius = 2\neer-upsampling = 2\nsettle = 90", "--dry-run").code == 0
        shown = self.run(mrcz, night, 'radius = "two"', "--dry-run")
        assert shown.code == 2 and "--radius is 'two'" in shown.err


def test_a_required_option_may_come_from_the_file(night: Path, tmp_path: Path, mrcz: Any) -> None:
    path = tmp_path / "session.toml"
    path.write_text(f'output = "{tmp_path / "out"}"\nformat = "mrcs"\n')
    assert mrcz("recompress", night, "--settings", path).code == 0
    assert len(list((tmp_path / "out").glob("*.mrcs"))) == 5


def test_the_home_folder_may_be_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    path = tmp_path / "a.toml"
    path.write_text('gain = "~/gain.mrc"')
    assert read_settings(path, "koma", parameters("koma")) == {"gain": "/home/anna/gain.mrc"}


def test_other_types_of_options(tmp_path: Path) -> None:
    def function(
        rates: Annotated[list[float] | None, info("Rates.", "--rates")] = None,
        side: Annotated[float, info("Side.")] = 1.0,
    ) -> None: ...

    path = tmp_path / "a.toml"
    path.write_text("rates = [1, 2.5]\nside = 3")
    declared = command(settings=True)(function).settings
    assert read_settings(path, "function", declared) == {"rates": ["1", "2.5"], "side": 3}
