"""Exercise 03, hints and relations, judging half: each from its definition, in double precision."""

from functools import partial

import torch
import torch.nn.functional as F

from kdcourse.marking.judges.logits import surprise
from kdcourse.marking.judges.loss import loss, slope
from kdcourse.marking.judges.mistakes import Formula
from kdcourse.marking.judges.training import adam, descent

HINTS, ATTENTION, RELATIONS, SIMKD, OWN = (
    f"notebook 03, section {n}, and the text of the task" for n in (2, 3, 4, 6, 7))
AVERAGE, LARGEST = F.adaptive_avg_pool2d, F.adaptive_max_pool2d


def cut(f, size):
    return f[..., : size[0], : size[1]]


def thinned(f, size):
    return F.interpolate(f[None], size)[0] if f.ndim == 3 else F.interpolate(f, size)


def smaller(c):
    return min(c.f_s.shape[2:], c.f_t.shape[2:])


def attention(c, power, pool=AVERAGE):
    """The attention of both, (B, H, W), the larger one brought down."""
    return [pool(power(f.double(), c.p).mean(1), smaller(c)) for f in (c.f_s, c.f_t)]


def as_rows(q, length):
    """Rows of length 1; a row of zeros stays one."""
    q = q.flatten(1)
    empty = (q == 0).all(1, keepdim=True)
    return q / length(q + empty)


DISTANCE = Formula(lambda c, power, size, length, gap: gap(*(as_rows(q, length) for q in size(c, power))), power={
    "": lambda f, p: f.abs() ** p, "p is not used: this is p = 2": lambda f, p: f.square(),
    "the features keep their signs, and channels cancel: take absolute values": lambda f, p: f.sign() * f.abs() ** p,
    "negative features are left out: take absolute values": lambda f, p: f.relu() ** p,
}, size={
    "": attention, "the larger map is brought down by its maxima: take averages": partial(attention, pool=LARGEST),
    "the larger map is cut off: average it down": partial(attention, pool=cut),
    "the larger map is thinned out: average it down": partial(attention, pool=thinned),
    "the features are averaged down before the power is taken: attention first, size second":
        lambda c, power: attention(
            c.with_(f_s=AVERAGE(c.f_s.double(), smaller(c)), f_t=AVERAGE(c.f_t.double(), smaller(c))), power),
}, length={
    "": lambda q: q.norm(dim=1, keepdim=True), "the maps are not divided by their lengths": lambda q: 1.0,
    "each map is divided by its sum: divide by its length": lambda q: q.sum(1, keepdim=True),
    "all images share one length: each has its own": lambda q: q.norm(),
}, gap={
    "": lambda a, b: (a - b).norm(dim=1).mean(),
    "this is the mean of the squares, as in the lesson: the distance is asked for": lambda a, b: F.mse_loss(a, b),
    "the root of the sum of squares is missing": lambda a, b: (a - b).square().sum(1).mean(),
    "absolute differences are added: take the root of the sum of squares": lambda a, b: (a - b).abs().sum(1).mean(),
    "the distances are summed over the images: take their mean": lambda a, b: (a - b).norm(dim=1).sum(),
})

attention_distance = loss(
    DISTANCE, "same", "larger", "smaller", at="f_s", where=ATTENTION, marks=(0.5, 0.2), large=0,
    depends_on={"p": ("larger", "larger p")}, of=lambda c: f"maps {tuple(c.f_s.shape)} and {tuple(c.f_t.shape)}",
    ends={"dead": (0.2, "an image whose map is 0 everywhere has an attention of 0, and the loss stays a number")},
    also=((0.1, slope(DISTANCE, "dead", "where a map is 0 everywhere the gradient is no number, or a wrong one: "
                      "nothing may be divided by a length of 0 on its way.")),))


def flow(c, pool=LARGEST, product="bchw,bdhw->bcd"):
    f_b = c.f_t.double() * (1 + c.f_s.double().mean((1, 2, 3), keepdim=True))
    G = torch.einsum(product, pool(c.f_s.double(), c.f_t.shape[2:]), f_b)
    return G.expand(c.probe.shape)


FLOW = Formula(lambda c, matrix, over: (matrix(c) / over(c) * c.probe).sum(), matrix={
    "": flow, "the first map is brought down by averages: take maxima": partial(flow, pool=AVERAGE),
    "the first map is cut off: bring it down by maxima": partial(flow, pool=cut),
    "all images are added up: every image has a matrix of its own": partial(flow, product="bchw,bdhw->cd"),
    "the maps are averaged before they meet: multiply them position by position": partial(
        flow, pool=lambda f, size: AVERAGE(f, 1).expand(*f.shape[:2], *size)),
}, over={
    "": lambda c: c.f_t[0, 0].numel(), "the sum is not divided by the number of positions": lambda c: 1,
    "the sum is divided by the number of channels: divide by that of positions": lambda c: c.f_s.shape[1],
    "the sum is divided by channels and positions: divide by positions alone": lambda c: c.f_t[0].numel(),
})
flow_matrix = loss(FLOW, "one size", "halved", at="f_s", where=RELATIONS, marks=(0.7, 0.3), large=0,
                   of=lambda c: f"maps {tuple(c.f_s.shape)} and {tuple(c.f_t.shape)}, summed with random factors,")


def directions(f, unit=True):
    """From image j to image i, (j, i, D), of length 1; 0 where the two coincide."""
    u = f.double()[None] - f.double()[:, None]
    squared = u.square().sum(2, keepdim=True)
    return torch.where(squared > 0, u / torch.where(squared > 0, squared, 1.0).sqrt(), 0.0) if unit else u


def cosines(f, unit=True):
    return directions(f, unit) @ directions(f, unit).transpose(1, 2)


def three(g):
    """1 for a triplet of different images."""
    i, j, k = torch.meshgrid(*[torch.arange(len(g))] * 3, indexing="ij")
    return ((i != j) & (j != k) & (i != k)).double()


ANGLES = Formula(lambda c, angle, gap, over: over(gap(angle(c.f_s), angle(c.f_t))), angle={
    "": cosines, "the products are not divided by the lengths: these are no cosines": partial(cosines, unit=False),
    "these are cosines of two images seen from the origin: look from a third image": lambda f: F.cosine_similarity(
        f.double()[:, None], f.double()[None], dim=2).expand(len(f), len(f), len(f)),
    "the angles themselves are compared: compare their cosines": lambda f: cosines(f).mul(1 - 1e-12).acos(),
}, gap={
    "": lambda a, b: (a - b).square(), "absolute differences are taken: square them": lambda a, b: (a - b).abs(),
    "this is the paper's Huber loss: the square is asked for": partial(F.smooth_l1_loss, reduction="none"),
}, over={
    "": lambda g: (g * three(g)).sum() / three(g).sum(), "the triplets are summed: take their mean":
        lambda g: (g * three(g)).sum(),
    "all B³ entries are averaged: a triplet has three different images": lambda g: (g * three(g)).mean(),
})


angle_distance = loss(
    ANGLES, "four", "six", at="f_s", where=RELATIONS, marks=(0.4, 0.2), large=0, of=lambda c: f"{len(c.f_s)} images",
    ends={"twins": (0.2, "where image j coincides with i or k the cosine counts as 0")}, also=((0.2, slope(
        ANGLES, "twins", "where two images coincide the gradient is no number, or a wrong one: the root has no slope "
        "at 0.")),))


def relative(r, h, over=None):
    return (r - h).square().mean() / (h if over is None else over).square().mean()


def step(soft=lambda r, h, hints: relative(r, h), size=AVERAGE, share=lambda beta, hard, soft: hard + beta * soft):
    """The loss of one step, of what the regressor makes, of the hint and of all hints; and of the labels."""
    return lambda c, hard, made, h: share(c.settings["beta"], hard, soft(size(made, h.shape[2:]), h, c.hints.double()))


def way(c, step, learns=("student", "regressor"), rows=lambda batch: batch.index, order=lambda epoch: epoch,
        rule=descent, apart=False, least=1):
    """How far the weights go: those of a stage, of a head and of a regressor."""
    w, memory, s = c.weights.double().requires_grad_(), {}, c.settings
    shapes = {(3, 1, 1, 1): 3, (3,): 3, (5, 48): 240, (5,): 5, (4, 3, 1, 1): 12, (4,): 4}
    for epoch in range(s["epochs"]):
        for batch in c.split.batches(s["batch_size"], seed=s["seed"], epoch=order(epoch)):
            if len(batch.y) < least:
                continue
            W, b, V, v, R, r = map(torch.Tensor.view, w.split(list(shapes.values())), shapes)
            f = F.conv2d(batch.x.double(), W, b).relu()
            hard = surprise(F.linear(f.flatten(1), V, v), batch.y).mean()
            value = step(c, hard, F.conv2d(f.detach() if apart else f, R, r), c.hints.double()[rows(batch)])
            gradient = torch.autograd.grad(value, w)[0]
            gradient[-16:] *= "regressor" in learns
            gradient[:-16] *= "student" in learns
            rule(w.data, gradient, memory, s["lr"])
    return ((w.detach() - c.weights) * c.probe).sum()


HINT = Formula(lambda c, loop, step: loop(c, step), loop={
    "": way, "the regressor never learns: the optimiser holds the student alone": partial(way, learns=["student"]),
    "the student never learns: the optimiser holds the regressor alone": partial(way, learns=["regressor"]),
    "no weight has moved": partial(way, learns=[]),
    "the features are detached: the hint reaches the regressor alone": partial(way, apart=True),
    "the hints are those of other images: batch.index says whose they are":
        partial(way, rows=lambda batch: range(len(batch.y))),
    "every epoch has the same order: each draws its own": partial(way, order=lambda epoch: 0),
    "the last, smaller batch of an epoch is left out": partial(way, least=6),
    "the optimiser is Adam: plain SGD is asked for": partial(way, rule=adam),
    "SGD has a momentum, and none is asked for": partial(way, rule=partial(descent, momentum=0.9)),
    "gradients add up from step to step: zero_grad is missing": partial(way, rule=partial(descent, momentum=1.0)),
}, step={
    "": step(), "the student's map is cut off: average it down": step(size=cut),
    "the student's map is thinned out: average it down": step(size=thinned),
    "the student's map is brought down by its maxima: take averages": step(size=LARGEST),
    "the hint is not divided by the mean square of the teacher's features": step(lambda r, h, hints: F.mse_loss(r, h)),
    "the hint is divided by the mean square of all hints: take those of the batch": step(relative),
    "the hint is divided image by image: take the mean square of the whole batch":
        step(lambda r, h, hints: torch.stack([relative(a, b) for a, b in zip(r, h, strict=True)]).mean()),
    "the squares are summed: take their mean": step(lambda r, h, hints: r.numel() * relative(r, h)),
    "the hint is divided by the mean square of what the regressor makes": step(lambda r, h, hints: relative(h, r)),
    "beta is not used": step(share=lambda beta, hard, soft: hard + soft),
    "the labels are weighed by 1 - beta: they have weight 1": step(share=lambda beta, hard, soft: (
        1 - beta) * hard + beta * soft),
    "the labels are missing": step(share=lambda beta, hard, soft: 0 * hard + beta * soft),
    "the hint is missing": step(share=lambda beta, hard, soft: hard + 0 * soft),
})
train_hint = loss(HINT, "first", "second", at="", where=HINTS, marks=(1, 0), near=3e-4, of=lambda c: (
    f"{len(c.split)} images, beta = {c.settings['beta']}, the way of all weights, summed with random factors,"))


def maps(c, kept, last):
    a = F.conv2d(c.f_s.double(), c.w[0].double())
    b = F.conv2d(a.relu(), c.w[1].double())
    d = F.conv2d(b.relu(), c.w[2].double())
    return (torch.cat([*(kept(f).flatten() for f in (a, b, d)), last(d.relu().mean((2, 3))).flatten()]) * c.probe).sum()


MAPS = Formula(maps, kept={
    "": lambda f: f, "the maps are not as their layers gave them: the ReLU behind works in place, on the same numbers":
        lambda f: f.relu(),
    "the maps are averaged over their positions: keep them whole": lambda f: f.mean((2, 3), True).expand(f.shape),
}, last={"": lambda z: z, "the second of the pair holds probabilities: logits are asked for": lambda z: z.softmax(1)})


def hooked(inputs, record):
    hooks = sum(record.tensors.get(f"{name} hooks", torch.zeros(())).item() for name in inputs)
    if hooks:
        return "hooks stay on the network and work in every later call: remove each of them."
    left = all(record.tensors.get(f"{name} left", torch.ones(())).item() for name in inputs)
    return "" if left else ("the network is left in another mode, or frozen, and afterwards it is to be as before: "
                            "change neither, or put both back.")


def asked(inputs, record):
    calls, reached = ([record.tensors.get(f"{name} {what}", torch.tensor(right)).item() for name in inputs]
                      for what, right in (("asked", 1), ("reached", 3)))
    if min(reached) < 3:
        return "no gradient reaches the weights of the network: is it a copy that was asked?"
    return "" if max(calls) == 1 else f"the network was asked {max(calls):.0f} times: once is enough for all maps."


maps_of = loss(MAPS, "one", "two", at="f_s", where=OWN, marks=(0.4, 0.2), large=0, also=((0.2, hooked), (0.2, asked)),
               of=lambda c: f"{len(c.f_s)} images, the maps and the logits summed with random factors,")
EXTRA = Formula(lambda c, norms, middle, own, head: float(
    (m := c.C_t // c.r) * (c.C_s + middle * m + c.C_t) + norms * (2 * m + c.C_t)
    + head * (c.C_t + 1) * c.K - own * (c.C_s + 1) * c.K), middle={
    "": 9, "the middle convolution is counted as 1x1: it is 3x3": 1,
    "the middle convolution is counted with 3 weights for a pair of channels: 3x3 are 9": 3,
}, norms={
    "": 2, "the batch normalisations are left out: each has two numbers for every channel": 0,
    "each channel has one number more: a batch normalisation has two, and the convolutions have no bias": 1,
    "convolutions with biases are counted: they have none": 3,
    "running means and variances are counted: they are no parameters": 4,
}, head={"": 1, "the teacher's last layer is left out: it is shipped": 0}, own={
    "": 1, "the student's own head is counted as shipped: it stays behind": 0,
})
simkd_parameters = loss(EXTRA, "halved", "a third", "a quarter", at="", where=SIMKD, marks=(1, 0), near=0,
                        of=lambda c: f"C_s = {c.C_s}, C_t = {c.C_t}, K = {c.K}, r = {c.r}")
