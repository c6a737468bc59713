"""Every name that can be chosen has its entry in a table, and the command line repeats no list of names."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from mrcz_dask.engine.queues import QUEUE_SYSTEMS
from mrcz_dask.export.commands import COMMANDS
from mrcz_dask.numerics.outliers.rules import RULES
from mrcz_dask.values.choices import Program, Rule, System

ROOT = Path(__file__).parents[2] / "mrcz_dask"


@pytest.mark.parametrize(
    ("table", "names"),
    [(QUEUE_SYSTEMS, System), (COMMANDS, Program), (RULES, Rule)],
    ids=["system", "program", "rule"],
)
def test_a_table_has_every_name(table: Mapping[str, Any], names: Any) -> None:
    assert set(table) == set(get_args(names))


def test_the_table_is_in_the_file_that_is_named() -> None:
    text = (ROOT / "values/choices.py").read_text(encoding="utf-8")
    named = dict(re.findall(r"^# `([\w/]+\.py)`\n(\w+) = ", text, re.MULTILINE))
    tables = {"Program": "COMMANDS", "Rule": "RULES", "System": "QUEUE_SYSTEMS"}
    assert set(named.values()) == set(tables)
    for path, name in named.items():
        assert f"\n{tables[name]}: " in (ROOT / path).read_text(encoding="utf-8"), path


def literals(path: Path) -> Iterator[frozenset[object]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
            values = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            yield frozenset(ast.literal_eval(value) for value in values)


def test_the_command_line_repeats_no_literal_of_the_library() -> None:
    files = set(ROOT.rglob("*.py"))
    commands = {path for path in files if path.relative_to(ROOT).parts[0] == "cli"}
    library = {names for path in files - commands for names in literals(path)}
    assert not {names for path in commands for names in literals(path)} & library
