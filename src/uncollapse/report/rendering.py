"""The page as HTML: with links to its pictures, or as one file that contains them."""

import base64
from collections.abc import Iterable, Mapping

from uncollapse.report.assets import content_policy, list_scripts, list_vendored, read_style
from uncollapse.report.figures import Shown
from uncollapse.report.files import load_template
from uncollapse.report.samples import Sampled

MOST_BYTES = 3_000_000  # of a single file, so that it can be mailed
MEDIA = {"svg": "image/svg+xml", "png": "image/png"}
GroupSamples = tuple[str, list[Sampled]]  # a group and its views
Pictures = Mapping[str, str]  # the name of a picture on the page -> its source


def render_page(
    facts: Mapping[str, object],
    pictures: Pictures,
    left_out: Iterable[str] = (),
    offline: bool = False,
) -> str:
    """The HTML of a page with these facts and pictures. Pictures that it lacks are not shown.

    offline: without links to other files of the report; `left_out` names what it does not show.
    """
    scripts, style = list_scripts(), read_style()
    return load_template("page.html").render(
        facts,
        pictures=pictures,
        left_out=list(left_out),
        offline=offline,
        policy=content_policy(scripts, [style], "data:" if offline else "'self' data:"),
        scripts=scripts,
        style=style,
        vendored=list_vendored(),
        # the same text for packages of one author
        licences=list(dict.fromkeys(package.licence_text for package in list_vendored())),
    )


def link_pictures(figures: Iterable[Shown], samples: Iterable[GroupSamples]) -> dict[str, str]:
    """The sources of all pictures, as files of the report."""
    drawn = [f"figures/{figure.name}" for figure in figures if not figure.missing]
    views = [view.picture for _, views in samples for view in views if view.picture]
    return {name: f"{name}.svg" for name in drawn} | {name: name for name in views}


# ---- one file ------------------------------------------------------------------------------------


def list_pictures(
    figures: Iterable[Shown], samples: Iterable[GroupSamples]
) -> dict[str, tuple[str, str]]:
    """The title and the source of all pictures, as data, in the order of the page."""
    found = {}
    for figure in figures:
        encoded = [encode_picture(data, suffix) for suffix, data in figure.files.items()]
        if sources := [source for source in encoded if source]:
            found[f"figures/{figure.name}"] = (figure.title, min(sources, key=len))
    for group, views in samples:
        for view in views:
            if view.picture:
                title = f"{view.title} of {group}"
                found[view.picture] = (title, encode_picture(view.data, "png"))
    return found


def encode_picture(data: bytes, suffix: str) -> str:
    """A picture as the source of an image; '' for a format that browsers do not show there."""
    if suffix not in MEDIA:
        return ""
    return f"data:{MEDIA[suffix]};base64,{base64.b64encode(data).decode()}"


def render_single(
    facts: Mapping[str, object], pictures: Mapping[str, tuple[str, str]], most: int = MOST_BYTES
) -> tuple[bytes, list[str]]:
    """The page with as many of the pictures as `most` bytes hold, and the titles of the others.

    The pictures come in the order of the page; one that is too large does not stop the next.
    """
    titles = [title for title, _ in pictures.values()]
    # all captions, and all titles of pictures left out: at least what the page will have
    empty = render_page(facts, dict.fromkeys(pictures, ""), titles, offline=True)
    room = most - len(empty.encode())
    kept: dict[str, str] = {}
    for name, (_, source) in pictures.items():
        if len(source) <= room:
            kept[name] = source
            room -= len(source)
    left_out = [title for name, (title, _) in pictures.items() if name not in kept]
    return render_page(facts, kept, left_out, offline=True).encode(), left_out


def describe_single(page: bytes, left_out: list[str]) -> str:
    """'2.9 MB, without 3 pictures that did not fit'."""
    size = f"{len(page) / 1e6:.1f} MB"
    count = len(left_out)
    return f"{size}, without {count} picture{'s' * (count > 1)} that did not fit" if count else size
