"""What a reader of lesson 08 writes by hand, judging half: from the definitions, in double precision."""

import torch

from kdcourse.marking.judges.logits import p, surprise
from kdcourse.marking.judges.loss import loss
from kdcourse.marking.judges.mistakes import Formula

CASES = ("few", "some", "many")


def _zeroed(G):
    return G - torch.diag(torch.diagonal(G))


def _parts(K, L):
    """The sum over pairs of images, the product of both sums, and that of the sums of rows."""
    return (K * L).sum(), K.sum() * L.sum(), (K.sum(1) * L.sum(1)).sum()


def _hsic(n, pairs, every, rows):
    return (pairs + every / ((n - 1) * (n - 2)) - 2 / (n - 2) * rows) / (n * (n - 3))


def _biased(K, L):
    H = torch.eye(len(K), dtype=torch.double) - 1 / len(K)
    return torch.trace(K @ H @ L @ H) / (len(K) - 1) ** 2


unbiased_hsic = loss(Formula(
    lambda c, diagonal, terms: terms(len(c.K), *diagonal(c.K.double(), c.L.double())), diagonal={
    "": lambda K, L: (_zeroed(K), _zeroed(L)),
    "the diagonals are still there: an image's similarity to itself is what makes the estimate too large":
        lambda K, L: (K, L),
    "only one of the two diagonals is set to 0": lambda K, L: (_zeroed(K), L),
    "only one of the two diagonals is set to 0, that of the second": lambda K, L: (K, _zeroed(L)),
}, terms={
    "": lambda n, K, L: _hsic(n, *_parts(K, L)),
    "the second term, with the product of both sums, is missing":
        lambda n, K, L: _hsic(n, _parts(K, L)[0], 0, _parts(K, L)[2]),
    "the third term, with the sums of rows, is missing": lambda n, K, L: _hsic(n, *_parts(K, L)[:2], 0),
    "the third term is subtracted": lambda n, K, L: _hsic(n, *_parts(K, L)[:2], -_parts(K, L)[2]),
    "the third term has no factor 2": lambda n, K, L: _hsic(n, *_parts(K, L)[:2], _parts(K, L)[2] / 2),
    "in the second term stands the sum of the products, not the product of the sums":
        lambda n, K, L: _hsic(n, _parts(K, L)[0], _parts(K, L)[0], _parts(K, L)[2]),
    "it is not divided by n (n - 3)": lambda n, K, L: n * (n - 3) * _hsic(n, *_parts(K, L)),
    "`/ n * (n - 3)` divides by n and then multiplies by n - 3: put n * (n - 3) in brackets":
        lambda n, K, L: (n - 3) ** 2 * _hsic(n, *_parts(K, L)),
    "`/ (n - 1) * (n - 2)` divides the second term by n - 1 and then multiplies it: put the product in brackets":
        lambda n, K, L: _hsic(n, _parts(K, L)[0], (n - 2) ** 2 * _parts(K, L)[1], _parts(K, L)[2]),
    "`2 / n - 2` is 2 / n, less 2: put n - 2 in brackets":
        lambda n, K, L: (_hsic(n, *_parts(K, L)[:2], 0) * n * (n - 3) - 2 / n - 2 * _parts(K, L)[2]) / (n * (n - 3)),
    "it is divided by (n - 1)², as the biased estimate is: here by n (n - 3)":
        lambda n, K, L: n * (n - 3) / (n - 1) ** 2 * _hsic(n, *_parts(K, L)),
    "this is the biased estimate, of centred matrices": lambda n, K, L: _biased(K, L),
}), *CASES, at="", where="notebook 08, section 5", marks=(1, 0), near=2e-5, of=lambda c: f"{len(c.K)} images,")


def _right(c):
    return c.z_a.argmax(1), c.z_b.argmax(1)


def _agreement(c):
    a, b = _right(c)
    return (a == b).double().mean()


def _shares(guess, rows, K):
    """How often each class is predicted for these images, (K,)."""
    return torch.stack([(guess[rows] == k).double().mean() for k in range(K)])


def _chance(c, weigh=True):
    """Label by label, two predictions drawn independently; weighed by the images of the label, or not."""
    a, b = _right(c)
    K, found, weights = c.z_a.shape[1], [], []
    for label in c.y.unique():
        rows = c.y == label
        found.append((_shares(a, rows, K) * _shares(b, rows, K)).sum())
        weights.append(rows.double().mean() if weigh else torch.tensor(1.0).double() / len(c.y.unique()))
    return (torch.stack(found) * torch.stack(weights)).sum()


def _kappa(c):
    a, b = _right(c)
    every = torch.ones(len(a), dtype=torch.bool)
    return (_shares(a, every, c.z_a.shape[1]) * _shares(b, every, c.z_a.shape[1])).sum()


def _accuracies(c):
    a, b = _right(c)
    return (a == c.y).double().mean() * (b == c.y).double().mean()


corrected_agreement = loss(Formula(lambda c, chance, form: form(_agreement(c), chance(c)), chance={
    "": _chance,
    "chance ignores the labels: it is counted over all images at once (Cohen's kappa)": _kappa,
    "every label counts alike: weigh each by its images": lambda c: _chance(c, weigh=False),
    "chance is one over the number of classes: networks that know the labels agree far more often":
        lambda c: 1 / c.z_a.shape[1],
    "chance is the product of the accuracies: two can also agree on a wrong class": _accuracies,
}, form={
    "": lambda a, chance: (a - chance) / (1 - chance),
    "it is not divided by 1 - a0, the most that is left": lambda a, chance: a - chance,
    "this is the agreement, not corrected": lambda a, chance: a,
    "this is what chance gives": lambda a, chance: chance,
    "it is divided by a0: divide by 1 - a0": lambda a, chance: (a - chance) / chance,
}), *CASES, at="", where="notebook 08, section 2", marks=(1, 0), near=1e-5, of=lambda c: f"{len(c.y)} images,")


scaled_loss = loss(Formula(
    lambda c, softened, over: over(softened(c.z.double(), c.log_T.exp(), c.log_T, c.y)), softened={
    "": lambda z, T, log_T, y: surprise(z / T, y),
    "the logits are multiplied by T, not divided": lambda z, T, log_T, y: surprise(z * T, y),
    "T is the exponential of log_T: here log_T itself divides": lambda z, T, log_T, y: surprise(z / log_T, y),
    "the temperature is not used": lambda z, T, log_T, y: surprise(z, y) + 0 * T,
    "T squared multiplies it: that belongs to distillation": lambda z, T, log_T, y: T**2 * surprise(z / T, y),
    "the probabilities are divided by T, not the logits": lambda z, T, log_T, y: surprise(p(z) / T, y),
    "cross_entropy was given probabilities: it takes the softmax itself":
        lambda z, T, log_T, y: surprise(p(z / T), y),
    "the sign is wrong": lambda z, T, log_T, y: -surprise(z / T, y),
}, over={
    "": lambda each: each.mean(), "summed over the images, not averaged": lambda each: each.sum(),
}), *CASES, at="log_T", where="notebook 08, section 4", marks=(0.5, 0.5), large=0,
    of=lambda c: f"{len(c.y)} images, T = {c.log_T.exp():.2f},")
