"""The synthetic data of He et al. 2019 ("Lagging inference networks and posterior collapse"), drawn anew by their recipe.

z [2] comes from one of four Gaussians of unit variance around (+-2, +-2). A one-layer LSTM with 100 units and embeddings of 100 is told z
at every word and starts from the cell A z and the state tanh(A z); the next word's logits are B h + C z. All parameters are uniform in
(-1, 1), those of C in (-3, 3). The first word is uniform. Nothing is trained; what differs from the authors' file are the random numbers.
"""

from collections.abc import Iterator

import numpy as np

WORDS, LENGTH, UNITS = 1000, 10, 100
SIZES = {"train": 16_000, "valid": 2_000, "test": 2_000}
CENTRES = np.array([[-2.0, -2.0], [2.0, 2.0], [-2.0, 2.0], [2.0, -2.0]])
CHUNK = 1000


def draw(seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """(split, sequences [N, 10] of word numbers below 1,000) for train, valid and test."""
    rng = np.random.default_rng(seed)
    weights = parameters(rng)
    for split, size in SIZES.items():
        z = CENTRES[rng.integers(len(CENTRES), size=size)] + rng.standard_normal((size, 2))
        chance = rng.random((size, LENGTH))
        parts = [
            sequences(weights, z[i : i + CHUNK], chance[i : i + CHUNK])
            for i in range(0, size, CHUNK)
        ]
        yield split, np.concatenate(parts)


def parameters(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The weights of the generator; gates stand in the order input, forget, cell, output."""
    shapes = {
        "embedding": (WORDS, UNITS),
        "inputs": (UNITS + 2, 4 * UNITS),
        "recurrent": (UNITS, 4 * UNITS),
        "bias_in": (4 * UNITS,),
        "bias_recurrent": (4 * UNITS,),
        "start": (2, UNITS),
        "out": (UNITS, WORDS),
    }
    drawn = {name: rng.uniform(-1, 1, shape) for name, shape in shapes.items()}
    return {**drawn, "out_z": rng.uniform(-3, 3, (2, WORDS))}


def sequences(weights: dict[str, np.ndarray], z: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Words [n, 10] for z [n, 2] by inverting the distribution function at chance [n, 10], uniform in (0, 1)."""
    cell = z @ weights["start"]
    state = np.tanh(cell)
    word = (chance[:, 0] * WORDS).astype(int)
    found = [word]
    for column in chance[:, 1:].T:
        inputs = (
            np.concatenate([weights["embedding"][word], z], 1) @ weights["inputs"]
            + weights["bias_in"]
        )
        gates = inputs + state @ weights["recurrent"] + weights["bias_recurrent"]
        let_in, forget, new, out = np.split(gates, 4, axis=1)
        cell = logistic(forget) * cell + logistic(let_in) * np.tanh(new)
        state = logistic(out) * np.tanh(cell)
        logits = state @ weights["out"] + z @ weights["out_z"]
        up_to = np.cumsum(np.exp(logits - logits.max(1, keepdims=True)), 1)
        word = (up_to < column[:, None] * up_to[:, -1:]).sum(1)
        found.append(word)
    return np.stack(found, 1)


def logistic(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))
