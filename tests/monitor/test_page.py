"""The page's document: kept up to date piece by piece; what a session says stays text."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bokeh.document import Document
from hypothesis import given, settings

from mrcz_dask.monitor import page as pages
from mrcz_dask.monitor.listener import SessionListener, columns
from mrcz_dask.monitor.page import MonitorPage, read_thumbnails
from mrcz_dask.session.log import Moment
from mrcz_dask.values import messages

from .conftest import BEGAN, Made
from .test_listener import steps
from .test_state import message

SCRIPT = "<script>alert(1)</script>"


def attached(live: SessionListener) -> tuple[MonitorPage, Document]:
    document = Document()
    page = MonitorPage(live, ThreadPoolExecutor(1))
    page.attach(document)
    return page, document


def shown(document: Document) -> dict[str, Any]:
    source = document.get_model_by_name("stacks")
    assert source is not None
    return dict(source.data)  # type: ignore[attr-defined]


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    def plain(column: Any) -> list[Any]:
        return [v if isinstance(v, str) else float(v) for v in column]

    return str({k: plain(v) for k, v in sorted(one.items())}) == str(
        {k: plain(v) for k, v in sorted(other.items())}
    )


@pytest.mark.slow
@settings(max_examples=20)  # a document takes a fifth of a second
@given(steps)
def test_a_page_that_looked_all_the_time_shows_what_a_new_one_shows(
    steps: list[tuple[str, int, bool]],
) -> None:
    made, live = Made(), SessionListener(lambda: BEGAN)
    page, document = attached(live)
    for kind, k, seen in steps:
        live(made.started() if kind == "started" else message(made, kind, k))
        if seen:
            page.update()
    page.update()
    assert same(shown(document), columns(live.rows()))


@pytest.mark.parametrize("most", [0, 500])
def test_many_changes_are_shown_as_few_are(
    most: int, moments: list[Moment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PATCHED", most)
    live = SessionListener()
    page, document = attached(live)
    for _, one in moments[: len(moments) // 2]:
        live(one)
    page.update()
    for _, one in moments[len(moments) // 2 :]:
        live(one)
    page.update()
    assert same(shown(document), columns(live.rows()))


def test_only_what_has_changed_is_sent(made: Made) -> None:
    live = SessionListener(lambda: BEGAN)
    live(made.started())
    for k in range(100):
        live(made.found(k))
    page, document = attached(live)
    sent: list[Any] = []
    document.on_change(sent.append)
    page.update()
    assert not sent
    live(made.summed(7))
    page.update()
    patches = [one for one in sent if hasattr(one, "patches")]
    assert [{places[0][0] for places in one.patches.values()} for one in patches] == [{7}]


def test_plots_appear_as_there_is_something_of_them(made: Made) -> None:
    live = SessionListener(lambda: BEGAN)
    live(made.started())
    live(made.found(0))
    page, document = attached(live)

    def visible() -> set[str]:
        names = ("timeline", "outliers", "noise", "thresholds", "dose", "thumbnails")
        return {name for name in names if document.get_model_by_name(name).visible}  # type: ignore[union-attr]

    assert visible() == {"timeline"}
    live(made.summed(0))
    page.update()
    assert visible() == {"timeline", "outliers", "thresholds", "dose"}
    live(made.done(0))
    page.update()
    assert visible() == {"timeline", "outliers", "thresholds", "dose", "noise"}


def test_names_and_reasons_are_text(made: Made) -> None:
    live = SessionListener(lambda: BEGAN)
    live(made.started())
    live(messages.StackFound(SCRIPT, "x.mrcz", "2026-01-01 00:00:00", "mdoc", 1))
    live(messages.StackFailed(messages.SUMS, SCRIPT, f"{SCRIPT} is cut off", 1))
    live(messages.RunFinished(0, 1, SCRIPT))
    _, document = attached(live)
    for name in ("headline", "not_done"):
        text = document.get_model_by_name(name).text  # type: ignore[union-attr]
        assert "<script" not in text and "&lt;script&gt;" in text


def test_thumbnails_of_the_last_stack_are_shown(out: Path, moments: list[Moment]) -> None:
    live = SessionListener()
    for _, one in moments:
        live(one)
    reader = ThreadPoolExecutor(1)
    document = Document()
    page = MonitorPage(live, reader)
    page.attach(document)
    reader.shutdown(wait=True)
    page.update()
    plot = document.get_model_by_name("thumbnails")
    assert plot is not None and plot.visible  # type: ignore[attr-defined]
    newest = live.newest()
    assert newest is not None
    found = read_thumbnails(Path(newest[0]), *newest[1:])
    assert plot.title.text.startswith(newest[2])  # type: ignore[attr-defined]
    assert found is not None and found[1].shape == (2, 64, 80)
    source = document.get_model_by_name("images")
    assert np.array_equal(source.data["image"], found[1])  # type: ignore[union-attr]


@pytest.mark.parametrize("output", ["../../secret.mrcz", "/etc/passwd", "a/b.mrcz", "..", ""])
def test_nothing_outside_the_output_folder_is_read(output: str, out: Path) -> None:
    assert read_thumbnails(out, output, "") is None


def test_no_thumbnails_are_no_error(tmp_path: Path) -> None:
    assert read_thumbnails(tmp_path, "a.mrcz", "") is None
