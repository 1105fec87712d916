"""Samples of several heads for the same input."""

import numpy as np

from uncollapse.evaluation.view_files import encode_png
from uncollapse.report.samples import VIEW_CAPTIONS, Sampled, read_views
from uncollapse.report.side_by_side import ComparedView, arrange_views


def view(title: str, *lines: list[str]) -> Sampled:
    return Sampled(title, "caption", [["", *lines[0]], *(["n", *line] for line in lines[1:])])


def arrange_twice(sampled: Sampled) -> list[ComparedView]:
    return arrange_views([("plain", [sampled]), ("bn", [sampled])]).texts


def test_heads_stand_below_each_other_for_each_input() -> None:
    header = ["test", "most likely, of the mean", "drawn, of a code"]
    samples = [
        ("plain", [view("Reconstructions", header, ["a b", "x", "y"], ["c", "z", "w"])]),
        ("bn", [view("Reconstructions", header, ["a b", "a b", "a"], ["c", "c"])]),
    ]
    compared = arrange_views(samples)
    (found,) = compared.texts
    assert compared.pictures == [] and found.columns == header[1:]
    assert [compared.name for compared in found.inputs] == ["1: a b", "2: c"]
    assert found.inputs[0].rows == [("plain", ["x", "y"]), ("bn", ["a b", "a"])]
    # a damaged line lacks its last cell
    assert found.inputs[1].rows == [("plain", ["z", "w"]), ("bn", ["c", ""])]


def test_both_ends_of_an_interpolation_are_its_input() -> None:
    header = ["test", "0.00", "1.00", "test"]
    lines = [header, ["a", "a", "b", "b"]]
    (found,) = arrange_twice(view("Interpolations", *lines))
    assert found.columns == ["0.00", "1.00"] and found.inputs[0].name == "1: a → b"


def test_codes_of_the_prior_have_a_number_only() -> None:
    (found,) = arrange_twice(view("Prior", ["drawn", "most likely"], ["a", "b"]))
    assert found.inputs[0].name == "1"
    assert found.inputs[0].rows == [("plain", ["a", "b"]), ("bn", ["a", "b"])]


def test_groups_with_other_inputs_are_apart() -> None:
    one, other = (view("Reconstructions", ["test", "mean"], [text, "x"]) for text in "ab")
    found = arrange_views([("one", [one]), ("other", [other])]).texts
    assert [[group for group, _ in v.inputs[0].rows] for v in found] == [["one"], ["other"]]


def test_traversals_have_a_row_for_each_dimension_of_each_head() -> None:
    def traversal(*dimensions: str) -> Sampled:
        lines = [[name, f"low {name}", "high"] for name in dimensions]
        return Sampled("Traversal", "caption", [["", "5%", "95%"], *lines])

    samples = [("plain", [traversal("z0", "z3")]), ("bn", [traversal("z1")])]
    (found,) = arrange_views(samples).texts
    assert found.columns == ["5%", "95%"] and len(found.inputs) == 1
    assert found.inputs[0].rows == [
        ("plain, z0", ["low z0", "high"]),
        ("plain, z3", ["low z3", "high"]),
        ("bn, z1", ["low z1", "high"]),
    ]


def test_pictures_are_listed_by_view() -> None:
    def picture(title: str, name: str) -> Sampled:
        return Sampled(title, "caption", [], name, b"png")

    samples = [
        ("plain", [picture("Reconstructions", "0"), view("Prior", ["drawn"])]),
        ("bn", [picture("Reconstructions", "1"), Sampled("Prior", "caption", [["", "drawn"]])]),
    ]
    compared = arrange_views(samples)
    (found,) = compared.pictures
    assert found.rows_are_inputs
    assert compared.texts == [] and found.pictures == [("plain", "0"), ("bn", "1")]
    # a picture stands on the page once
    assert compared.shows(samples[0][1][0]) and not compared.shows(samples[0][1][1])


def test_a_single_head_is_not_compared() -> None:
    compared = arrange_views([("plain", [view("Prior", ["drawn"], ["a"])])])
    assert compared.texts == compared.pictures == []


def test_every_view_may_be_a_picture() -> None:
    picture = encode_png([[np.zeros((2, 2))]])
    views, odd = read_views({f"{stem}.png": picture for stem in VIEW_CAPTIONS}, 0)
    assert len(views) == len(VIEW_CAPTIONS) and not odd and all(view.caption for view in views)
