"""The interfaces of data, batches and data sections."""

from dataclasses import dataclass

import numpy as np
import pytest

from uncollapse.data.corpus import TextBatch
from uncollapse.data.dialogue import DialogueBatch, DialogueConfig
from uncollapse.data.files import TextConfig
from uncollapse.data.image_files import MnistConfig, OmniglotConfig
from uncollapse.data.images import DigitsConfig, ImageBatch, ImageData
from uncollapse.data.text import TextData
from uncollapse.data.vectors import GaussianConfig, VectorBatch, VectorData
from uncollapse.errors import InputError
from uncollapse.interfaces.data import Batch, Data, DataConfig

CONFIGS = (DialogueConfig, TextConfig, MnistConfig, OmniglotConfig, DigitsConfig, GaussianConfig)


def test_every_data_class_derives_from_its_interface():
    assert all(issubclass(found, DataConfig) for found in CONFIGS)
    assert all(issubclass(found, Data) for found in (TextData, ImageData, VectorData))
    assert all(
        issubclass(found, Batch) for found in (TextBatch, DialogueBatch, ImageBatch, VectorBatch)
    )


def test_optional_attributes_have_defaults():
    data = ImageData({"train": np.zeros((3, 4), np.uint8)}, 16, 2)
    assert (data.entropy, data.best_accuracy, data.batching, data.listing()) == (
        None,
        None,
        "mixed",
        None,
    )
    assert not data.log_prob and not data.corpora
    batch = data.batch("train", np.arange(2))
    assert batch.lengths is None and batch.chars is None and batch.bytes is None


def test_misspelt_attribute_is_named():
    @dataclass
    class Mine(ImageData):
        best_acuracy: None = None

    with pytest.raises(InputError, match=r"Mine\.best_acuracy: .* best_accuracy"):
        Mine({"train": np.zeros((3, 4), np.uint8)}, 16, 2)


def test_missing_method_is_named():
    class Mine(DataConfig):
        kind = "text"

    with pytest.raises(TypeError, match="load"):
        Mine()  # type: ignore[abstract]
