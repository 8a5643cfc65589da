"""Reading CIFAR's official files; the real CIFAR-100 is in test_subset.py."""

import pickle

import numpy as np
import pytest

from ltbench.data import cifar


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """A folder of CIFAR-10's shape with 10 images a file, and the pixels; their md5 cannot be the official ones."""
    import torchvision.datasets.cifar as reader

    monkeypatch.setattr(reader, "check_integrity", lambda *args, **more: True)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    random, pixels = np.random.RandomState(0), {}
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        pixels[name] = random.randint(0, 256, (10, 3, 32, 32), dtype=np.uint8)
        body = {"data": pixels[name].reshape(10, 3072), "labels": list(range(10))}
        (folder / name).write_bytes(pickle.dumps(body, protocol=2))
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}, protocol=2))
    return tmp_path, pixels


def test_cifar_10_is_read_in_the_order_of_its_files(cifar10):
    folder, pixels = cifar10
    pool = cifar.load(folder, 10)
    train = np.concatenate([pixels[f"data_batch_{i}"] for i in range(1, 6)]).transpose(0, 2, 3, 1)
    assert np.array_equal(pool.train_image, train) and np.array_equal(pool.train_label, np.tile(np.arange(10), 5))
    assert np.array_equal(pool.test_image, pixels["test_batch"].transpose(0, 2, 3, 1))
    assert pool.classes[0] == "airplane" and pool.groups == (100, 20)


def test_a_file_of_another_md5_is_refused_before_it_is_unpickled(cifar10, monkeypatch):
    from ltbench.errors import LtbenchError

    monkeypatch.undo()
    folder, _ = cifar10
    with pytest.raises(LtbenchError, match=r"(?s)CIFAR-10 is not to be had in .*--data DIR"):
        cifar.load(folder, 10)
