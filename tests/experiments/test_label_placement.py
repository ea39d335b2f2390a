"""Names of points: none hides another or a point, and none leaves the plot."""

import numpy as np
import pytest

from ranker.experiments.label_placement import LETTER, LINE, Box, placed

AREA = Box(0.0, 0.0, 560.0, 380.0)


def hidden(points, boxes):
    """Pairs that cover each other, a point counting as far as its marker reaches."""
    dots = {name: Box(x - 4, y - 4, x + 4, y + 4) for name, (x, y) in points.items()}
    names = list(points)
    found = [(one, other) for i, one in enumerate(names) for other in names[:i] if boxes[one].shared(boxes[other])]
    return found + [(one, f"point of {other}") for one in names for other in names if boxes[one].shared(dots[other])]


def test_a_lone_name_stands_at_the_right_of_its_point():
    boxes = placed({"cross": (100.0, 200.0)}, AREA)
    assert boxes["cross"] == Box(106.0, 200 - LINE / 2, 106 + 5 * LETTER, 200 + LINE / 2)


def test_at_the_right_edge_a_name_stands_at_the_left():
    box = placed({"dual-frozen-mean": (540.0, 200.0)}, AREA)["dual-frozen-mean"]
    assert box.right < 540
    assert box.bottom < 200 < box.top


def test_at_the_lower_edge_a_name_stands_above_the_axis():
    assert placed({"cross": (100.0, 0.0)}, AREA)["cross"].bottom >= 0


@pytest.mark.parametrize("seed", range(5))
def test_names_of_five_and_twenty_arms_hide_nothing(seed):
    rng = np.random.default_rng(seed)
    points = {f"layer-attention-{n}": tuple(rng.uniform((20, 20), (540, 360)).tolist()) for n in range(25)}
    boxes = placed(points, AREA)
    assert hidden(points, boxes) == []
    assert all(box.shared(AREA) == pytest.approx(box.area) for box in boxes.values())


def test_names_of_points_in_one_column_hide_nothing():
    points = {f"token-pool-frozen{n}": (280.0, 150.0 + 9.0 * n) for n in range(9)}
    assert hidden(points, placed(points, AREA)) == []


def test_a_place_does_not_depend_on_the_order_of_the_points():
    points = {f"arm{n}": (100.0 + 3 * (n % 2), 100.0 + n) for n in range(6)}
    assert placed(points, AREA) == placed(dict(reversed(points.items())), AREA)


def test_boxes_share_what_both_cover():
    assert Box(0, 0, 4, 4).shared(Box(2, 3, 9, 9)) == 2
    assert Box(0, 0, 4, 4).shared(Box(4, 0, 9, 9)) == 0
