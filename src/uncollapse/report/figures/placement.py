"""Place labels so that they cover neither points nor each other; in typographic points."""

import numpy as np

# near candidates are dense, far ones sparse
ANGLES, RADII = np.meshgrid(
    np.linspace(0, 2 * np.pi, 24, endpoint=False), [*range(5, 60, 5), *range(60, 300, 15)]
)
# candidate positions of a label, relative to what it belongs to
LABEL_OFFSETS = (
    np.stack([RADII * np.cos(ANGLES), RADII * np.sin(ANGLES)], axis=-1).reshape(-1, 2).round(6)
)


def place_labels(
    anchors: np.ndarray, sizes: np.ndarray, obstacles: np.ndarray, frame: np.ndarray
) -> np.ndarray:
    """Centres [G, 2] of labels of these sizes [G, 2] near their anchors [G, 2].

    Greedy and deterministic: labels with many neighbours come first, and each takes the cheapest
    candidate, one near its anchor, inside the frame (two corners), clear of obstacles [N, 2] and
    earlier labels, and with a line to its anchor that crosses few others.
    """
    centres = np.array(anchors, dtype=float)
    done: list[int] = []
    # the number of neighbours, weighted by their distance
    crowding = np.exp(-(((anchors[:, None] - anchors) / 40) ** 2).sum(-1)).sum(1)
    for i in np.argsort(-crowding, kind="stable"):
        tries = anchors[i] + LABEL_OFFSETS + np.sign(LABEL_OFFSETS) * sizes[i] / 2
        half = sizes[i] / 2
        cost = np.linalg.norm(tries - anchors[i], axis=1)
        # weights of the costs: leaving the frame or covering a label is nearly forbidden
        cost += 1000 * ((tries - half < frame[0]) | (tries + half > frame[1])).any(1)
        # covering points is worse than a long line
        cost += 60 * count_near(tries, obstacles, half + 3)
        if done:
            ends, starts = centres[done], anchors[done]
            cost += 1000 * count_near(tries, ends, half + sizes[done] / 2 + 1.5)
            cost += 40 * lines_cross(anchors[i], tries[:, None], starts, ends).sum(1)
            # a line through a box crosses at least one of its diagonals
            for corner in ((0.5, 0.5), (0.5, -0.5)):
                mine, theirs = sizes[i] * corner, sizes[done] * corner
                low, high = tries[:, None] - mine, tries[:, None] + mine
                crossed = lines_cross(anchors[i], tries[:, None], ends - theirs, ends + theirs)
                cost += 30 * crossed.sum(1)
                cost += 30 * lines_cross(starts, ends, low, high).sum(1)
        centres[i] = tries[np.argmin(cost)]
        done.append(i)
    return centres


def count_near(places: np.ndarray, others: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """How many of others [M, 2] are within `reach` ([2] or [M, 2]) of each point [C, 2]: [C]."""
    across, along = (
        np.abs(places[:, None, axis] - others[:, axis]) < reach[..., axis] for axis in (0, 1)
    )
    return (across & along).sum(1)


def lines_cross(
    start: np.ndarray, end: np.ndarray, other: np.ndarray, other_end: np.ndarray
) -> np.ndarray:
    """Whether two line segments cross; their ends [..., 2] broadcast."""

    def sides(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
        """Negative where c and d lie on different sides of a -> b."""
        along, to_c, to_d = b - a, c - a, d - a
        left = along[..., 0] * to_c[..., 1] - along[..., 1] * to_c[..., 0]
        return left * (along[..., 0] * to_d[..., 1] - along[..., 1] * to_d[..., 0])

    return (sides(start, end, other, other_end) < 0) & (sides(other, other_end, start, end) < 0)


def push_apart(places: np.ndarray, obstacles: np.ndarray) -> np.ndarray:
    """Move points [G, 2] in small steps until they are 18 apart, and 13 from obstacles [N, 2]."""
    # identical points need different directions to move in
    places = places + 0.01 * np.arange(len(places))[:, None]
    gaps = np.concatenate([np.full(len(places), 18.0), np.full(len(obstacles), 13.0)])
    for _ in range(200):
        # repelled from each other and from the points
        apart = places[:, None] - np.concatenate([places, obstacles])
        # a distance of 0 has no direction
        distance = np.hypot(apart[..., 0], apart[..., 1]) + 1e-9
        overlap = np.clip(gaps - distance, 0, None)[..., None]
        # a small step, so that the discs do not swing
        places = places + 0.2 * (apart / distance[..., None] * overlap).sum(1)
    return places
