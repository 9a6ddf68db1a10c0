"""VGG networks with batch normalisation for 32x32 images: VGG-8, VGG-11, VGG-13.

Simonyan & Zisserman 2014, arXiv:1409.1556; its three dense layers are one here, as everywhere on CIFAR.
"""

from torch import nn

from kdcourse.models.base import Classifier

CONVOLUTIONS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2)}  # of each stage; 11, 13: its A and B


def vgg(shape, classes: int, *, depth: int = 8, width: int = 64) -> Classifier:
    """A VGG of five stages of `width`, 2, 4, 8 and 8 `width` channels; each of the first three ends with a pooling.

    VGG-8 has 3,965,028 parameters for 3 channels and 100 classes. Maps of 32x32 become 32, 16, 8, 4 and 4 pixels wide:
    the paper's last two poolings are the average before the head, as in the released distillation codes. (ReLU and
    max-pooling commute; here a stage pools what it is given.) Raises ValueError for a depth that is none of 8, 11, 13.
    """
    if depth not in CONVOLUTIONS:
        raise ValueError(f"a VGG here has depth 8, 11 or 13, not {depth}")
    channels, stages = shape[0], []
    for s, (n, wider) in enumerate(zip(CONVOLUTIONS[depth], (1, 2, 4, 8, 8), strict=True)):
        layers = [nn.MaxPool2d(2, ceil_mode=True)] if 1 <= s <= 3 else []
        for _ in range(n):
            layers += [nn.Conv2d(channels, wider * width, 3, padding=1), nn.BatchNorm2d(wider * width), nn.ReLU()]
            channels = wider * width
        stages.append(nn.Sequential(*layers[:-1]))
    return Classifier(shape, stages, channels, classes)
