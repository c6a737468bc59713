"""Declares options in groups, from which commands, their help and settings files are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field, fields
from functools import wraps
from inspect import Parameter, get_annotations, signature
from pathlib import Path
from typing import Annotated, Any, dataclass_transform, get_args, get_type_hints

import typer
from typer.core import TyperCommand

from mrcz_dask.cli.examples import WithExamples
from mrcz_dask.cli.options.settings import NUMBERS, read_settings

# With --settings, --help and --help-all a command's help has 20 long names at most.
SHORT_HELP = 17
ALL = "mrcz_dask.help_all"


def info(help: str, *names: str, often: bool = False, unset: str = "", **more: Any) -> Any:
    """Describe an option of a command for `typer`: its help, names, and whether the short help shows it.

    Parameters
    ----------
    help
        Its help, which settings files show, too.
    *names
        Names of the option; by default that of the field.
    often
        Whether the short help of a command with many options shows it.
    unset
        Effect of the default None, for the help.
    **more
        Keywords of `typer.Option`.
    """
    return typer.Option(*names, help=help, hidden=not often, show_default=unset or True, **more)


def option(default: Any, help: str, *names: str, numbers: bool = False, **more: Any) -> Any:
    """Declare one option, with default and help, as a field of an `OptionGroup`.

    Parameters
    ----------
    default
        Value without the option.
    numbers
        Whether a text may be a number without quotes in a settings file.
    help, *names, **more
        See `info`.
    """
    extras = (*([NUMBERS] if numbers else ()), info(help, *names, **more))
    return field(default=default, metadata={"extras": extras})


@dataclass_transform(kw_only_default=True, frozen_default=True)
class OptionGroup:
    """Base of groups of options that a command takes as one parameter; a subclass is a frozen dataclass."""

    panel = ""

    def __init_subclass__(cls, panel: str = "") -> None:
        cls.panel = panel or cls.panel
        dataclass(frozen=True, kw_only=True)(cls)


def command(
    *, settings: bool = False, leave_out: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that makes a command of a function whose parameters are options and option groups.

    A group's default in the signature replaces the defaults of its options.

    Parameters
    ----------
    settings
        Whether ``--settings`` reads the options from a file.
    leave_out
        Options of the groups that the command does not have.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        """Put the options of groups in the place of the groups."""
        groups: dict[str, Any] = {}
        parameters: list[Parameter] = []
        for parameter in signature(function, eval_str=True).parameters.values():
            if isinstance(parameter.annotation, type) and issubclass(parameter.annotation, OptionGroup):
                groups[parameter.name] = parameter.annotation
                parameters += [option for option in _options(parameter) if option.name not in leave_out]
            else:
                parameters.append(parameter)
        many = len(parameters) > SHORT_HELP
        parameters = [_named(parameter, negative=settings, hide=many) for parameter in parameters]
        more = [
            *([_settings(function.__name__, parameters)] if settings else ()),
            *([HELP_ALL] if many else ()),
        ]

        @wraps(function)
        def run(**values: Any) -> None:
            """Make groups of the options again, and run the command."""
            for option in more:
                del values[option.name]
            for name, group in groups.items():
                names = {member.name for member in fields(group)} - {*leave_out}
                values[name] = group(**{option: values.pop(option) for option in names})
            function(**values)

        shown = signature(function).replace(parameters=[*parameters, *more])
        run.__signature__ = shown  # type: ignore[attr-defined]
        run.__annotations__ = {name: parameter.annotation for name, parameter in shown.parameters.items()}
        run.settings = parameters if settings else ()  # type: ignore[attr-defined]
        return run

    return decorate


def _options(parameter: Parameter) -> Iterator[Parameter]:
    """Yield the options of a group as parameters."""
    group = parameter.annotation
    hints = get_type_hints(group, include_extras=True)
    for member in fields(group):
        default = member.default
        if parameter.default is not Parameter.empty:
            default = getattr(parameter.default, member.name)
        annotation = hints[member.name]
        if member.metadata:
            annotation = Annotated[(annotation, *member.metadata["extras"])]
        kind, *extras, info = get_args(annotation)
        info = copy(info)
        declaring = next(base for base in group.__mro__ if member.name in get_annotations(base))
        info.rich_help_panel = declaring.panel
        annotation = Annotated[(kind, *extras, info)]
        yield Parameter(member.name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _named(parameter: Parameter, *, negative: bool, hide: bool) -> Parameter:
    """Return a parameter whose option has its names, and whether the short help hides it.

    Parameters
    ----------
    negative
        Whether flags that are off have ``--no-NAME``, too, for what a settings file turns on.
    hide
        Whether rare options are hidden.
    """
    kind, *extras, info = get_args(parameter.annotation)
    info = copy(info)
    if isinstance(info, typer.models.OptionInfo):
        known = [name for name in (info.default, *(info.param_decls or ())) if isinstance(name, str)]
        names = known or [f"--{parameter.name.replace('_', '-')}"]
        if kind is bool and (negative or parameter.default is True):
            names = [f"{name}/--no-{name[2:]}" if name.startswith("--") else name for name in names]
        info.default, info.param_decls, info.hidden = ..., tuple(names), hide and info.hidden
        if parameter.default not in (None, Parameter.empty):
            info.show_default = parameter.default is not False and parameter.default != ""
    annotation = Annotated[(kind, *extras, info)]  # type: ignore[valid-type]
    return parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=annotation)


def _settings(command: str, parameters: list[Parameter]) -> Parameter:
    """Return the option ``--settings`` of a command, whose values stand in for those not given."""

    def read(context: typer.Context, path: Path | None) -> None:
        """Read the file before the other options are looked at."""
        if path is not None and not context.resilient_parsing:
            context.default_map = read_settings(path, command, parameters)

    help = f"File with options; the command line wins. Write one: mrcz-dask init {command} > session.toml"
    info = typer.Option("--settings", help=help, is_eager=True, callback=read, metavar="FILE.toml")
    kind = Annotated[Path | None, info]
    return Parameter("settings", Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def _help_all(context: typer.Context, chosen: bool) -> None:
    if chosen and not context.resilient_parsing:
        context.meta[ALL] = True
        typer.echo(context.get_help())
        raise typer.Exit


ALL_OPTIONS = typer.Option("--help-all", help="Show all options and exit.", is_eager=True, callback=_help_all)
HELP_ALL = Parameter(
    "help_all", Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, ALL_OPTIONS]
)


class Command(WithExamples, TyperCommand):
    """A command whose ``--help`` hides options that are rarely needed; ``--help-all`` shows them."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._rare: list[Any] = [param for param in self.params if getattr(param, "hidden", False)]
        for param in self._rare:
            param.hidden = False  # shells complete them, too

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of the command, with rarely needed options only for ``--help-all``."""
        for param in self._rare:
            param.hidden = ALL not in ctx.meta
        for param in self.params:
            param.secondary_opts = param.secondary_opts if param.default else []
        super().format_help(ctx, formatter)
