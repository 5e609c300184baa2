import struct

import pytest

from tinygrad_gpt.figures.pictures import draw_confusion, draw_curves, draw_intervals


def size(path):
    """Width and height that a PNG states."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


def test_each_panel_of_curves_takes_its_width(tmp_path):
    curve = ([1, 2, 3], [3.0, 2.0, 1.5])
    draw_curves(tmp_path / "one.png", {"loss": {"training": curve}}, "step")
    draw_curves(tmp_path / "two.png", {"loss": {"training": curve, "validation": curve}, "lr": {"lr": curve}}, "step")
    (width, height), two = size(tmp_path / "one.png"), size(tmp_path / "two.png")
    assert two == (2 * width, height)


def test_other_numbers_make_another_picture_and_the_same_ones_the_same(tmp_path):
    pictures = []
    for i, ys in enumerate(([3.0, 2.0], [3.0, 2.0], [3.0, 2.5])):
        draw_curves(tmp_path / f"{i}.png", {"loss": {"training": ([1, 2], ys)}}, "step")
        pictures.append((tmp_path / f"{i}.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


@pytest.mark.parametrize("n", [1, 2, 21])
def test_a_confusion_matrix_is_drawn_for_few_and_many_classes(tmp_path, n):
    confusion = [[10 * (i == j) for j in range(n)] for i in range(n)]
    confusion[0] = [0] * n  # a class that never occurs divides by no zero
    draw_confusion(tmp_path / "confusion.png", confusion, [f"class {i}" for i in range(n)])
    assert min(size(tmp_path / "confusion.png")) >= 400


def test_intervals_take_a_line_for_each_name(tmp_path):
    points = [(90.0, 85.0, 94.0), None, (50.0, 50.0, 50.0)]
    draw_intervals(tmp_path / "three.png", ["a", "b", "c"], {"here": points, "there": points[:1]}, "%")
    draw_intervals(tmp_path / "six.png", list("abcdef"), {"here": [*points, *points]}, "%")
    draw_intervals(tmp_path / "none.png", ["a"], {"here": [None]}, "%")
    (width, height), six = size(tmp_path / "three.png"), size(tmp_path / "six.png")
    assert six[0] == width
    assert six[1] > height > size(tmp_path / "none.png")[1]
