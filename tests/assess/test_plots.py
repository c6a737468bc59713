"""What figures share."""

from matplotlib.figure import Figure

from mrcz_dask.assess.plots import COLORS, legend_below, rendered


def figure() -> Figure:
    made = Figure(layout="constrained")
    left, right = made.subplots(1, 2)
    for axes in (left, right):
        axes.plot([1, 2], [1, 2], color=COLORS[0], label="same")
    right.plot([1, 2], [2, 1], label="other")
    legend_below(made, left, right)
    return made


def test_files_are_the_same_bytes_each_time():
    one, two = (dict(rendered([("name", figure())])) for _ in range(2))

    assert list(one) == ["name.png", "name.svg"] and one == two


def test_a_label_comes_once():
    texts = figure().legends[0].get_texts()

    assert [text.get_text() for text in texts] == ["same", "other"]
