"""What we depend on has bounds, reasons, and licenses that somebody looked at."""

import importlib.util
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {need for needs in PROJECT["optional-dependencies"].values() for need in needs}
NEEDS = sorted(need for need in {*PROJECT["dependencies"], *EXTRAS} if not need.startswith("mrcz-dask"))


def test_every_dependency_has_both_bounds_and_a_reason() -> None:
    reasons = (ROOT / "docs/explanation/dependencies.md").read_text()
    for need in NEEDS:
        name = re.match(r"[\w-]+", need)
        assert name and re.search(r">=\d.*,<\d", need), f"{need} has no upper bound"
        assert name[0] in reasons, f"docs/explanation/dependencies.md does not say what {name[0]} is for"


def test_somebody_looked_at_every_license() -> None:
    spec = importlib.util.spec_from_file_location("licenses", ROOT / "docs/licenses.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not module.unknown(module.licenses("mrcz-dask", module.EXTRAS, {}))
