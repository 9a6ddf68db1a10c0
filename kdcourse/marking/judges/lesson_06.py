"""What a reader of lesson 06 writes by hand, judging half: DIST from its definition, in double precision."""

from kdcourse.marking.judges.logits import of, p, surprise
from kdcourse.marking.judges.loss import loss
from kdcourse.marking.judges.mistakes import Formula


def _centred(m):
    return m - m.mean(1, keepdim=True)


def _cosine(u, v):
    return (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))


def _rows(u, v):
    """Pearson's correlation of each row of u with the same row of v."""
    return _cosine(_centred(u), _centred(v))


def _columns(u, v):
    return _rows(u.T, v.T)


CORRELATION = Formula(lambda c, kind: (kind(c.p_s.double(), c.p_t.double()) * c.probe).sum(), kind={
    "": _rows,
    "the means are not subtracted: this is the cosine of the two rows": _cosine,
    "this is the covariance: divide by both lengths": lambda u, v: (_centred(u) * _centred(v)).mean(1),
    "the product is not divided by the two lengths": lambda u, v: (_centred(u) * _centred(v)).sum(1),
    "only one of the two rows has lost its mean": lambda u, v: _cosine(_centred(u), v),
    "this is the distance, 1 minus the correlation: here the correlation is asked for": lambda u, v: 1 - _rows(u, v),
    "the mean of the whole table was subtracted: each row has a mean of its own":
        lambda u, v: _cosine(u - u.mean(), v - v.mean()),
    "the lengths are squared: take the square root": lambda u, v: (
        _centred(u) * _centred(v)).sum(1) / (_centred(u).square().sum(1) * _centred(v).square().sum(1)),
})
correlation = loss(CORRELATION, "cold", "warm", "warmer", at="", where="notebook 06, section 2", marks=(1, 0),
                   near=2e-4, of=lambda c: f"{len(c.p_s)} images, summed with random factors,")


def _soft(z, T):
    return p(z / T)


DIST = Formula(lambda c, hard, soft, rows, columns, power: hard(c) + power(c) * (
    rows(soft(c.z_s, c.T), soft(c.z_t, c.T)) + columns(soft(c.z_s, c.T), soft(c.z_t, c.T))), hard={
    "": lambda c: surprise(c.z_s, c.y).mean(),
    "the cross-entropy is softened too: it is taken at T = 1": lambda c: surprise(c.z_s / c.T, c.y).mean(),
    "cross_entropy was given p_s: it takes logits, and does the softmax itself":
        lambda c: surprise(p(c.z_s / c.T), c.y).mean(),
    "cross_entropy was given probabilities at T = 1: it takes logits, and does the softmax itself":
        lambda c: surprise(p(c.z_s), c.y).mean(),
    "the cross-entropy with the labels is missing": lambda c: 0.0,
    "the cross-entropy is summed over the images: take the mean": lambda c: surprise(c.z_s, c.y).sum(),
}, soft={
    "": _soft, "the logits are not softened: T divides them": lambda z, T: p(z),
    "the logits themselves are correlated: take the softmax first": lambda z, T: z.double() / T,
}, rows={
    "": lambda u, v: 2 * (1 - _rows(u, v)).mean(),
    "the rows (inter-class) are missing": lambda u, v: 0.0,
    "the rows have weight 1: it is 2": lambda u, v: (1 - _rows(u, v)).mean(),
    "the correlation of rows is minimised: the distance is 1 minus it": lambda u, v: 2 * _rows(u, v).mean(),
    "the distances of rows are summed: take their mean": lambda u, v: 2 * (1 - _rows(u, v)).sum(),
}, columns={
    "": lambda u, v: 2 * (1 - _columns(u, v)).mean(),
    "the columns (intra-class) are missing: transpose both tables": lambda u, v: 0.0,
    "the columns have weight 1: it is 2": lambda u, v: (1 - _columns(u, v)).mean(),
    "the correlation of columns is minimised: the distance is 1 minus it": lambda u, v: 2 * _columns(u, v).mean(),
    "the distances of columns are summed: take their mean": lambda u, v: 2 * (1 - _columns(u, v)).sum(),
}, power={
    "": lambda c: 1.0, "the factor T squared stands before both: the released code has it, equations 5 to 7 do not":
        lambda c: c.T**2,
})
dist_by_hand = loss(DIST, "cold", "warm", "warmer", "hot", where="notebook 06, section 2", of=of, marks=(0.5, 0.5),
                    large=0)

mixed = loss(Formula(lambda c, kind: (kind(c.p.double(), c.a.double()) * c.probe).sum(), kind={
    "": lambda p, a: a * p + (1 - a) / p.shape[1],
    "1 - a is not divided by the number of classes: the rows sum to more than 1": lambda p, a: a * p + (1 - a),
    "the uniform answer is missing: the rows sum to a": lambda p, a: a * p,
    "a and 1 - a are exchanged": lambda p, a: (1 - a) * p + a / p.shape[1],
    "the answer keeps all of its probability: it gives 1 - a away": lambda p, a: p + (1 - a) / p.shape[1],
    "nothing is mixed": lambda p, a: p,
}), "cold", "warm", "hot", at="", where="notebook 06, section 3", marks=(1, 0), near=2e-4,
    of=lambda c: f"{len(c.p)} images and {c.p.shape[1]} classes, summed with random factors,")
