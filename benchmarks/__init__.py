"""Ratios against named rivals, measured in one run on the same cores: ``python -m benchmarks``.

A row is a function in one of the modules listed in `MODULES`, marked with `harness.row`; it gets a
`harness.Bench` and returns a `harness.Pair` of callables to time, or a `harness.Amounts` of two numbers.
The folder `codecs` is the paper's benchmarks: ``mrcz-dask bench codecs``.
"""

MODULES = ("stacks", "sizes", "koma", "cluster", "live_processors", "live_correct", "live", "counting")
