"""Small networks that train on a laptop: perceptrons, plain CNNs, and the pairs of two well-known courses.

Every function takes the shape of an image (C, H, W) and the number of classes, and returns a fresh `Classifier`.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from kdcourse.models.base import Classifier


def mlp(shape: tuple[int, int, int], classes: int, *, hidden: tuple[int, ...] = (64,)) -> Classifier:
    """A multi-layer perceptron: flatten, then linear layers of the given widths, each with a ReLU."""
    if not isinstance(hidden, Sequence) or isinstance(hidden, str) or not len(hidden):
        example = f"hidden=({hidden},)" if isinstance(hidden, int) else "hidden=(64, 32)"
        raise ValueError(f"hidden lists the width of each layer, such as {example}; it is {hidden!r}")
    channels, height, width = shape
    sizes = (channels * height * width, *hidden)
    stages = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    stages[0] = nn.Sequential(nn.Flatten(), stages[0])
    return Classifier(shape, stages, hidden[-1], classes)


def cnn(shape: tuple[int, int, int], classes: int, *, width: int = 32) -> Classifier:
    """Two 3x3 convolutions with pooling and a dense layer: a teacher for 8x8 digits that trains in seconds."""
    channels, height, breadth = shape
    stages = [
        nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(width, 2 * width, 3, padding=1), nn.MaxPool2d(2)),
        nn.Sequential(nn.Flatten(), nn.Linear(2 * width * (height // 4) * (breadth // 4), 128)),
    ]
    return Classifier(shape, stages, 128, classes, dropout=0.5)


def ece1512_teacher(shape: tuple[int, int, int], classes: int) -> Classifier:
    """The "cumbersome" CNN of the ECE1512 assignment, task 1, question 2: 1,011,466 parameters at 28x28.

    conv 3x3, 32 - max-pool 2x2 stride 1 - conv 3x3, 64 - max-pool 2x2 stride 2 - dropout 0.5 - dense 128 -
    dropout 0.5 - dense K, ReLU after each convolution and the first dense layer. The handout does not state the
    padding; there is none here. (ReLU and max-pooling commute, so pooling may stand before it.)
    """
    channels, height, width = shape
    h, w = ((side - 2 - 1 - 2) // 2 for side in (height, width))
    stages = [
        nn.Sequential(nn.Conv2d(channels, 32, 3), nn.MaxPool2d(2, stride=1)),
        nn.Sequential(nn.Conv2d(32, 64, 3), nn.MaxPool2d(2, stride=2)),
        nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64 * h * w, 128)),
    ]
    return Classifier(shape, stages, 128, classes, dropout=0.5)


def ece1512_student(shape: tuple[int, int, int], classes: int) -> Classifier:
    """The "light" student of the ECE1512 assignment: two dense layers of 784 with ReLU, 1,238,730 parameters."""
    return mlp(shape, classes, hidden=(784, 784))


def deepnn(shape: tuple[int, int, int], classes: int) -> Classifier:
    """The teacher of the PyTorch distillation tutorial: 1,186,986 parameters at 3x32x32 and 10 classes."""
    channels, height, width = shape
    stages = [
        nn.Sequential(
            nn.Conv2d(channels, 128, 3, padding=1), nn.ReLU(), nn.Conv2d(128, 64, 3, padding=1), nn.MaxPool2d(2)
        ),
        nn.Sequential(
            nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 32, 3, padding=1), nn.MaxPool2d(2)
        ),
        nn.Sequential(nn.Flatten(), nn.Linear(32 * (height // 4) * (width // 4), 512)),
    ]
    return Classifier(shape, stages, 512, classes, dropout=0.1)


def lightnn(shape: tuple[int, int, int], classes: int) -> Classifier:
    """The student of the PyTorch distillation tutorial: 267,738 parameters at 3x32x32 and 10 classes."""
    channels, height, width = shape
    stages = [
        nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.MaxPool2d(2)),
        nn.Sequential(nn.Flatten(), nn.Linear(16 * (height // 4) * (width // 4), 256)),
    ]
    return Classifier(shape, stages, 256, classes, dropout=0.1)
