"""Measure all rows, print a table, write JSON."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from benchmarks import MODULES
from benchmarks.harness import BEFORE, ROWS, Bench, measure, table
from mrcz_dask.formats.parallel import available_cores


def main() -> None:
    options = _options()
    for module in MODULES:
        import_module(f"benchmarks.{module}")
    known = [row for row in ROWS if options.before or row.rival != BEFORE]
    rows = [row for row in known if options.only in f"{row.name}, {row.rival}"]
    results = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        repeats = options.repeats or (3 if options.quick else 7)
        bench = Bench(Path(folder), options.quick, options.threads, repeats, options.before)
        for done, row in enumerate(rows):
            print(f"{done + 1}/{len(rows)} {row.name}, {row.rival}", file=sys.stderr)
            results.append(measure(row, bench))
            print(f"    {results[-1].ratio:.3f} {results[-1].goal}", file=sys.stderr, flush=True)
    n, ny, nx = bench.shape
    print(f"{n} x {ny} x {nx} int8, {bench.threads} threads, median of {repeats} alternating pairs\n")
    print(table(results))
    if options.json:
        facts = {"shape": bench.shape, "threads": bench.threads, "repeats": repeats}
        rows_json = [asdict(result) for result in results]
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({**facts, "rows": rows_json}, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small stacks, three pairs: about a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows with this in their name or rival")
    parser.add_argument("--repeats", type=int, metavar="N", help="pairs of each row (7; --quick: 3)")
    parser.add_argument("--threads", type=int, default=available_cores(), help="of both sides (all cores)")
    parser.add_argument(
        "--before", type=Path, metavar="FOLDER", help="checkout of an earlier commit, to compare koma with"
    )
    parser.add_argument("--folder", metavar="FOLDER", help="where files are written (the temporary folder)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
