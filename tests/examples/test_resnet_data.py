"""The images of the training jobs: where they come from, their augmentation, and how ranks share them."""

import numpy as np
import pytest

from tests.examples.resnet import augmentation
from tests.examples.resnet.data import Loader, Samples, training_keys, validation_keys
from tests.examples.resnet.sources import open_sets

# Images.


@pytest.fixture
def npz(tmp_path):
    random = np.random.default_rng(0)
    path = tmp_path / "images.npz"
    np.savez(
        path,
        x_train=random.integers(256, size=(40, 32, 32, 3), dtype=np.uint8),
        y_train=random.integers(5, size=(40, 1)),
        x_test=random.integers(256, size=(10, 32, 32, 3), dtype=np.uint8),
        y_test=np.full((10, 1), 6),
    )
    return path


@pytest.fixture
def folder(tmp_path):
    """Images of one colour for each class, of different sizes and formats."""
    image = pytest.importorskip("PIL.Image")
    for part, count in (("train", 3), ("val", 2)):
        for name, colour in (("cat", (200, 0, 0)), ("dog", (0, 0, 200))):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                made = image.new("RGB", (40 + 10 * i, 50), colour)
                made.save(tmp_path / part / name / f"{i}.{'png' if i else 'JPEG'}")
            (tmp_path / part / name / "notes.txt").write_text("no image")
    return tmp_path


def test_digits_are_shared_out_into_a_training_and_a_validation_set():
    pytest.importorskip("sklearn")
    sets = open_sets("digits")
    assert (len(sets.train.labels), len(sets.validation.labels), sets.classes) == (1438, 359, 10)
    samples = Samples(sets, train=True)
    images = np.stack([samples[0, index][0] for index in range(400)])
    assert images.shape == (400, 8, 8, 1)
    assert images.dtype == np.float32
    assert abs(images.mean()) < 0.2
    assert 0.8 < images.std() < 1.2


def test_synthetic_images_have_the_size_that_is_asked_for_and_differ_by_class():
    sets = open_sets("synthetic", 16)
    first, again, other = (sets.train.read(index, None).astype(float) for index in (0, 10, 1))
    assert first.shape == sets.train.shape == (16, 16, 3)
    assert (sets.train.labels[[0, 10, 1]] == [0, 0, 1]).all()
    assert np.abs(first - again).mean() < 0.9 * np.abs(first - other).mean()


def test_an_npz_file_is_read(npz):
    sets = open_sets(str(npz))
    assert (sets.train.shape, sets.classes, len(sets.validation.labels)) == ((32, 32, 3), 7, 10)
    with np.load(npz) as file:
        assert (sets.train.read(3, None) == file["x_train"][3]).all()
        assert (sets.train.labels == file["y_train"][:, 0]).all()


def test_a_folder_of_images_is_read(folder):
    sets = open_sets(str(folder), 24)
    assert (sets.train.shape, sets.classes, len(sets.train.labels)) == ((24, 24, 3), 2, 6)
    assert (sets.validation.labels == [0, 0, 1, 1]).all()
    for index in (0, 1, 5):
        image = sets.train.read(index, np.random.default_rng(index)).astype(int)
        assert image.shape == (24, 24, 3)
        colour = (0, 0, 200) if sets.train.labels[index] else (200, 0, 0)
        assert np.abs(image - colour).max() < 5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"x_test": None}, "has no array x_test; it needs x_train, y_train, x_test, y_test"),
        ({"x_train": np.zeros((4, 8, 8, 3))}, "x_train is float64[4, 8, 8, 3]; pass uint8 images"),
        ({"y_test": np.zeros(3, int)}, "x_test has 10 images and 3 labels"),
    ],
)
def test_an_npz_file_that_is_no_data_set_is_refused(npz, change, told):
    with np.load(npz) as file:
        arrays = {name: array for name, array in {**file, **change}.items() if array is not None}
    np.savez(npz, **arrays)
    with pytest.raises(ValueError) as error:
        open_sets(str(npz))
    assert told in str(error.value)


def test_a_folder_that_is_no_data_set_is_refused(folder):
    (folder / "val" / "bird").mkdir()
    with pytest.raises(ValueError, match="the classes of train and val differ: only one has 'bird'"):
        open_sets(str(folder))
    with pytest.raises(ValueError, match="has no folder train; it needs train/CLASS/ and val/CLASS/"):
        open_sets(str(folder / "val"))
    with pytest.raises(FileNotFoundError, match="nowhere: no such file or folder; or pass digits"):
        open_sets(str(folder / "nowhere"))


# Augmentation.


def test_a_crop_moves_an_image_and_fills_with_zeros():
    image = np.arange(1, 65, dtype=np.uint8).reshape(8, 8, 1)
    crops = [augmentation.padded_crop(image, np.random.default_rng(seed)) for seed in range(100)]
    assert {crop.shape for crop in crops} == {(8, 8, 1)}
    moves = set()
    for crop in crops:
        row, column = (axis[0] for axis in np.nonzero(crop[..., 0] == image[4, 4, 0]))
        moves.add((row - 4, column - 4))
        assert crop[row - 1, column - 1] == image[3, 3, 0]
    assert moves == {(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)}


def test_a_mirror_image_is_as_likely_as_the_image():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    random = np.random.default_rng(0)
    mirrored = [not (augmentation.flipped(image, random) == image).all() for _ in range(200)]
    assert 70 < sum(mirrored) < 130


@pytest.mark.parametrize("size", [(500, 300), (20, 900), (224, 224)])
def test_a_random_box_lies_in_the_image_and_has_sides_as_promised(size):
    for seed in range(300):
        left, upper, right, lower = augmentation.random_box(size, np.random.default_rng(seed))
        assert 0 <= left < right <= size[0]
        assert 0 <= upper < lower <= size[1]
        width, height = right - left, lower - upper
        if width < size[0] and height < size[1]:
            assert 0.74 < width / height < 1.34
            assert 0.07 < width * height / (size[0] * size[1]) <= 1


def test_a_sample_is_the_same_wherever_it_is_read_and_another_in_each_epoch(npz):
    sets = open_sets(str(npz))
    some, others = (Samples(sets, train=True, seed=1) for _ in range(2))
    assert (some[3, 7][0] == others[3, 7][0]).all()
    assert len({some[epoch, 7][0].tobytes() for epoch in range(20)}) > 10
    validation = Samples(sets, train=False)
    assert (validation[0, 5][0] == validation[1, 5][0]).all()


# Shards.


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_share_all_images_in_each_epoch_in_another_order(ranks):
    images, batch_size = 60, 5
    batches = images // (batch_size * ranks)
    keys = [training_keys(images, batch_size, 0, rank, ranks) for rank in range(ranks)]
    orders = []
    for epoch in range(3):
        taken = [next(of_rank) for of_rank in keys for _ in range(batches)]
        assert {key[0] for batch in taken for key in batch} == {epoch}
        orders.append([index for batch in taken for _, index in batch])
        assert sorted(orders[-1]) == list(range(images))
    assert orders[0] != orders[1]


def test_a_run_that_goes_on_takes_the_batches_that_come_next():
    whole = training_keys(50, 4, 7, 1, 2)
    batches = [next(whole) for _ in range(30)]
    rest = training_keys(50, 4, 7, 1, 2, start=13)
    assert [next(rest) for _ in range(17)] == batches[13:]


def test_too_few_images_are_refused():
    with pytest.raises(
        ValueError, match="needs 200 images, and the training set has 150; pass --batch-size 75"
    ):
        training_keys(150, 100, 0, 0, 2)


@pytest.mark.parametrize(("images", "ranks"), [(10, 3), (359, 2), (2, 4)])
def test_each_image_of_the_validation_set_is_evaluated_once(images, ranks):
    keys = [validation_keys(images, 4, rank, ranks) for rank in range(ranks)]
    assert sorted(index for of_rank in keys for batch in of_rank for _, index in batch) == list(range(images))


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_a_loader_yields_the_batches_in_order_as_often_as_it_is_asked(npz, threads):
    samples = Samples(open_sets(str(npz)), train=False)
    keys = validation_keys(10, 4, 0, 1)
    loader = Loader(samples, keys, threads)
    for _ in range(2):
        batches = list(loader)
        assert [len(labels) for _, labels in batches] == [4, 4, 2]
        for batch, (images, labels) in zip(keys, batches, strict=True):
            assert images.shape == (len(batch), 32, 32, 3)
            assert (images[0] == samples[batch[0]][0]).all()
            assert labels.dtype == np.int32


def test_a_loader_of_endless_batches_reads_only_some_ahead(npz):
    keys = training_keys(40, 4, 0, 0, 1)
    batches = iter(Loader(Samples(open_sets(str(npz)), train=True), keys, 2))
    assert next(batches)[0].shape == (4, 32, 32, 3)
    batches.close()
    assert next(keys)[0][0] == 0  # the fifth to tenth of the first epoch
