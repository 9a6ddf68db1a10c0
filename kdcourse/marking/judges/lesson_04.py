"""What a reader of lesson 04 writes by hand, judging half."""

from kdcourse.marking.judges.loss import loss
from kdcourse.marking.judges.mistakes import Formula


def _pairs(tie):
    def share(score, y):
        higher, lower = score[y == 1].double()[:, None], score[y == 0].double()[None]
        return ((higher > lower).double() + tie * (higher == lower)).mean()
    return share


def _f1(called, y, positive=1):
    hit = ((called == positive) & (y == positive)).sum().double()
    return 2 * hit / ((called == positive).sum() + (y == positive).sum())


auc_by_pairs = loss(Formula(lambda c, kind: kind(c.score, c.y), kind={
    "": _pairs(0.5), "a tie counts as nothing: count one half for it": _pairs(0.0),
    "a tie counts as a pair in the right order: count one half for it": _pairs(1.0),
    "positive and negative images are exchanged": lambda score, y: _pairs(0.5)(score, 1 - y),
    "the right pairs are counted and not divided by the number of pairs":
        lambda score, y: _pairs(0.5)(score, y) * (y == 1).sum() * (y == 0).sum(),
}), "one", "two", "three", at="", where="notebook 04, section 2", marks=(1, 0), near=1e-4,
    of=lambda c: f"{len(c.y)} images")
f1_by_counts = loss(Formula(lambda c, kind: kind(c.called, c.y), kind={
    "": _f1, "this is the F1 of class 0: class 1 is positive": lambda called, y: _f1(called, y, 0),
    "this is the accuracy": lambda called, y: (called == y).double().mean(),
    "this is the recall: the precision is missing": lambda called, y: called[y == 1].double().mean(),
    "this is the precision: the recall is missing": lambda called, y: y[called == 1].double().mean(),
    "this is the mean of precision and recall: F1 is 2PR / (P + R)":
        lambda called, y: (called[y == 1].double().mean() + y[called == 1].double().mean()) / 2,
    "the factor 2 is missing": lambda called, y: _f1(called, y) / 2,
}), "one", "two", "three", at="", where="notebook 04, section 2", marks=(1, 0), near=1e-4,
    of=lambda c: f"{len(c.y)} images")
interaction = loss(Formula(lambda c, kind: kind(*c.cells.double()), kind={
    "": lambda r, rd, p, pd: (pd - p) - (rd - r), "its sign is turned round": lambda r, rd, p, pd: (rd - r) - (pd - p),
    "this is the effect of both together": lambda r, rd, p, pd: pd - r,
    "this is the mean effect of the teacher": lambda r, rd, p, pd: ((pd - p) + (rd - r)) / 2,
    "this is the mean effect of transfer": lambda r, rd, p, pd: ((p - r) + (pd - rd)) / 2,
    "it is divided by two": lambda r, rd, p, pd: ((pd - p) - (rd - r)) / 2,
}), "one", "two", "three", at="", where="notebook 04, section 4", marks=(1, 0), near=1e-4,
    of=lambda c: "four cells")
