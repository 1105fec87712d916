"""Binary images: sampling, reading, errors for bad files, and the densities of both models."""

import gzip
import itertools
import struct
from io import BytesIO
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from conftest import composed, folder_of, summary
from PIL import Image
from schemas import DigitsConfig, ImageMLPConfig, ImagePixelCNNConfig, MnistConfig, OmniglotConfig
from scipy.io import savemat
from scipy.stats import bernoulli

from uncollapse import report
from uncollapse.building import trial_size
from uncollapse.data.images import ImageBatch, ImageData, bernoulli_nll, draw_binary
from uncollapse.decoders import Options
from uncollapse.errors import InputError
from uncollapse.evaluation import command as evaluate
from uncollapse.posteriors.gaussian import Gaussian
from uncollapse.run import run

# ---------------------------------------------------------------- sampling pixels


def test_pixel_is_one_with_probability_of_its_intensity() -> None:
    grey = np.tile(np.array([0, 1, 5, 15, 16], np.uint8), (40_000, 1))
    share = draw_binary(grey, 16, (1,)).mean(0)
    assert share[0] == 0 and share[-1] == 1
    np.testing.assert_allclose(share, np.array([0, 1, 5, 15, 16]) / 16, atol=4.5 * 0.5 / 200)


def test_dynamic_images_depend_on_epoch_and_fixed_ones_never_change() -> None:
    dynamic, fixed = DigitsConfig().load(), DigitsConfig(binarise="fixed").load()
    some = np.array([3, 1, 700])

    def x(data: ImageData, split: str, epoch: int, examples: np.ndarray = some) -> torch.Tensor:
        return data.batch(split, examples, epoch).x

    assert not torch.equal(x(dynamic, "train", 0), x(dynamic, "train", 1))
    again = DigitsConfig().load()
    assert torch.equal(
        x(dynamic, "train", 1), x(again, "train", 1)
    )  # independent of what was read before
    # independent of the rest of the batch
    assert torch.equal(x(dynamic, "train", 1)[1], x(dynamic, "train", 1, np.array([1]))[0])
    assert torch.equal(x(fixed, "train", 0), x(fixed, "train", 7))
    for split in ("valid", "test"):
        held = np.arange(20)
        assert torch.equal(x(dynamic, split, 0, held), x(dynamic, split, 5, held))
        assert torch.equal(x(dynamic, split, 0, held), x(fixed, split, 0, held))
    assert set(x(dynamic, "train", 0).unique().tolist()) == {0.0, 1.0}


def test_digits_are_split_once_and_labelled() -> None:
    data = DigitsConfig(train=1000, valid=300, test=497).load()
    assert [data.size(split) for split in ("train", "valid", "test")] == [
        1000,
        300,
        497,
    ] and data.inputs == 64
    together = np.concatenate([data.grey[split] for split in ("train", "valid", "test")])
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    assert sorted(map(bytes, together)) == sorted(map(bytes, images.astype(np.uint8)))
    of_image = {
        bytes(image): label for image, label in zip(images.astype(np.uint8), classes, strict=True)
    }
    assert [of_image[bytes(image)] for image in data.grey["test"]] == data.labels["test"][
        "digit"
    ].tolist()
    assert data.facts()["classes"] == {"digit": 10} and data.facts()["binarise"] == "dynamic"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"binarise": "random"}, "data.binarise=random: allowed are dynamic, fixed"),
        ({"batch_size": 0}, "data.batch_size=0: "),
        ({"train": 0}, "data.train=0: "),
        (
            {"train": 1700},
            "data.train=1700 data.valid=300 data.test=300: there are 1797 digits in all",
        ),
        ({"data_seed": -1}, "data.data_seed=-1: "),
    ],
)
def test_bad_digit_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        DigitsConfig(**options).load()


# ---------------------------------------------------------------- files


def write_idx(path: Path, array: np.ndarray, magic: int | None = None) -> None:
    found = magic or (2051 if array.ndim == 3 else 2049)
    content = (
        struct.pack(f">{1 + array.ndim}I", found, *array.shape) + array.astype(np.uint8).tobytes()
    )
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def mnist_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "train-images-idx3-ubyte": rng.integers(0, 256, (60, 6, 6)),
        "train-labels-idx1-ubyte": rng.integers(0, 10, 60),
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (20, 6, 6)),
        "t10k-labels-idx1-ubyte": rng.integers(0, 10, 20),
    }


@pytest.mark.parametrize("spelling", ["{}", "{}.gz", "dotted"])
def test_mnist_is_read_from_idx_files_under_any_name(
    spelling: str, mnist_arrays: dict, tmp_path: Path
) -> None:
    for name, array in mnist_arrays.items():
        write_idx(
            tmp_path
            / (name.replace("-idx", ".idx") if spelling == "dotted" else spelling.format(name)),
            array,
        )
    data = MnistConfig(dir=str(tmp_path)).load()
    pixels, labels = (
        mnist_arrays["train-images-idx3-ubyte"].reshape(60, 36),
        mnist_arrays["train-labels-idx1-ubyte"],
    )
    # the last sixth of the images is the validation split
    np.testing.assert_array_equal(data.grey["train"], pixels[:50])
    np.testing.assert_array_equal(data.grey["valid"], pixels[50:])
    np.testing.assert_array_equal(
        data.grey["test"], mnist_arrays["t10k-images-idx3-ubyte"].reshape(20, 36)
    )
    np.testing.assert_array_equal(data.labels["valid"]["digit"], labels[50:])
    few = MnistConfig(dir=str(tmp_path), train=7, test=3).load()
    assert [few.size(split) for split in ("train", "valid", "test")] == [7, 10, 3]
    np.testing.assert_array_equal(few.labels["train"]["digit"], labels[:7])
    with pytest.raises(InputError, match=r"^data.train=51: the train split has 50 images$"):
        MnistConfig(dir=str(tmp_path), train=51).load()


def test_bad_idx_files_give_one_sentence(mnist_arrays: dict, tmp_path: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(InputError, match=message) as error:
            MnistConfig(dir=str(tmp_path)).load()
        assert "\n" not in str(error.value)

    refused(
        r"data.dir=.*: no train-images-idx3-ubyte; looked for .*idx3-ubyte.gz.*; leave data.dir out"
    )
    for name, array in mnist_arrays.items():
        write_idx(tmp_path / name, array)
    images = tmp_path / "train-images-idx3-ubyte"
    full = images.read_bytes()
    images.write_bytes(full[:-5])
    refused(
        r"idx3-ubyte: 2,171 bytes, but its header says 60 x 6 x 6, which is "
        r"2,176; the file is truncated"
    )
    images.write_bytes(b"\x1f\x8b nothing")
    refused(r"idx3-ubyte: magic number \d+, but an idx file of images begins with 2051")
    images.write_bytes(b"")
    refused(r"idx3-ubyte: magic number 0, ")
    images.unlink()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(full)[:-9])
    refused(r"idx3-ubyte.gz: damaged or truncated .gz file .*; fetch it again")
    (tmp_path / "train-images-idx3-ubyte.gz").unlink()
    write_idx(images, mnist_arrays["train-images-idx3-ubyte"][:, :5])
    refused(r"idx3-ubyte: images of 5 x 6; allowed are square grey ones")
    write_idx(images, mnist_arrays["train-images-idx3-ubyte"][:59])
    refused(r"train-labels-idx1-ubyte: 60 labels for the 59 images of .*train-images")
    with pytest.raises(
        InputError,
        match=(
            r"^data.dir=/no/where: no such folder; give one that holds the "
            r"four idx files, or leave"
        ),
    ):
        MnistConfig(dir="/no/where").load()


def test_omniglot_is_read_from_npz_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        f"{split}_images": rng.integers(0, 256, (n, 6, 6), np.uint8)
        for split, n in (("train", 60), ("test", 20))
    }
    arrays |= {f"{split}_alphabet": np.arange(n) % 5 for split, n in (("train", 60), ("test", 20))}
    np.savez(tmp_path / "omniglot.npz", **arrays)
    data = OmniglotConfig(dir=str(tmp_path)).load()
    assert [data.size(split) for split in ("train", "valid", "test")] == [50, 10, 20]
    of_image = {
        bytes(i): a for i, a in zip(arrays["train_images"], arrays["train_alphabet"], strict=True)
    }
    for split in ("train", "valid"):
        for image, alphabet in zip(data.grey[split], data.labels[split]["alphabet"], strict=True):
            assert of_image.pop(bytes(image)) == alphabet
    assert not of_image  # every image is in one split

    def refused(message: str, **changed: np.ndarray | None) -> None:
        kept = {name: array for name, array in {**arrays, **changed}.items() if array is not None}
        np.savez(tmp_path / "omniglot.npz", **kept)
        with pytest.raises(InputError, match=message):
            OmniglotConfig(dir=str(tmp_path)).load()

    refused("no array test_images; it has train_images, ", test_images=None)
    refused("train_images holds float64; allowed is uint8", train_images=np.zeros((60, 6, 6)))
    refused("59 entries in train_alphabet for 60 images", train_alphabet=np.zeros(59))
    refused("training and test images differ in size", test_images=np.zeros((20, 5, 5), np.uint8))
    refused("images of 6 x 5", train_images=np.zeros((60, 6, 5), np.uint8))
    (tmp_path / "omniglot.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(InputError, match=r"omniglot.npz: damaged, or not a file of its kind"):
        OmniglotConfig(dir=str(tmp_path)).load()
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(InputError, match=r"2 .npz files; allowed is chardata.mat or exactly one"):
        OmniglotConfig(dir=str(tmp_path)).load()


def test_omniglot_mat_file_is_read_upright(tmp_path: Path) -> None:
    picture = np.zeros((12, 12))
    picture[2, 5:9] = 1.0  # one row of ink pixels
    columns = picture.T.reshape(-1, 1)  # column after column
    arrays = {"data": np.tile(columns, 12), "testdata": np.tile(columns, 4)}
    arrays |= {"target": np.eye(50)[:, :12], "testtarget": np.eye(50)[:, :4]}
    savemat(tmp_path / "chardata.mat", arrays)
    data = OmniglotConfig(dir=str(tmp_path)).load()
    np.testing.assert_array_equal(data.grey["train"][0].reshape(12, 12), 255 * picture)
    assert sorted([*data.labels["train"]["alphabet"], *data.labels["valid"]["alphabet"]]) == list(
        range(12)
    )


# ---------------- the hub's format, from a local folder


def png(array: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(array.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_hub(folder: Path, images: dict[str, list[np.ndarray]], label: str = "label") -> Path:
    """Parquet files in the hub's format, with splits named in the card.

    `image` is a struct of bytes and path, `label` an integer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for split, arrays in images.items():
        columns = {"image": [{"bytes": png(a), "path": f"{i}.png"} for i, a in enumerate(arrays)]}
        features = datasets.Features({"image": datasets.Image(), label: datasets.Value("int64")})
        table = datasets.Dataset.from_dict(
            {**columns, label: [i % 10 for i in range(len(arrays))]}, features=features
        )
        table.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    parts = "".join(f"  - split: {split}\n    path: {split}-*\n" for split in images)
    (folder / "README.md").write_text(
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{parts}---\n"
    )
    return folder


def test_mnist_is_read_from_hub_parquet_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mnist_arrays = {
        split: list(rng.integers(0, 256, (n, 28, 28), np.uint8))
        for split, n in (("train", 12), ("test", 3))
    }
    data = MnistConfig(hub=str(write_hub(tmp_path / "mnist", mnist_arrays)), revision=None).load()
    np.testing.assert_array_equal(
        data.grey["train"], np.stack(mnist_arrays["train"][:10]).reshape(10, -1)
    )
    np.testing.assert_array_equal(data.grey["test"], np.stack(mnist_arrays["test"]).reshape(3, -1))
    assert data.labels["valid"]["digit"].tolist() == [0, 1]


def test_hub_omniglot_is_inverted_and_downsampled(tmp_path: Path) -> None:
    page = np.full((56, 56), 255)
    page[:, :2] = 0  # a dark line, two pixels of 56 wide
    data = OmniglotConfig(
        hub=str(write_hub(tmp_path / "omniglot", {"full": [page] * 16})), revision=None
    ).load()
    assert [data.size(split) for split in ("train", "valid", "test")] == [10, 2, 4]
    upright = data.grey["train"][0].reshape(28, 28)
    assert (upright[:, 0] == 255).all() and not upright[:, 1:].any()


def test_bad_hub_data_sets_give_one_sentence(tmp_path: Path) -> None:
    square, other = np.zeros((8, 8)), np.zeros((9, 9))

    def refused(message: str, config: type = MnistConfig, revision: str | None = None) -> None:
        with pytest.raises(InputError, match=message) as error:
            config(hub=str(folder), revision=revision).load()
        assert "\n" not in str(error.value)

    folder = write_hub(
        tmp_path / "columns", {"train": [square] * 12, "test": [square]}, label="digit"
    )
    refused("no column label; it has image, digit")
    folder = write_hub(tmp_path / "parts", {"train": [square] * 12})
    refused("no test split; it has train")
    refused("no full split; it has train", OmniglotConfig)
    folder = write_hub(tmp_path / "sizes", {"train": [square, square, other], "test": [square]})
    refused("train split, image 2: 9 x 9 pixels, the first has 8 x 8; allowed is one size")
    folder = write_hub(tmp_path / "oblong", {"train": [np.zeros((8, 9))] * 12, "test": [square]})
    refused("train split, image 0: 9 x 8 pixels; allowed are square images")
    folder = tmp_path / "nobody" / "nothing"
    refused("data.revision=null: .* may change on the hub; give a revision")
    refused(
        (
            r"could not be loaded from the hub \(.*\); if you have the files, "
            r"give data=mnist data.dir=FOLDER"
        ),
        revision="main",
    )


# ---------------------------------------------------------------- the models


def posterior_of(inputs: int, latent: int) -> Gaussian:
    return Gaussian(inputs, latent)


def mlp(pixels: int = 9, **sizes: int):
    torch.manual_seed(0)
    return ImageMLPConfig(**{"hidden": 5, "latent": 2, **sizes}).build(pixels, posterior_of)


def pixelcnn(pixels: int = 9, decoder: Options | None = None, **sizes: int):
    torch.manual_seed(0)
    small = {"latent": 2, "hidden": 5, "channels": 4, "layers": 4, "kernel": 3, "z_channels": 2}
    return ImagePixelCNNConfig(**{**small, **sizes}).build(pixels, posterior_of, decoder)


def batch_of(x: torch.Tensor) -> ImageBatch:
    return ImageBatch(x, np.arange(len(x)))


def all_images(pixels: int) -> ImageBatch:
    return batch_of(torch.tensor(list(itertools.product([0.0, 1.0], repeat=pixels))))


def test_pixel_densities_are_bernoulli() -> None:
    x, logits = torch.tensor([[0.0, 1.0, 1.0]]), torch.tensor([[0.3, -2.0, 40.0]])
    by_scipy = -bernoulli.logpmf([0, 1, 1], 1 / (1 + np.exp(-logits[0].double().numpy()))).sum()
    np.testing.assert_allclose(bernoulli_nll(x, logits), [by_scipy], rtol=1e-5)
    np.testing.assert_allclose(batch_of(x).bag_nll(logits), [by_scipy], rtol=1e-5)
    assert bernoulli_nll(x, logits.expand(4, 1, 3)).shape == (4, 1)


@pytest.mark.parametrize("make", [mlp, pixelcnn])
@torch.no_grad()
def test_image_probabilities_sum_to_one(make) -> None:
    """For the PixelCNN this holds only if no pixel sees itself or those after it."""
    model, everything = make(), all_images(9)
    for parameter in model.parameters():
        parameter.mul_(3)  # untrained outputs hardly depend on anything
    z = 2 * torch.randn(3, 1, 2)
    total = torch.exp(-model.nll(everything, z.expand(3, 512, 2)).double()).sum(1)
    np.testing.assert_allclose(total, np.ones(3), rtol=1e-5)


@torch.no_grad()
def test_pixelcnn_pixel_depends_on_every_earlier_pixel() -> None:
    model, side = pixelcnn(25, layers=6), 5
    x = (torch.rand(1, side**2) < 0.5).float()
    z = torch.zeros(1, 2)

    def logit_of_last(x: torch.Tensor) -> float:
        ends = [torch.cat([x[:, :-1], torch.full((1, 1), value)], 1) for value in (0.0, 1.0)]
        return float(model.nll(batch_of(ends[0]), z) - model.nll(batch_of(ends[1]), z))

    before = logit_of_last(x)
    for pixel in range(side**2 - 1):
        flipped = x.clone()
        flipped[:, pixel] = 1 - flipped[:, pixel]
        assert logit_of_last(flipped) != before, pixel


@pytest.mark.parametrize("make", [mlp, pixelcnn])
@torch.no_grad()
def test_many_codes_at_once_equal_one_at_a_time(make) -> None:
    model, batch = make(), batch_of((torch.rand(6, 9) < 0.5).float())
    z = torch.randn(4, 6, 2)
    together = model.nll(batch, z)
    assert together.shape == (4, 6)
    for k in range(4):
        np.testing.assert_allclose(model.nll(batch, z[k]), together[k], rtol=1e-5)
    assert not torch.allclose(together[0], together[1])


@torch.no_grad()
def test_pixels_are_hidden_in_training_only() -> None:
    model, plain = pixelcnn(decoder=Options(word_dropout=1.0)), pixelcnn()
    batch, z = all_images(9), torch.zeros(512, 2)
    assert torch.equal(model.eval().nll(batch, z), plain.eval().nll(batch, z))
    hidden, seen = model.train().nll(batch, z), plain.train().nll(batch, z)
    assert not torch.allclose(hidden, seen)
    # with everything hidden, pixels are independent given z: changing one changes log p by the same
    # amount in every image
    by_image = hidden.view(2, -1)
    np.testing.assert_allclose(
        by_image[1] - by_image[0], (by_image[1] - by_image[0])[:1].expand(256), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mlp(hidden=0), r"model.hidden=0: "),
        (lambda: mlp(latent=0), r"model.latent=0: "),
        (
            lambda: ImageMLPConfig().build(9, posterior_of, Options(0.4)),
            r"word_dropout=0.4: .*; use model=image_pixelcnn",
        ),
        (lambda: pixelcnn(kernel=4), r"model.kernel=4: allowed are odd numbers"),
        (lambda: pixelcnn(layers=0), r"model.layers=0: "),
        (lambda: pixelcnn(10), r"10 pixels an image: .* square"),
    ],
)
def test_bad_sizes_are_refused(make, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        make()


def test_default_trainer_suits_every_kind_of_data() -> None:
    for latent in (1, 16, 64, 65, 70, 100, 1000):
        size = trial_size(latent)
        assert size >= max(64, latent) and int(size**0.5) ** 2 == size
    with pytest.raises(InputError, match=r"^model.latent=0: "):
        trial_size(0)


# ---------------------------------------------------------------- from end to end


@pytest.mark.slow
def test_digit_sweep_is_evaluated_and_reported(tmp_path: Path) -> None:
    small = [
        "data=digits",
        "data.train=200",
        "data.valid=50",
        "data.test=60",
        "model=image_mlp",
        "model.hidden=16",
    ]
    for head in ("plain", "bn_tau"):
        words = [*small, "model.latent=3", "trainer.epochs=3"]
        run(composed(f"head={head}", f"results={tmp_path}", *words), head, words)
    assert evaluate.main([str(tmp_path / "scratch"), "--samples", "20", "--labels", "50,200"]) == 0
    assert report.main([str(tmp_path / "scratch")]) == 0
    found = summary(folder_of(tmp_path, "bn_tau"))
    assert found["nll"] < found["nelbo"] and "ppl" not in found and "nll_ppl" not in found
    assert set(found["probe_curves"]["factors"]) == {"digit"} and 0 < found["probe"] < 1
    page = (tmp_path / "scratch" / "report" / "index.html").read_text()
    assert (
        "digit" in page
        and (tmp_path / "scratch" / "report" / "figures" / "probe.pdf").stat().st_size > 0
    )
