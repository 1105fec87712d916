"""Colours and shapes of the slots of a config, the same in figures and on the page.

The light colours are those of Okabe and Ito without yellow. Shapes differ too, as some pairs of
colours are close for readers with a colour deficiency.
"""

from typing import NamedTuple


class Token(NamedTuple):
    """How marks of heads that change one slot look: on light and dark paper, and their shape.

    marker: the shape as matplotlib names it; path: the same as an SVG path around (0, 0).
    """

    css_name: str
    light: str
    dark: str
    marker: str
    path: str


SLOT_TOKENS = {
    "baseline": Token(
        "baseline", "#000000", "#f2f2f2", "o", "M-4.5,0a4.5,4.5,0,1,0,9,0a4.5,4.5,0,1,0,-9,0Z"
    ),
    "posterior": Token("posterior", "#0072B2", "#56B4E9", "s", "M-4,-4h8v8h-8Z"),
    "objective": Token("objective", "#D55E00", "#FF8A3D", "D", "M0,-5.5L5,0L0,5.5L-5,0Z"),
    "procedure": Token("procedure", "#009E73", "#2FCB98", "^", "M0,-5.2L5,3.8H-5Z"),
    "decoder": Token("decoder", "#CC79A7", "#E59BC6", "v", "M0,5.2L5,-3.8H-5Z"),
    "several": Token(
        "several", "#E69F00", "#F0C23B", "P",
        "M-1.8,-5h3.6v3.2h3.2v3.6h-3.2v3.2h-3.6v-3.2h-3.2v-3.6h3.2Z",
    ),
    "": Token(
        "unknown", "#56B4E9", "#9AD0F5", "X",
        "M-5,-3L-3,-5L0,-2L3,-5L5,-3L2,0L5,3L3,5L0,2L-3,5L-5,3L-2,0Z",
    ),
}  # fmt: skip
