"""What a reader of lesson 03 writes by hand, judging half."""

import torch

from kdcourse.marking.judges.loss import loss
from kdcourse.marking.judges.mistakes import Formula


def _of(c) -> str:
    return f"{len(c.f_s)} images, {c.f_s.shape[1]} channels, summed with random factors,"


def _length(q):
    return q / q.norm(dim=1, keepdim=True)


def _rows(f):
    return f.double().flatten(1)


ATTENTION = Formula(lambda c, kind: (kind(c.f_s.double()) * c.probe).sum(), kind={
    "": lambda f: _length(f.square().mean(1).flatten(1)),
    "the map of each image is not divided by its length": lambda f: f.square().mean(1).flatten(1),
    "the features are not squared": lambda f: _length(f.mean(1).flatten(1)),
    "each map is divided by its sum: divide by its length, the root of the sum of its squares":
        lambda f: (q := f.square().mean(1).flatten(1)) / q.sum(1, keepdim=True),
    "all maps together are divided by one length: each image has its own":
        lambda f: (q := f.square().mean(1).flatten(1)) / q.norm(),
    "the largest channel is taken: take the mean over the channels":
        lambda f: _length(f.square().amax(1).flatten(1)),
    "the mean is squared: square first, then take the mean over the channels":
        lambda f: _length(f.mean(1).square().flatten(1)),
})
attention_map = loss(ATTENTION, "one", "two", "three", at="", where="notebook 03, section 3", marks=(1, 0), near=2e-4,
                     of=_of)
SIMILARITY = Formula(lambda c, kind: (kind(_rows(c.f_s)) * c.probe).sum(), kind={
    "": lambda F: _length(F @ F.T),
    "the rows of the matrix are not divided by their lengths": lambda F: F @ F.T,
    "the features are divided by their lengths, not the rows of the product: these are cosines":
        lambda F: _length(F) @ _length(F).T,
    "the columns are divided by their lengths: divide the rows, dim=1":
        lambda F: (G := F @ F.T) / G.norm(dim=0, keepdim=True),
    "the rows are divided by their sums: divide by their lengths": lambda F: (G := F @ F.T) / G.sum(1, keepdim=True),
    "the whole matrix is divided by one length: each row has its own": lambda F: (G := F @ F.T) / G.norm(),
    "these are distances: the matrix holds products": lambda F: _length(torch.cdist(F, F)),
})
similarity_matrix = loss(SIMILARITY, "one", "two", "three", at="", where="notebook 03, section 4", marks=(1, 0),
                         near=2e-4, of=_of)
REGRESSOR = Formula(lambda c, made, gap, size: gap(made(c), c.f_t.double()) / size(c, made(c)), made={
    "": lambda c: torch.einsum("bchw,dc->bdhw", c.f_s.double(), c.weight.double()),
}, gap={
    "": lambda f, f_t: (f - f_t).square().mean(),
    "the difference is not squared": lambda f, f_t: (f - f_t).abs().mean(),
    "the squares are summed: take their mean": lambda f, f_t: (f - f_t).square().sum(),
    "the root is taken: the mean of the squares is the loss": lambda f, f_t: (f - f_t).square().mean().sqrt(),
}, size={
    "": lambda c, f: c.f_t.double().square().mean(),
    "it is not divided by the mean square of the teacher's map": lambda c, f: 1.0,
    "it is divided by the mean square of the student's map: the teacher's is the unit":
        lambda c, f: f.square().mean(),
    "it is divided by the mean of the teacher's map: divide by its mean square": lambda c, f: c.f_t.double().mean(),
    "it is divided by the variance of the teacher's map: divide by its mean square":
        lambda c, f: c.f_t.double().var(correction=0),
})
regressor_loss = loss(REGRESSOR, "one", "two", "three", at="f_s", where="notebook 03, section 2", marks=(0.5, 0.5),
                      large=0, of=lambda c: f"{len(c.f_s)} images of {c.f_s.shape[1]} channels")
