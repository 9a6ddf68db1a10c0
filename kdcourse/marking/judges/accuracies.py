"""The accuracy of a network that looks its logits up, with the usual miscounts.

A case has the logits of eval mode, `answers`, and those of training mode, `garbled`, (N, K), a `split` and the
`batch_size` in which it is gone through.
"""

from torch import Tensor

from kdcourse.marking.judges.mistakes import Formula
from kdcourse.marking.record import Case, Record

MODE = {"": lambda c: c.answers, "the network is in training mode while it is evaluated, so its dropout is on: call "
        "network.eval()": lambda c: c.garbled}


def _flat(z: Tensor, c) -> Tensor:
    """Whether the place of the largest of all logits of a batch is the label."""
    parts = zip(z.split(c.batch_size), c.split.y.split(c.batch_size), strict=True)
    return c.split.y.new_tensor([right for z, y in parts for right in (z.argmax() == y).tolist()]).bool()


GUESS = {
    "": lambda z, c: z.argmax(dim=1) == c.split.y,
    "argmax without dim finds one place among all logits of a batch: it runs over the classes, dim=1": _flat,
    "the smallest logit was taken": lambda z, c: z.argmin(dim=1) == c.split.y,
    "the label counts among the two largest logits: only the largest is the answer":
        lambda z, c: (z.topk(2, dim=1).indices == c.split.y[:, None]).any(dim=1),
    "of the right answers only those with a probability above one half count":
        lambda z, c: (z.argmax(dim=1) == c.split.y) & (z.softmax(dim=1).amax(dim=1) > 0.5),
    "this is the mean confidence, the largest probability: right answers are to be counted":
        lambda z, c: z.softmax(dim=1).amax(dim=1),
    "this is the mean loss: right answers are to be counted":
        lambda z, c: -z.log_softmax(dim=1).gather(1, c.split.y[:, None])[:, 0],
    "this is the mean probability of the labels: right answers are to be counted":
        lambda z, c: z.softmax(dim=1).gather(1, c.split.y[:, None])[:, 0],
}
COUNT = {  # right answers (N,) and the size of a batch
    "": lambda right, size: right.double().mean(),
    "this is in percent: a share lies in [0, 1]": lambda right, size: 100 * right.double().mean(),
    "it was rounded to two places: return it as it is": lambda right, size: round(right.double().mean().item(), 2),
    "this is the number of right answers: divide it by the number of images": lambda right, size: right.sum(),
    "this is the share of wrong answers": lambda right, size: 1 - right.double().mean(),
    "the accuracies of the batches were averaged, so that the last, smaller one counts too much":
        lambda right, size: sum(part.double().mean() for part in right.split(size)) / len(right.split(size)),
    "the last, smaller batch is left out":
        lambda right, size: right[: len(right) // size * size].double().mean(),
    "the last, smaller batch is left out, and its images still counted":
        lambda right, size: right[: len(right) // size * size].sum() / len(right),
    "divided by batches times batch_size: the last batch is smaller":
        lambda right, size: right.sum() / (-(-len(right) // size) * size),
    "the last, smaller batch is counted, and its images are not":
        lambda right, size: right.sum() / (len(right) // size * size),
    "this is the accuracy of the last batch": lambda right, size: right.split(size)[-1].double().mean(),
    "this is the accuracy of the first batch": lambda right, size: right[:size].double().mean(),
    "divided by the size of one batch": lambda right, size: right.sum() / size,
    "it was rounded to one place: return it as it is": lambda right, size: round(right.double().mean().item(), 1),
    "divided by the number of batches": lambda right, size: right.sum() / len(right.split(size)),
}
ACCURACY = Formula(lambda c, mode, guess, count: count(guess(mode(c), c), c.batch_size),
                   mode=MODE, guess=GUESS, count=COUNT)


def unrecorded(inputs: dict[str, Case], record: Record) -> str:
    on = [record.tensor(f"{name} gradients", None) for name in inputs]
    return "" if all(len(one) and not one.any() for one in on) else (
        "gradients are recorded while it evaluates: switch them off (torch.no_grad).")


def unharmed(inputs: dict[str, Case], record: Record) -> str:
    if not all(record.number(f"{name} unharmed") for name in inputs):
        return "the network cannot go on learning afterwards: its weights were changed or frozen."
    return "" if all(record.number(f"{name} recording afterwards") for name in inputs) else (
        "gradients are still switched off after it returned, for everybody: switch them off inside a with block.")
