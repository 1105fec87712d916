"""data=image_folder: folders of PNG and JPEG files, their classes, and what is refused."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from conftest import folder_of, typed
from PIL import Image
from schemas import ImageFolderConfig

import uncollapse
from uncollapse.data import SPLITS
from uncollapse.data.images import ImageData
from uncollapse.data.shares import draw_rows
from uncollapse.errors import InputError
from uncollapse.evaluation import command as evaluate
from uncollapse.run import run

RNG = np.random.default_rng(0)
SHARES = [0.5, 0.25, 0.25]
GREY = ("data.binarise=none", "model.likelihood=discretised_logistic")


def write_image(path: Path, pixels: np.ndarray, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels.astype(np.uint8))
    (image.convert(mode) if mode else image).save(path)


def write_folder(
    folder: Path, count: int = 24, shape: tuple[int, ...] = (4, 6, 3), classes: int = 0
) -> np.ndarray:
    """`count` images, in turn in `classes` sub-folders; their pixels, in the order of the names."""
    x = RNG.integers(0, 256, (count, *shape))
    for i, image in enumerate(x):
        place = folder / f"c{i * classes // count}" if classes else folder
        write_image(place / f"{i:03}.png", image)
    return x


def read(folder: Path, **options: object) -> ImageData:
    data = ImageFolderConfig(**{"dir": str(folder), "split": SHARES, **options}).load()
    assert isinstance(data, ImageData)
    return data


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("shape", [(4, 6, 3), (6, 4), (5, 5)])
def test_folder_is_divided_and_read_pixel_by_pixel(shape: tuple[int, ...], tmp_path: Path) -> None:
    x = write_folder(tmp_path / "all", shape=shape, classes=3)
    data = read(tmp_path / "all")
    assert data.inputs == np.prod(shape) and data.inputs.shape == shape
    assert [data.size(split) for split in SPLITS] == [12, 6, 6]
    for split, numbers in draw_rows(24, SHARES, 0).items():
        numbers = np.sort(numbers)
        np.testing.assert_array_equal(data.grey[split], x[numbers].reshape(len(numbers), -1))
        assert data.labels[split]["class"].tolist() == (numbers // 8).tolist()
    facts = data.facts()
    assert facts["divided"] == {"folder": "all", "split": SHARES, "split_seed": 0}
    assert facts["shape"] == list(shape) and facts["classes"] == {"class": 3}
    assert read(tmp_path / "all", split_seed=1).content != data.content
    (tmp_path / "all").rename(tmp_path / "moved")
    assert read(tmp_path / "moved").content == data.content


def test_folder_of_splits_has_their_usual_names(tmp_path: Path) -> None:
    found = {
        split: write_folder(tmp_path / name, 4 + number, (3, 3))
        for number, (split, name) in enumerate(zip(SPLITS, ("train", "val", "test"), strict=True))
    }
    (tmp_path / "train" / "LICENCE.txt").write_text("free")
    (tmp_path / "train" / ".hidden.png").write_text("no image")
    data = read(tmp_path)
    for split, x in found.items():
        np.testing.assert_array_equal(data.grey[split], x.reshape(len(x), -1))
    assert not data.labels and "divided" not in data.facts()


def test_jpeg_palette_one_bit_and_opaque_files_are_read(tmp_path: Path) -> None:
    flat = np.full((8, 8, 3), (204, 102, 51))
    write_image(tmp_path / "a.JPEG", flat)
    write_image(tmp_path / "b.png", flat, "P")
    write_image(tmp_path / "c.png", flat, "RGBA")
    write_image(tmp_path / "d.jpg", flat)
    data = read(tmp_path)
    together = np.concatenate([data.grey[split] for split in SPLITS]).reshape(4, 8, 8, 3)
    assert data.inputs.shape == (8, 8, 3) and np.abs(together - flat.astype(int)).max() <= 8
    grey = read(tmp_path, colour="grey")
    assert grey.inputs.shape == (8, 8)
    bits = RNG.integers(0, 2, (8, 8)) * 255
    for name in "abcd":
        write_image(tmp_path / "bits" / f"{name}.png", bits, "1")
    np.testing.assert_array_equal(read(tmp_path / "bits").grey["test"][0], bits.reshape(-1))


def test_values_are_drawn_or_kept(tmp_path: Path) -> None:
    x = write_folder(tmp_path)
    examples = np.arange(12)
    kept = read(tmp_path, binarise="none").batch("train", examples)
    numbers = np.sort(draw_rows(24, SHARES, 0)["train"])
    np.testing.assert_allclose(kept.x, x[numbers].reshape(12, -1) / 255, rtol=1e-6)
    drawn = read(tmp_path)
    first, second = (drawn.batch("train", examples, epoch).x for epoch in (0, 1))
    assert set(first.unique().tolist()) == {0.0, 1.0} and (first != second).any()
    assert drawn.batch("train", examples).binary and not kept.binary
    # the mean of a Gaussian of variance 1, where values are no bits
    assert float(kept.bag_nll(kept.x)[0]) == pytest.approx(72 * 0.5 * np.log(2 * np.pi))


# ---------------------------------------------------------------- training


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((4, 6, 3), ("model=image_mlp",)),
        ((5, 3), ("model=image_mlp", *GREY)),
        ((4, 6, 3), ("model=image_pixelcnn", "model.channels=4", "model.layers=2")),
    ],
)  # fmt: skip
def test_run_trains_and_writes_images(
    shape: tuple[int, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    x = write_folder(tmp_path / "images", shape=shape, classes=2) / 255
    words = ("data=image_folder", f"data.dir={tmp_path / 'images'}", *words)
    words += ("data.split=[0.5,0.25,0.25]", "data.batch_size=8", "trainer.epochs=1")
    words += ("model.hidden=6", "model.latent=2")
    cfg = typed("head=plain", *words)
    cfg.results = str(tmp_path)
    assert run(cfg, "plain", list(words)) == "done"
    folder = folder_of(tmp_path, "plain")
    facts = json.loads((folder / "data.json").read_text())
    assert facts["shape"] == list(shape) and facts["pixels"] == np.prod(shape)
    found = uncollapse.load(folder)
    made = found.sample(3)
    assert made.shape == (3, *shape) and ((made >= 0) & (made <= 1)).all()
    given = x.round() if "data.binarise=none" not in words else x
    assert found.reconstruct(given[:2]).shape == (2, *shape)
    flat = found.encode(given.reshape(24, -1)).mean
    np.testing.assert_array_equal(found.encode(given).mean, flat)
    with pytest.raises(InputError, match=rf"takes images \[N, {shape[0]}, {shape[1]}"):
        found.encode(np.zeros((2, 9, 9)))
    assert evaluate.main([str(tmp_path / "scratch"), "--metrics", "samples"]) == 0
    grid = Image.open(BytesIO((folder / "samples/prior.png").read_bytes()))
    factor = 56 // max(shape[:2])
    size = tuple(factor * side + 4 for side in shape[:2])
    assert (grid.height, grid.width) == (12 * size[0], 2 * size[1])
    assert grid.mode == ("RGB" if len(shape) == 3 else "L")


def test_reconstructions_show_the_colours_of_the_files(tmp_path: Path) -> None:
    """The first column has the images themselves: white stays white."""
    for i in range(24):
        write_image(tmp_path / "images" / f"{i}.png", np.full((4, 4, 3), (255, 255, 0)))
    words = ["data=image_folder", f"data.dir={tmp_path / 'images'}", "model=image_mlp"]
    words += ["trainer.epochs=1", "model.hidden=4", "model.latent=2"]
    cfg = typed("head=plain", *words)
    cfg.results = str(tmp_path)
    run(cfg, "plain", words)
    assert evaluate.main([str(tmp_path / "scratch"), "--metrics", "samples"]) == 0
    content = (folder_of(tmp_path, "plain") / "samples/reconstructions.png").read_bytes()
    assert Image.open(BytesIO(content)).getpixel((10, 10)) == (255, 255, 0)


# ---------------------------------------------------------------- bad input


def refused(reason: str, folder: Path, **options: object) -> None:
    with pytest.raises(InputError, match=reason) as error:
        read(folder, **options)
    assert "\n" not in str(error.value)


def test_image_that_differs_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path)
    write_image(tmp_path / "other.png", np.zeros((6, 4, 3)))
    refused(r"other.png: 6 x 4 pixels \(height x width\), where most images have 4 x 6", tmp_path)
    write_image(tmp_path / "other.png", np.zeros((4, 6)))
    refused(r"other.png: this image is grey, and most are rgb; data.colour=grey", tmp_path)
    assert read(tmp_path, colour="rgb").inputs.shape == (4, 6, 3)
    clear = np.zeros((4, 6, 4))
    write_image(tmp_path / "other.png", clear)
    refused("other.png: transparent in places", tmp_path)
    Image.fromarray(np.zeros((4, 6), np.uint16)).save(tmp_path / "other.png")
    refused("other.png: pixels of the kind I;16; allowed are 8-bit grey and RGB", tmp_path)
    (tmp_path / "other.png").write_bytes((tmp_path / "000.png").read_bytes()[:60])
    refused("other.png: not a PNG or JPEG image, or damaged", tmp_path)
    (tmp_path / "other.png").write_text("text")
    refused("other.png: not a PNG or JPEG image, or damaged", tmp_path)
    (tmp_path / "other.png").rename(tmp_path / "other.webp")
    refused("other.webp: allowed are files that end with .png, .jpg, .jpeg", tmp_path)


def test_bad_folder_is_refused(tmp_path: Path) -> None:
    refused("data.dir=.*nowhere: no such folder", tmp_path / "nowhere")
    refused("no image in it; looked for .png, .jpg, .jpeg", tmp_path)
    with pytest.raises(InputError, match=r"give data\.dir=FOLDER"):
        ImageFolderConfig().load()
    write_folder(tmp_path / "train", classes=2)
    refused("must have one called valid or validation or dev or val; there is none", tmp_path)
    write_folder(tmp_path / "valid", classes=2)
    write_folder(tmp_path / "test", 4)
    refused("the test split has no sub-folders, which are classes", tmp_path)
    write_folder(tmp_path / "test", 4, classes=1)
    refused(r"000.png: it is beside sub-folders, which are classes", tmp_path)
    for path in (tmp_path / "test").glob("*.png"):
        path.unlink()
    assert read(tmp_path).size("test") == 4
    (tmp_path / "test/c0").rename(tmp_path / "test/new")
    refused("the test split has the class new, which no image of the train split has", tmp_path)
    refused(r"data.split=\[0.5, 0.6, 0.1\]: the shares", tmp_path, split=[0.5, 0.6, 0.1])
    refused("data.colour=red: allowed are auto, grey, rgb", tmp_path, colour="red")
    refused("data.binarise=no: .*allowed are dynamic, fixed, none", tmp_path, binarise="no")
    refused("3 examples leave a split empty", few(tmp_path / "few"), split=[0.8, 0.1, 0.1])


def few(folder: Path) -> Path:
    write_folder(folder, 3)
    return folder
