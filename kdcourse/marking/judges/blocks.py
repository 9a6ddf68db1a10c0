"""What blocks of convolutions are made of, in double precision, with the weights that a case draws for their shapes."""

import torch.nn.functional as F


def normed(f, training):
    """Batch normalisation that has learnt nothing yet: in eval mode with mean 0 and variance 1."""
    mean, var = (f.mean((0, 2, 3), keepdim=True), f.var((0, 2, 3), keepdim=True, correction=0)) if training else (0, 1)
    return (f - mean) / (var + 1e-5) ** 0.5


def plain(f, training=False):
    """What stands where nothing is asked for."""
    return f


def conv(c, f, out, side, stride=1, groups=1):
    w = c.weights((out, f.shape[1] // groups, side, side)).double()
    return F.conv2d(f, w, stride=stride, padding=side // 2, groups=groups)


def unchanged(c):
    """Whether what comes out has the shape of what goes in."""
    return c.channels == c.out and c.stride == 1


def both_modes(c, made):
    """What `made(case, images, training)` gives in eval and in training mode, summed with random factors."""
    return sum((made(c, c.x.double(), mode) * probe).sum() for mode, probe in zip((False, True), c.probes, strict=True))


def of(c) -> str:
    return f"{c.channels} channels to {c.out}, stride {c.stride}, summed with random factors in both modes,"
