"""Exercise 04, transfer and distillation on tissue, judging half: from the definitions, in double precision."""

import copy
import math

import torch
import torch.nn.functional as F

from kdcourse.marking.judges.blocks import both_modes, conv, normed, of, plain, unchanged
from kdcourse.marking.judges.designs import by_seed, columns, every_cell
from kdcourse.marking.judges.experiment import experiment, fresh
from kdcourse.marking.judges.loss import loss
from kdcourse.marking.judges.mistakes import Formula

CASES = ("first", "second", "third")
METRICS, FROZEN, DESIGN, BLOCKS = (f"notebook 04, section {n}, and the text of the question" for n in (2, 3, 4, 8))


class Frozen(torch.nn.Module):
    """Stages of which some stay in eval mode, some in training mode, whatever is called; some get no gradient."""

    def __init__(self, network, still, closed, mode, kinds, times, itself):
        super().__init__()
        self.stages, self.still, self.mode, self.kinds, self.left, self.itself = (
            network, still, mode, kinds, times, itself)
        for stage in network[:closed]:
            stage.requires_grad_(False)

    def train(self, mode=True):
        self.left -= 1
        for i, stage in enumerate(self.stages):
            stage.train(self.mode(mode))
            for part in stage.modules() if i in self.still and self.left >= 0 else ():
                part.training = self.mode(mode) and not isinstance(part, self.kinds)
        return self if self.itself else None

    def forward(self, x):
        return self.stages(x)


def _frozen(c, n, still, closed, mode, kinds, times, itself):
    c, n = c.with_(network=copy.deepcopy(c.network)), max(0, n(c.n))
    return (c.observed(Frozen(c.network, still(n), closed(n), mode, kinds, times, itself), c) * c.probe).sum()


freeze_stages = loss(Formula(_frozen, n={
    "": lambda n: n, "one stage too few is frozen": lambda n: n - 1, "one stage too many is frozen": lambda n: n + 1,
}, still={
    "": range, "the frozen stages are in training mode after train(): their batch statistics move": lambda n: (),
    "the stages that go on learning are in eval mode, too": lambda n: range(4),
}, closed={
    "": lambda n: n, "the weights of the frozen stages still get a gradient": lambda n: 0,
}, mode={
    "": lambda mode: mode, "after eval() stages are in training mode still: `mode` is not used": lambda mode: True,
}, kinds={
    "": torch.nn.Module,
    "only the batch normalisation of the frozen stages is in eval mode: all of them is to be": torch.nn.BatchNorm2d,
}, times={
    "": 99, "the stages are frozen in the first epoch only: train() is called in every one": 1,
}, itself={
    "": True, "train() returns nothing: it returns the module itself, so that one may write network.train().to(device)":
        False,
}), *CASES, at="", where=FROZEN, marks=(1, 0), near=1e-4,
    of=lambda c: f"a step of 4 stages with the first {c.n} frozen, answers, gradients, statistics and modes summed up,")


def _two(c, f, mode, bn=normed, strides=None):
    """Two convolutions, each after a normalisation and a ReLU."""
    first, second = strides or (c.stride, 1)
    f = conv(c, F.relu(bn(f, mode)), c.out, 3, first)
    return conv(c, F.relu(bn(f, mode)), c.out, 3, second)


def _shortcut(c, x, from_):
    return x if unchanged(c) else conv(c, from_, c.out, 1, c.stride)


preactivation_block = loss(Formula(lambda c, body, shortcut, end: both_modes(
    c, lambda c, x, mode: end(shortcut(c, x, mode) + body(c, x, mode))), body={
    "": _two,
    "this is V1's order: each convolution comes first, then normalisation and ReLU": lambda c, x, mode: normed(conv(
        c, F.relu(normed(conv(c, x, c.out, 3, c.stride), mode)), c.out, 3), mode),
    "the normalisations are missing": lambda c, x, mode: _two(c, x, mode, plain),
    "the stride belongs to the first convolution, not to the second":
        lambda c, x, mode: _two(c, x, mode, strides=(1, c.stride)),
}, shortcut={
    "": lambda c, x, mode: _shortcut(c, x, F.relu(normed(x, mode))),
    "where the shortcut has a convolution, it sees the input itself: it should see it normalised and after the ReLU":
        lambda c, x, mode: _shortcut(c, x, x),
    "there is no shortcut": lambda c, x, mode: 0,
    "the shortcut convolution is normalised: nothing but additions stands on the main path":
        lambda c, x, mode: x if unchanged(c) else normed(_shortcut(c, x, F.relu(normed(x, mode))), mode),
}, end={"": plain, "a ReLU follows the addition: that is V1": F.relu}),
    *CASES, at="", where=BLOCKS, marks=(1, 0), of=of)


def _inverted(c, x, mode, relu=F.relu6, bn=normed, depthwise=True):
    wide = 6 * c.channels
    f = relu(bn(conv(c, x, wide, 1), mode))
    f = relu(bn(conv(c, f, wide, 3, c.stride, wide if depthwise else 1), mode))
    return bn(conv(c, f, c.out, 1), mode)


inverted_residual = loss(Formula(lambda c, body, end, skip: both_modes(
    c, lambda c, x, mode: skip(c, x, end(body(c, x, mode)))), body={
    "": _inverted, "ReLU stands where ReLU6 belongs": lambda c, x, mode: _inverted(c, x, mode, F.relu),
    "the normalisations are missing": lambda c, x, mode: _inverted(c, x, mode, bn=plain),
    "the 3x3 convolution mixes the channels: each is filtered by itself":
        lambda c, x, mode: _inverted(c, x, mode, depthwise=False),
}, end={"": plain, "an activation follows the projection: the bottleneck is linear": F.relu6}, skip={
    "": lambda c, x, f: x + f if unchanged(c) else f, "there is no shortcut where the shapes agree": lambda c, x, f: f,
}), *CASES, at="", where=BLOCKS, marks=(1, 0), of=of)


def _f1s(counts):
    hits = counts.diagonal().double()
    return 2 * hits / (counts.sum(0) + counts.sum(1))


macro_f1 = loss(Formula(lambda c, kind: kind(c.counts), kind={
    "": lambda m: _f1s(m).mean(), "this is the accuracy (micro F1)": lambda m: m.diagonal().sum() / m.sum(),
    "this is the F1 of the last class alone": lambda m: _f1s(m)[-1],
    "the classes are weighed by their images: in the macro mean each counts alike":
        lambda m: (_f1s(m) * m.sum(1)).sum() / m.sum(),
    "this is the mean recall": lambda m: (m.diagonal() / m.sum(1)).mean(),
    "this is the mean precision": lambda m: (m.diagonal() / m.sum(0)).mean(),
    "F1 was made of the mean precision and the mean recall: take the F1 of each class, then the mean": lambda m: (
        lambda P, R: 2 * P * R / (P + R))((m.diagonal() / m.sum(0)).mean(), (m.diagonal() / m.sum(1)).mean()),
}), *CASES, at="", where=METRICS, marks=(1, 0), near=1e-5, of=lambda c: f"a matrix of {len(c.counts)} classes")


def _pairs(positive, negative, tie=0.5):
    """Every level of a positive image against every level of a negative one."""
    order = torch.ones(len(positive), len(positive)).double()
    weight = order.tril(-1) + tie * torch.eye(len(positive))
    return (positive.double() @ weight @ negative.double()) / (positive.sum() * negative.sum())


auc_from_counts = loss(Formula(lambda c, kind: kind(c.positive, c.negative), kind={
    "": _pairs, "a tie counts as nothing: one half is right": lambda a, b: _pairs(a, b, 0.0),
    "a tie counts as a pair in the right order: one half is right": lambda a, b: _pairs(a, b, 1.0),
    "positive and negative are exchanged, or the levels run the wrong way": lambda a, b: 1 - _pairs(a, b),
    "levels are compared, not images: each level counts by its images":
        lambda a, b: _pairs(torch.ones_like(a), torch.ones_like(b)),
}), *CASES, at="", where=METRICS, marks=(1, 0), near=1e-5, of=lambda c: f"{len(c.positive)} levels,")


def _run(c, best, patience, kept, buffers, first):
    """Epoch kept, epochs run, and the epoch of the statistics, by going through the curve."""
    (score, top), since, epoch = first(c), 0, 0
    while epoch < c.epochs and not (epoch and patience(c, epoch, since)):
        epoch += 1
        better = best(c.curve[epoch], score)
        score = c.curve[epoch] if better else score
        top, since = (epoch, 0) if better else (top, since + 1)
    found = kept(c, top, epoch)
    return (torch.tensor([found, epoch, buffers(found, epoch)]).double() * c.probe).sum()


def _falls(c, epoch):
    """How many epochs in a row, up to this one, were not better than the one before."""
    last = epoch
    while last > 1 and c.curve[last] <= c.curve[last - 1]:
        last -= 1
    return epoch - last


early_stopped = loss(Formula(_run, best={
    "": lambda new, old: new > old,
    "the best score begins at 0, and scores may be negative": lambda new, old: new > max(old, 0),
    "a score has to be better by a hundredth: any higher one is better": lambda new, old: new > old + 1e-2,
    "an equal score counts as better: only a higher one does": lambda new, old: new >= old,
}, patience={
    "": lambda c, epoch, since: since >= c.patience,
    "it stops one epoch too late": lambda c, epoch, since: since > c.patience,
    "it stops one epoch too early": lambda c, epoch, since: since >= max(1, c.patience - 1),
    "it never stops before the last epoch": lambda c, epoch, since: False,
    "epochs count that are not better than the one before: those that are not better than the best are asked for":
        lambda c, epoch, since: _falls(c, epoch) >= c.patience,
    "it stops at the first epoch that is not better: patience is not used": lambda c, epoch, since: since >= 1,
}, kept={
    "": lambda c, top, epoch: epoch if top is None else top,
    "the network of the last epoch comes back, not the best: a name is no copy": lambda c, top, epoch: epoch,
}, buffers={
    "": lambda kept, last: kept,
    "the weights are those of the best epoch, and what stands beside them, batch statistics, is that of the last":
        lambda kept, last: last,
}, first={
    "": lambda c: (-math.inf, None),
    "the untrained network is a candidate: the best epoch is one of those that were run": lambda c: (c.curve[0], 0),
}), *CASES, at="", where=DESIGN, marks=(1, 0), near=1e-4,
    of=lambda c: f"validation scores around {c.curve[0]:.2g}, patience {c.patience} (epoch kept + 100 times those run "
                 "+ 0.01 times that of the statistics),")
two_by_two = experiment(
    *columns(0.15, 0.05), where=DESIGN, values=by_seed, marks={every_cell: 0.3, fresh: 0.1},
    expected="three pairs (mean, half-width), for transfer, distillation and interaction,")
