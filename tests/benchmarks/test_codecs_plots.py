import io
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from benchmarks.codecs.plots import dose_figure, level_figure, plots, settings_figure, table1_figure
from benchmarks.codecs.results import BenchReport

pytestmark = pytest.mark.slow


def test_plots_open_as_images(report: BenchReport) -> None:
    made = dict(plots(report))
    assert sorted(made) == sorted(
        f"{name}.{kind}"
        for name in ("table1", "dose", "level", "settings", "metadata")
        for kind in ("png", "svg")
    )
    for name, data in made.items():
        if name.endswith("png"):
            image = imread(io.BytesIO(data))
            assert image.shape[0] > 300 and image.std() > 0
        else:
            assert ElementTree.fromstring(data).tag.endswith("svg")


def test_the_same_report_gives_the_same_plots(report: BenchReport) -> None:
    assert dict(plots(report)) == dict(plots(report))


def test_axes_say_what_they_show(report: BenchReport) -> None:
    for figure in (table1_figure(report.table1), dose_figure(report.dose), settings_figure(report.dose)):
        assert figure.legends
        labels = " ".join(axes.get_xlabel() + axes.get_ylabel() for axes in figure.axes)
        assert "MB/s" in labels and ("bits per pixel" in labels or "Shannon limit" in labels)


def lines(figure: Figure, panel: int) -> dict[str, list[tuple[float, float]]]:
    drawn = figure.axes[panel].get_lines()
    return {str(one.get_label()): [tuple(p) for p in one.get_xydata().tolist()] for one in drawn}


def test_a_line_for_each_codec_and_the_limit(report: BenchReport) -> None:
    found = lines(dose_figure(report.dose), 0)
    assert set(found) == {"lz4:9:bit", "auto", "Shannon limit"}
    assert [dose for dose, _ in found["Shannon limit"]] == [0.5, 1.0]
    row = report.dose[0]
    assert found["lz4:9:bit"][0] == pytest.approx((0.5, 8 * row.size / row.pixels))


def test_a_line_over_the_level_for_each_codec(report: BenchReport) -> None:
    figure = level_figure(report.level)
    found = lines(figure, 0)
    assert set(found) == {"lz4, bit shuffle", "Shannon limit"}
    assert [level for level, _ in found["lz4, bit shuffle"]] == list(range(1, 10))
    assert "1 e⁻/pixel/frame" in figure.get_suptitle()  # of 0.5 and 1 the nearest to 1.5


def test_no_line_where_nothing_varies(report: BenchReport) -> None:
    alike = tuple(row for row in report.dose if row.threads == 1 and row.block_size == 0)
    names = {name for name, _ in plots(replace(report, table1=(), metadata=(), level=(), dose=alike))}
    assert names == {"dose.png", "dose.svg"}


def test_floats_have_no_limit_to_draw(report: BenchReport) -> None:
    rows = tuple(replace(row, limit=None, poisson_limit=None) for row in report.dose)
    assert list(plots(replace(report, table1=rows[:3], dose=rows, level=())))


def test_no_display_is_looked_for() -> None:
    code = "import sys, benchmarks.codecs.plots; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
