"""Samples of all heads for the same input, so that they differ by head only.

Every evaluation shows the same examples, draws codes and words with the same random numbers, and
takes the codes of the prior from the same stream. Pictures need no arranging: their rows are the
inputs, so grids stand beside each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from uncollapse.report.samples import Sampled

# the columns of a view that show its input, counted after the column of row names
INPUTS = {
    "Prior": (),
    "Reconstructions": (0,),
    "Interpolations": (0, -1),
    "Neighbours": (0,),
    "Responses": (0, 1),
}
TRAVERSAL = "Traversal"  # of one input, with a row for each of a head's own dimensions


@dataclass
class Compared:
    """One input, and what each head made of it."""

    name: str  # "1: the input", or "1" where there is none
    rows: list[tuple[str, list[str]]] = field(default_factory=list)  # a group and its cells


@dataclass
class ComparedView:
    """A view of several heads: for each input a table with one row per head."""

    title: str
    caption: str
    columns: list[str]
    inputs: list[Compared]


@dataclass
class ComparedPictures:
    """A view of several heads as pictures whose rows are the same inputs."""

    title: str
    caption: str
    pictures: list[tuple[str, str]]  # a group and its picture

    @property
    def rows_are_inputs(self) -> bool:
        return self.title != TRAVERSAL


@dataclass
class ComparedSamples:
    """The samples of several heads, arranged by input."""

    texts: list[ComparedView]
    pictures: list[ComparedPictures]

    def shows(self, view: Sampled) -> bool:
        """Whether a view of a head stands among those of other heads; pictures stand there only.

        Lines of text are short, and are shown for each head as well.
        """
        return any(name == view.picture for row in self.pictures for _, name in row.pictures)


def arrange_views(samples: Sequence[tuple[str, list[Sampled]]]) -> ComparedSamples:
    """The views of all groups by title: those of text by input, and those of pictures."""
    if len(samples) < 2:  # nothing to compare with
        return ComparedSamples([], [])
    texts: dict[tuple[str, tuple[str, ...]], ComparedView] = {}
    pictures: dict[str, ComparedPictures] = {}
    for group, views in samples:
        for view in views:
            if view.picture:
                compared = ComparedPictures(view.title, view.caption, [])
                pictures.setdefault(view.title, compared).pictures.append((group, view.picture))
            elif len(view.lines) > 1 and view.title == TRAVERSAL:
                add_traversal(texts, group, view)
            elif len(view.lines) > 1:
                add_text(texts, group, view)
    return ComparedSamples(list(texts.values()), list(pictures.values()))


def add_text(
    found: dict[tuple[str, tuple[str, ...]], ComparedView], group: str, view: Sampled
) -> None:
    """Add the lines of a group's view to those of other groups with the same inputs."""
    header, *lines = [line[1:] for line in view.lines]
    places = {place % len(header) for place in INPUTS.get(view.title, ())} if header else set()
    inputs = [" → ".join(cell_at(line, place) for place in sorted(places)) for line in lines]
    # groups on other data have other inputs, and are shown by themselves
    key = view.title, tuple(inputs)
    if key not in found:
        columns = [name for place, name in enumerate(header) if place not in places]
        names = [name_input(number, text) for number, text in enumerate(inputs, 1)]
        found[key] = ComparedView(view.title, view.caption, columns, [*map(Compared, names)])
    for compared, line in zip(found[key].inputs, lines, strict=True):
        cells = [cell_at(line, place) for place in range(len(header)) if place not in places]
        compared.rows.append((group, cells))


def add_traversal(
    found: dict[tuple[str, tuple[str, ...]], ComparedView], group: str, view: Sampled
) -> None:
    """Add a row for each dimension of a group to those of other groups."""
    header, *lines = view.lines
    key = view.title, tuple(header)
    if key not in found:
        inputs = [Compared("one test example")]
        found[key] = ComparedView(view.title, view.caption, header[1:], inputs)
    for name, *cells in lines:
        padded = [cell_at(cells, place) for place in range(len(header) - 1)]
        found[key].inputs[0].rows.append((f"{group}, {name}", padded))


def name_input(number: int, text: str) -> str:
    """The name of an input; codes of the prior have no text."""
    return f"{number}: {text}" if text else str(number)


def cell_at(line: list[str], place: int) -> str:
    """A cell of a line, which may be shorter than its header if the file is damaged."""
    return line[place] if place < len(line) else ""
