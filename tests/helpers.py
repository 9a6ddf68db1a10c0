"""What the tests of the methods share: small networks on digits, gradients in one vector, teachers that tell."""

from functools import cache

import torch

from kdcourse import data, models
from kdcourse.core import total
from kdcourse.teachers import Teacher


@cache
def digits():
    return data.load("digits")


def few_digits(n=200):
    """The same with the first n training images only."""
    source = digits()
    return source.with_train(source.train.take(torch.arange(n), str(n)))


def first_batch(progress=0.0):
    return next(digits().train.batches(64, seed=0))._replace(progress=progress)


def network(seed, width=4):
    return models.build("resnet8", (1, 8, 8), 10, seed=seed, width=width)


def cnn(seed, width=4):
    """With dropout, and without batch normalisation."""
    return models.build("cnn", (1, 8, 8), 10, seed=seed, width=width)


def mlp(seed, hidden=(16,)):
    return models.build("mlp", (1, 8, 8), 10, seed=seed, hidden=hidden)


def vit(seed):
    return models.build("vit", (1, 8, 8), 10, seed=seed, width=12, heads=3, patch=2, depth=3)


def gradient(value, network):
    """Of a scalar with respect to a network's trained parameters, in one vector; 0 where there is none."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    return torch.cat([
        (torch.zeros_like(parameter) if grad is None else grad).flatten()
        for parameter, grad in zip(parameters, found, strict=True)
    ])


def gradients(distiller, batch):
    """Of the whole loss with respect to the student, in train mode."""
    return gradient(total(distiller.train()(batch)), distiller.student)


def step(distiller, batch, times=1, **settings):
    optimiser = torch.optim.Adam(distiller.parameter_groups(), **{"lr": 1e-3} | settings)
    for _ in range(times):
        optimiser.zero_grad()
        total(distiller.train()(batch)).backward()
        optimiser.step()


def state(network):
    return {key: value.clone() for key, value in network.state_dict().items()}


def same(one, other):
    """Whether two states, or those of two networks, are equal to the bit."""
    one, other = (state(part) if isinstance(part, torch.nn.Module) else part for part in (one, other))
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def close(found, expected, **tolerances):
    torch.testing.assert_close(found, expected, **{"rtol": 1e-4, "atol": 1e-6} | tolerances)


def weights(terms):
    return {name: term.weight for name, term in terms.items()}


def equal_terms(found, expected):
    """Whether two dicts of terms are equal to the bit: names, weights and values."""
    return weights(found) == weights(expected) and all(
        torch.equal(found[name].value, expected[name].value) for name in found
    )


class Refusing(Teacher):
    """A teacher that must not be asked."""

    def forward(self, batch):
        raise AssertionError("the teacher was asked")

    answer = forward


class Counted(Teacher):
    """A teacher that counts how often it was asked."""

    calls = 0

    def forward(self, batch):
        self.calls += 1
        return super().forward(batch)
