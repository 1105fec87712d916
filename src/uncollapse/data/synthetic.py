"""The synthetic data of He et al. 2019 ("Lagging inference networks and posterior collapse").

z [2] comes from one of four Gaussians of unit variance around (+-2, +-2). A one-layer LSTM with
100 units and embeddings of 100 gets z at every word and starts from the cell A z and the state
tanh(A z); the logits of the next word are B h + C z. All parameters are uniform in (-1, 1), those
of C in (-3, 3). The first word is uniform. Nothing is trained. The recipe is the authors'; the
random numbers are not, so the sentences differ from those of their files.
"""

from collections.abc import Iterator, Mapping

import numpy as np

WORDS, LENGTH, LSTM_UNITS = 1000, 10, 100
CENTRES = np.array([[-2.0, -2.0], [2.0, 2.0], [-2.0, 2.0], [2.0, -2.0]])
SEQUENCES_AT_ONCE = 1000


def draw_splits(seed: int, sizes: Mapping[str, int]) -> Iterator[tuple[str, np.ndarray]]:
    """(split, sequences [N, 10] of word numbers below 1,000) for each split, N from `sizes`."""
    rng = np.random.default_rng(seed)
    weights = draw_parameters(rng)
    for split, size in sizes.items():
        z = CENTRES[rng.integers(len(CENTRES), size=size)] + rng.standard_normal((size, 2))
        # drawn before the sequences, so that the size of a chunk does not change them
        chance = rng.random((size, LENGTH))
        step = SEQUENCES_AT_ONCE
        chunks = [
            draw_sequences(weights, z[i : i + step], chance[i : i + step])
            for i in range(0, size, step)
        ]
        yield split, np.concatenate(chunks)


def draw_parameters(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The weights of the generator; gates in the order input, forget, cell, output."""
    shapes = {
        "embedding": (WORDS, LSTM_UNITS),
        "inputs": (LSTM_UNITS + 2, 4 * LSTM_UNITS),
        "recurrent": (LSTM_UNITS, 4 * LSTM_UNITS),
        "bias_in": (4 * LSTM_UNITS,),
        "bias_recurrent": (4 * LSTM_UNITS,),
        "start": (2, LSTM_UNITS),
        "out": (LSTM_UNITS, WORDS),
    }
    drawn = {name: rng.uniform(-1, 1, shape) for name, shape in shapes.items()}
    return {**drawn, "out_z": rng.uniform(-3, 3, (2, WORDS))}


def draw_sequences(weights: dict[str, np.ndarray], z: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Words [n, 10] for z [n, 2], by inverse transform of the uniform `chance` [n, 10]."""
    cell = z @ weights["start"]
    state = np.tanh(cell)
    # the first word is uniform over the vocabulary
    word = (chance[:, 0] * WORDS).astype(int)
    words = [word]
    for column in chance[:, 1:].T:
        inputs = (
            np.concatenate([weights["embedding"][word], z], 1) @ weights["inputs"]
            + weights["bias_in"]
        )
        gates = inputs + state @ weights["recurrent"] + weights["bias_recurrent"]
        admit, forget, new, out = np.split(gates, 4, axis=1)
        cell = gate(forget) * cell + gate(admit) * np.tanh(new)
        state = gate(out) * np.tanh(cell)
        logits = state @ weights["out"] + z @ weights["out_z"]
        # the number of words whose cumulative probability is below the uniform number
        # the softmax without its denominator, by which the uniform number is multiplied instead
        up_to = np.cumsum(np.exp(logits - logits.max(1, keepdims=True)), 1)
        word = (up_to < column[:, None] * up_to[:, -1:]).sum(1)
        words.append(word)
    return np.stack(words, 1)


def gate(x: np.ndarray) -> np.ndarray:
    """The value in (0, 1) of an LSTM gate: 1 / (1 + exp(-x)), in a form that does not overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))
