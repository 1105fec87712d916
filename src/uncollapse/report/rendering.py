"""The page as one file of HTML, which contains the pictures that its scripts do not draw."""

import base64
from collections.abc import Iterable, Mapping

from uncollapse.report.assets import content_policy, list_scripts, list_vendored, read_style
from uncollapse.report.figures import Shown
from uncollapse.report.files import load_template
from uncollapse.report.samples import Sampled

MOST_BYTES = 3_000_000  # of a page, so that it can be mailed
GroupSamples = tuple[str, list[Sampled]]  # a group and its views
Pictures = Mapping[str, str]  # the name of a picture on the page -> its source


def render_page(
    facts: Mapping[str, object],
    pictures: Pictures,
    left_out: Iterable[str] = (),
    linked: bool = True,
) -> str:
    """The HTML of a page with these facts and pictures. Pictures that it lacks are not shown.

    linked: with links to the other files of the report; `left_out` names what it does not show.
    """
    scripts, style = list_scripts(), read_style()
    return load_template("page.html").render(
        facts,
        pictures=pictures,
        left_out=list(left_out),
        linked=linked,
        policy=content_policy(scripts, [style], "data:"),
        scripts=scripts,
        style=style,
        vendored=list_vendored(),
        # the same text for packages of one author
        licences=list(dict.fromkeys(package.licence_text for package in list_vendored())),
    )


def list_pictures(
    figures: Iterable[Shown], samples: Iterable[GroupSamples]
) -> dict[str, tuple[str, str]]:
    """The title and the source of all pictures, as data, in the order of the page."""
    found = {
        f"figures/{figure.name}": (figure.title, encode_picture(figure.picture))
        for figure in figures
        if figure.picture
    }
    for group, views in samples:
        for view in views:
            if view.picture:
                found[view.picture] = (f"{view.title} of {group}", encode_picture(view.data))
    return found


def encode_picture(data: bytes) -> str:
    """A PNG as the source of an image."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def fill_page(
    facts: Mapping[str, object],
    pictures: Mapping[str, tuple[str, str]],
    linked: bool = True,
    most: int = MOST_BYTES,
) -> tuple[bytes, list[str]]:
    """The page with as many of the pictures as `most` bytes hold, and the titles of the others.

    The pictures come in the order of the page; one that is too large does not stop the next.
    """
    # rendered once with short places, as a page of 3,000 runs takes seconds
    places = {name: f"data:,{number}" for number, name in enumerate(pictures)}
    page = render_page(facts, places, linked=linked)
    sources = {name: source for name, (_, source) in pictures.items()}
    if len(page.encode()) + sum(map(len, sources.values())) <= most:
        return fill_places(page, places, sources).encode(), []
    titles = [title for title, _ in pictures.values()]
    # all captions, and all titles of pictures left out: at least what the page will have
    room = most - len(page.encode()) - len(", ".join(titles).encode()) - 200
    kept: dict[str, str] = {}
    for name, source in sources.items():
        if len(source) <= room:
            kept[name] = source
            room -= len(source)
    left_out = [title for name, (title, _) in pictures.items() if name not in kept]
    return render_page(facts, kept, left_out, linked).encode(), left_out


def fill_places(page: str, places: Pictures, sources: Pictures) -> str:
    """The page with the source of each picture in its place."""
    for name, place in places.items():
        page = page.replace(f'src="{place}"', f'src="{sources[name]}"', 1)
    return page


def describe_size(page: bytes, left_out: list[str]) -> str:
    """'2.9 MB, without 3 pictures that did not fit'."""
    size = f"{len(page) / 1e6:.1f} MB"
    count = len(left_out)
    return f"{size}, without {count} picture{'s' * (count > 1)} that did not fit" if count else size
