"""Questions 2 and 8: networks and counts that look right."""

import torch
import torch.nn.functional as F
from torch import nn

from wrong_answers import collector

WRONG = []
wrong = collector(WRONG)


def teacher(padding=0, first=1, dropout=nn.Dropout, features=7744, last=()):
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=padding), nn.ReLU(), nn.MaxPool2d(2, stride=first),
        nn.Conv2d(32, 64, 3, padding=padding), nn.ReLU(), nn.MaxPool2d(2, stride=2),
        nn.Flatten(), dropout(0.5), nn.Linear(features, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10), *last)


def student(*last):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 784), nn.ReLU(), nn.Linear(784, 784), nn.ReLU(),
                         nn.Linear(784, 10), *last)


@wrong("teacher_network", 0.3, "the convolutions are padded")
def padded():
    return teacher(padding=1, features=64 * 13 * 13)


@wrong("teacher_network", 0.3, "both poolings have stride 2")
def pooling_with_its_default_stride():
    return teacher(first=2, features=64 * 5 * 5)


@wrong("teacher_network", 0.3, "it returns probabilities")
def softmax_at_the_end():
    return teacher(last=(nn.Softmax(dim=1),))


@wrong("teacher_network", 0.7, "there is no dropout in training")
def no_dropout():
    return nn.Sequential(*(layer for layer in teacher() if not isinstance(layer, nn.Dropout)))


@wrong("teacher_network", 0.7, "the first dropout is missing")
def one_dropout():
    return teacher(dropout=lambda p: nn.Identity())


class AlwaysDropping(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5)


@wrong("teacher_network", 0.3, "F.dropout needs training=self.training")
def functional_dropout_that_never_stops():
    return teacher(dropout=lambda p: AlwaysDropping())


@wrong("teacher_network", 0.3, "the ReLU after the first dense layer is missing")
def no_relu_after_the_dense_layer():
    return nn.Sequential(*(layer for i, layer in enumerate(teacher()) if i != 9))


SHARED = student()


@wrong("student_network", 0.9, "share their weights")
def one_student_for_all():  # what makes a sweep go on with the same student
    return SHARED


@wrong("student_network", 0.0, "it returns probabilities")
def student_with_softmax():
    return student(nn.Softmax(dim=1))


@wrong("student_network", 0.0, "there is no ReLU at all")
def student_without_relu():
    return nn.Sequential(*(layer for layer in student() if not isinstance(layer, nn.ReLU)))


@wrong("student_network", 0.9, "there is a dropout, and none is asked for")
def student_with_dropout():
    return nn.Sequential(*student()[:5], nn.Dropout(0.5), student()[5])


@wrong("student_network", 0.0, "there are 2 layers with weights, and 3 are asked for")
def student_with_one_hidden_layer():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 784), nn.ReLU(), nn.Linear(784, 10))


def layer_by_layer(network, shape, conv, dense):
    x, count = torch.zeros(1, *shape), 0
    for layer in network.eval():
        before, x = x, layer(x)
        count += (conv(layer, before, x) if isinstance(layer, nn.Conv2d)
                  else dense(layer) if isinstance(layer, nn.Linear) else 0)
    return count


def places(x):
    return x.shape[2] * x.shape[3]


@wrong("count_multiply_adds", 0.0, "these are FLOPs")
def flops(network, shape):
    return 2 * layer_by_layer(network, shape, lambda m, _, x: m.weight.numel() * places(x), lambda m: m.weight.numel())


@wrong("count_multiply_adds", 0.0, "biases were counted too")
def biases_counted(network, shape):
    size = {id(m): sum(p.numel() for p in m.parameters()) for m in network}
    return layer_by_layer(network, shape, lambda m, _, x: size[id(m)] * places(x), lambda m: size[id(m)])


@wrong("count_multiply_adds", 0.0, "uses its weights at every place")
def each_weight_once(network, shape):
    return sum(p.numel() for p in network.parameters() if p.ndim > 1)


@wrong("count_multiply_adds", 0.0, "applied at every pixel")
def stride_ignored(network, shape):
    return layer_by_layer(network, shape, lambda m, *_: m.weight.numel() * shape[1] * shape[2],
                          lambda m: m.weight.numel())


@wrong("count_parameters", 0.0, "the biases are missing")
def weights_without_biases(network):
    return sum(p.numel() for p in network.parameters() if p.ndim > 1)


@wrong("count_parameters", 0.0, "not the numbers in them")
def number_of_tensors(network):
    return len(list(network.parameters()))


class Other(nn.Module):
    """The teacher with something else after its first pooling, and before its last one."""

    def __init__(self, first, second, drop=0.5):
        super().__init__()
        layers = list(teacher())
        self.layers = nn.Sequential(*layers[:3], first, *layers[3:5], second, layers[5], layers[6], nn.Dropout(drop),
                                    *layers[8:])

    def forward(self, x):
        return self.layers(x)


@wrong("teacher_network", 0.7, "the first dropout comes before the last pooling")
def dropout_before_the_last_pooling():
    return Other(nn.Identity(), nn.Dropout(0.5), 0.0)


@wrong("teacher_network", 0.7, "something else changes what the dropouts see")
def a_third_dropout():
    return Other(nn.Dropout(0.25), nn.Identity())


@wrong("teacher_network", 0.7, "batch normalisation")
def normalisation_without_weights():
    return Other(nn.BatchNorm2d(32, affine=False), nn.Identity())


@wrong("teacher_network", 0.7, "one half is asked for")
def a_dropout_of_a_quarter():
    return Other(nn.Identity(), nn.Identity(), 0.25)


@wrong("teacher_network", 0.7, "Dropout2d")
def whole_channels_dropped():
    layers = list(teacher())
    return nn.Sequential(*layers[:6], nn.Dropout2d(0.5), nn.Flatten(), *layers[8:])


@wrong("teacher_network", 0.9, "the same first weights")
def seeded_inside():
    torch.manual_seed(0)
    return teacher()


@wrong("teacher_network", 0.3, "a kernel of 5 x 5")
def five_by_five():
    layers = list(teacher(features=64 * 9 * 9))
    return nn.Sequential(nn.Conv2d(1, 32, 5), *layers[1:3], nn.Conv2d(32, 64, 5), *layers[4:])


@wrong("student_network", 0.0, "is there a normalisation?")
def normalised_student():
    layers = list(student())
    return nn.Sequential(*layers[:2], nn.BatchNorm1d(784), *layers[2:])


@wrong("student_network", 0.9, "batch normalisation, and none is asked for")
def student_normalised_without_weights():
    layers = list(student())
    return nn.Sequential(*layers[:2], nn.BatchNorm1d(784, affine=False), *layers[2:])


@wrong("student_network", 0.9, "there is a normalisation, and none is asked for")
def student_normalised_without_memory():
    layers = list(student())
    return nn.Sequential(*layers[:2], OfTheBatch(), *layers[2:])


class OfTheBatch(nn.Module):
    def forward(self, x):
        return (x - x.mean(0)) / x.std(0).clamp(min=1e-3) if self.training else x


class Halving(nn.Module):
    def forward(self, x):
        return x * (torch.rand_like(x) > 0.5) if self.training else x


@wrong("teacher_network", 0.7, "does not double what it keeps")
def dropout_without_doubling():
    return nn.Sequential(*(layer if i != 7 else Halving() for i, layer in enumerate(teacher())))


@wrong("teacher_network", 0.3, "its activations are tanh")
def teacher_with_tanh():
    return nn.Sequential(*(nn.Tanh() if isinstance(layer, nn.ReLU) else layer for layer in teacher()))


@wrong("student_network", 0.0, "its activations are GELUs")
def student_with_gelu():
    return nn.Sequential(*(nn.GELU() if isinstance(layer, nn.ReLU) else layer for layer in student()))


class Normalise(nn.Module):
    def forward(self, x):
        return (x - 0.1307) / 0.3081


@wrong("student_network", 0.0, "they are to be taken as they come")
def student_that_normalises():
    return nn.Sequential(Normalise(), *student())


def by_layers(network, shape, conv):
    """What `conv(layer, input, output)` counts for convolutions, and all weights of dense layers."""
    x, count = torch.zeros(1, *shape), 0
    for layer in network:
        before, x = x, layer(x)
        if isinstance(layer, nn.Conv2d):
            count += conv(layer, before, x)
        elif isinstance(layer, nn.Linear):
            count += layer.weight.numel()
    return count


@wrong("count_multiply_adds", 0.0, "at every pixel of its input")
def sizes_of_the_inputs(network, shape):
    return by_layers(network, shape, lambda layer, before, x: layer.weight.numel() * before[0, 0].numel())


@wrong("count_multiply_adds", 0.0, "the input channels of the convolutions are missing")
def one_input_channel(network, shape):
    return by_layers(network, shape, lambda layer, before, x: layer.weight[:, 0].numel() * x[0, 0].numel())
