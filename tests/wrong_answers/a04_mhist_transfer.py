"""Exercise 04: blocks, measures, trainings and designs that look right, and unusual ones that are."""

import copy
import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from sklearn.metrics import f1_score, roc_auc_score
from torch import nn

from kdcourse import metrics
from wrong_answers import Answer, collector

WRONG, RIGHT = [], []
wrong, right = collector(WRONG), collector(RIGHT)


class Stopped(nn.Module):
    def __init__(self, network, n, *, modes=True, weights=True, rest=True, stubborn=False):
        super().__init__()
        self.network, self.n, self.modes, self.rest, self.stubborn = network, n, modes, rest, stubborn
        if weights:
            network[:n].requires_grad_(False)

    def train(self, mode=True):
        super().train((mode or self.stubborn) and self.rest)
        if self.modes:
            self.network[: self.n].eval()
        return self

    def forward(self, x):
        return self.network(x)


WRONG += [Answer("freeze_stages", (function,), name, 0.0, says) for name, function, says in (
    ("requires_grad_alone", lambda network, n: Stopped(network, n, modes=False), "their batch statistics move"),
    ("eval_alone", lambda network, n: Stopped(network, n, weights=False), "still get a gradient"),
    ("everything_in_eval", lambda network, n: Stopped(network, n, rest=False), "that go on learning are in eval mode"),
    ("never_in_eval_mode", lambda network, n: Stopped(network, n, stubborn=True), "after eval() stages are in"),
    ("counted_from_one", lambda network, n: Stopped(network, n - 1), "one stage too few"),
    ("one_more", lambda network, n: Stopped(network, n + 1), "one stage too many"),
)]


@wrong("freeze_stages", 0.0, "their batch statistics move")
def eval_once_before_train_is_called(network, n):  # train() undoes it
    for stage in network[:n]:
        stage.eval().requires_grad_(False)
    return network


@right("freeze_stages")
def a_subclass(network, n):
    return Stopped(network, n)


@right("freeze_stages")
def a_method_on_the_network_itself(network, n):
    body = network[:n].requires_grad_(False)

    def train(mode=True):
        nn.Sequential.train(network, mode)
        body.eval()
        return network

    network.train = train
    return network


@right("freeze_stages")
def without_gradients_in_two_parts(network, n):
    class Parts(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.rest = network[:n], network[n:]

        def train(self, mode=True):
            self.training = mode
            self.rest.train(mode)
            self.body.train(False)
            return self

        def forward(self, x):
            with torch.no_grad():
                f = self.body(x)
            return self.rest(f)

    return Parts()


class Preactivated(nn.Module):
    """V2, with options for what goes wrong."""

    def __init__(self, channels, out, stride, *, branch="after", end=False, shortcut=True, first="stride"):
        super().__init__()
        strides = (stride, 1) if first == "stride" else (1, stride)
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(out)
        self.conv1 = nn.Conv2d(channels, out, 3, strides[0], 1, bias=False)
        self.conv2 = nn.Conv2d(out, out, 3, strides[1], 1, bias=False)
        self.branch, self.end, self.shortcut = branch, end, shortcut
        self.match = nn.Conv2d(channels, out, 1, stride, bias=False) if stride > 1 or channels != out else None

    def forward(self, x):
        a = F.relu(self.bn1(x))
        f = self.conv2(F.relu(self.bn2(self.conv1(a))))
        if self.shortcut:
            f = f + (x if self.match is None else self.match(a if self.branch == "after" else x))
        return f.relu() if self.end else f


class First(nn.Module):
    """V1's order."""

    def __init__(self, channels, out, stride):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out))
        self.match = (nn.Conv2d(channels, out, 1, stride, bias=False) if stride > 1 or channels != out
                      else nn.Identity())

    def forward(self, x):
        return F.relu(self.layers(x) + self.match(x))


WRONG += [Answer("preactivation_block", (function,), name, 0.0, says) for name, function, says in (
    ("relu_after_the_addition", lambda *size: Preactivated(*size, end=True), "a ReLU follows the addition"),
    ("shortcut_from_the_input", lambda *size: Preactivated(*size, branch="before"), "it sees the input itself"),
    ("plain", lambda *size: Preactivated(*size, shortcut=False), "there is no shortcut"),
    ("stride_in_the_second", lambda *size: Preactivated(*size, first="none"), "the stride belongs to the first"),
    ("version_one", First, "V1"),
    ("no_stride_at_all", lambda channels, out, stride: Preactivated(channels, out, 1), "the stride is missing"),
)]


@right("preactivation_block")
class InOneList(nn.Module):
    def __init__(self, channels, out, stride):
        super().__init__()
        same = channels == out and stride == 1
        self.parts = nn.ModuleDict({
            "late": nn.Sequential(nn.Conv2d(channels, out, (3, 3), (stride, stride), padding="valid"),
                                  nn.BatchNorm2d(out), nn.ReLU(inplace=True),
                                  nn.Conv2d(out, out, 3, padding="same", bias=False)),
            "early": nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())})
        self.short = None if same else nn.Conv2d(channels, out, 1, stride)

    def forward(self, x):
        a = self.parts["early"](x)
        return torch.add(x if self.short is None else self.short(a), self.parts["late"](F.pad(a, (1, 1, 1, 1))))


class Inverted(nn.Module):
    def __init__(self, channels, out, stride, *, act=nn.ReLU6, last=nn.Identity, groups=True, skip=True):
        super().__init__()
        wide = 6 * channels
        self.layers = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), act(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide if groups else 1, bias=False), nn.BatchNorm2d(wide), act(),
            nn.Conv2d(wide, out, 1, bias=False), nn.BatchNorm2d(out), last())
        self.skip = skip and stride == 1 and channels == out

    def forward(self, x):
        return x + self.layers(x) if self.skip else self.layers(x)


WRONG += [Answer("inverted_residual", (function,), name, 0.0, says) for name, function, says in (
    ("relu_in_place_of_relu6", lambda *size: Inverted(*size, act=nn.ReLU), "ReLU stands where ReLU6 belongs"),
    ("no_linear_bottleneck", lambda *size: Inverted(*size, last=nn.ReLU6), "the bottleneck is linear"),
    ("an_ordinary_convolution", lambda *size: Inverted(*size, groups=False), "mixes the channels"),
    ("never_a_shortcut", lambda *size: Inverted(*size, skip=False), "no shortcut where the shapes agree"),
)]


@right("preactivation_block")
class KernelsOfItsOwn(nn.Module):
    def __init__(self, channels, out, stride):
        super().__init__()
        self.stride, self.first, self.second = stride, nn.BatchNorm2d(channels), nn.BatchNorm2d(out)
        self.kernels = nn.ParameterList(nn.Parameter(torch.randn(out, n, 3, 3) / n) for n in (channels, out))
        self.short = None if channels == out and stride == 1 else nn.Parameter(torch.randn(out, channels, 1, 1))

    def forward(self, x):
        a = self.first(x).relu()
        f = F.conv2d(self.second(F.conv2d(a, self.kernels[0], None, self.stride, 1)).relu(), self.kernels[1], padding=1)
        return f + (x if self.short is None else F.conv2d(a, self.short, stride=self.stride))


@right("inverted_residual")
def a_sequence_with_a_hook(channels, out, stride):
    block = Inverted(channels, out, stride, skip=False).layers
    if stride == 1 and channels == out:
        block.register_forward_hook(lambda layer, given, found: found + given[0])
    return block


@wrong("macro_f1", 0.0, "this is the accuracy")
def micro(counts):
    return counts.diagonal().sum() / counts.sum()


@wrong("macro_f1", 0.0, "F1 was made of the mean precision")
def f1_of_the_means(counts):
    P, R = ((counts.diagonal() / counts.sum(dim)).mean() for dim in (0, 1))
    return 2 * P * R / (P + R)


@wrong("macro_f1", 0.0, "weighed by their images")
def weighted(counts):
    y, called = images_of(counts)
    return f1_score(y, called, average="weighted")


def images_of(counts):
    rows = [(i, j) for i, row in enumerate(counts.tolist()) for j, n in enumerate(row) for _ in range(n)]
    return tuple(zip(*rows, strict=True))


@right("macro_f1")
def by_scikit_learn(counts):
    y, called = images_of(counts)
    return f1_score(y, called, average="macro")


@wrong("auc_from_counts", 0.0, "a tie counts as nothing")
def without_ties(positive, negative):
    below = negative.cumsum(0) - negative
    return (positive * below).sum() / positive.sum() / negative.sum()


@wrong("auc_from_counts", 0.0, "a tie counts as a pair in the right order")
def ties_as_wins(positive, negative):
    return (positive * negative.cumsum(0)).sum() / positive.sum() / negative.sum()


@wrong("auc_from_counts", 0.0, "run the wrong way")
def area_from_the_wrong_end(positive, negative):
    recall, alarms = (torch.cat([torch.zeros(1), n.cumsum(0) / n.sum()]) for n in (positive, negative))
    return torch.trapezoid(recall, alarms)


@right("auc_from_counts")
def one_image_after_the_other(positive, negative):
    levels = np.arange(len(positive))
    score = np.concatenate([levels.repeat(positive.numpy()), levels.repeat(negative.numpy())])
    return roc_auc_score([1] * int(positive.sum()) + [0] * int(negative.sum()), score)


@right("auc_from_counts")
def area_under_the_curve(positive, negative):
    recall, alarms = (torch.cat([torch.zeros(1), n.flip(0).cumsum(0) / n.sum()]) for n in (positive, negative))
    return torch.trapezoid(recall, alarms).item()


def stop(copied=True, better=lambda new, old: new > old, late=0, first=-math.inf):
    def early_stopped(network, learn, valid, *, epochs, patience):
        best, kept, since = first, network, 0
        for _ in range(epochs):
            learn(network)
            score = valid(network)
            if better(score, best):
                best, kept, since = score, copy.deepcopy(network) if copied else network, 0
            else:
                since += 1
            if since >= patience + late:
                break
        return kept

    return early_stopped


WRONG += [Answer("early_stopped", (function,), name, 0.0, says) for name, function, says in (
    ("a_name_is_no_copy", stop(copied=False), "a name is no copy"),
    ("ties_are_better", stop(better=lambda new, old: new >= old), "an equal score counts as better"),
    ("one_epoch_late", stop(late=1), "it stops one epoch too late"),
    ("best_from_zero", stop(first=0.0), "the best score begins at 0"),
    ("never", stop(late=1000), "never stops before the last epoch"),
)]


@wrong("early_stopped", 0.0, "it stopped with an error")
def weights_in_place_of_a_network(network, learn, valid, *, epochs, patience):
    return stop()(network, learn, valid, epochs=epochs, patience=patience).state_dict()


@wrong("early_stopped", 0.0, "batch statistics, is that of the last")
def with_its_parameters_alone(network, learn, valid, *, epochs, patience):
    kept = stop()(network, learn, valid, epochs=epochs, patience=patience)
    for parameter, best in zip(network.parameters(), kept.parameters(), strict=True):
        parameter.data.copy_(best)
    return network


@right("early_stopped")
def with_its_weights_put_back(network, learn, valid, *, epochs, patience):
    scores, states = [], []
    while len(scores) < epochs and (not scores or len(scores) - 1 - scores.index(max(scores)) < patience):
        learn(network)
        scores.append(valid(network))
        states.append({name: value.clone() for name, value in network.state_dict().items()})
    network.load_state_dict(states[scores.index(max(scores))])
    return network


def cells(make, teach, measure, seeds):
    found = {}
    for start in ("random", "pretrained"):
        for lesson in ("labels", "distilled"):
            for seed in seeds:
                student = make(start, seed)
                teach(student, lesson, seed)
                found.setdefault((start, lesson), []).append(measure(student))
    return [np.array(values) for values in found.values()]


def half(values):
    return stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5


def pairs(*effects):
    return tuple((values.mean(), half(values)) for values in effects)


@wrong("two_by_two", 0.6, "this is the effect on labels alone")
def simple_effects(make, teach, measure, *, seeds):
    r, rd, p, pd = cells(make, teach, measure, seeds)
    return pairs(p - r, rd - r, pd - p - rd + r)


@wrong("two_by_two", 0.85, "its sign is turned round")
def interaction_turned_round(make, teach, measure, *, seeds):
    r, rd, p, pd = cells(make, teach, measure, seeds)
    return pairs((p - r + pd - rd) / 2, (rd - r + pd - p) / 2, rd - r - pd + p)


@wrong("two_by_two", 0.85, "the cells were treated as unpaired")
def every_cell_by_itself(make, teach, measure, *, seeds):
    r, rd, p, pd = four = cells(make, teach, measure, seeds)
    width = math.hypot(*map(half, four))
    means = (p - r + pd - rd).mean() / 2, (rd - r + pd - p).mean() / 2, (pd - p - rd + r).mean()
    return tuple(zip(means, (width / 2, width / 2, width), strict=True))


@wrong("two_by_two", 0.0, 'no student was measured in the cell "random, distilled"')
def three_cells(make, teach, measure, *, seeds):
    def values(start, lesson):
        found = []
        for seed in seeds:
            student = make(start, seed)
            teach(student, lesson, seed)
            found.append(measure(student))
        return np.array(found)

    r, p, pd = values("random", "labels"), values("pretrained", "labels"), values("pretrained", "distilled")
    return pairs(p - r, pd - p, pd - p)


@right("two_by_two")
def by_a_table_of_contrasts(make, teach, measure, *, seeds):
    four = np.stack(cells(make, teach, measure, seeds))
    contrasts = np.array([[-1, -1, 1, 1], [-1, 1, -1, 1], [2, -2, -2, 2]]) / 2 @ four
    found = [metrics.interval(row.tolist()) for row in contrasts]
    return [(mean, (high - low) / 2) for mean, low, high in found]


@right("freeze_stages")
def a_frozen_part_in_a_sequence(network, n):
    class Still(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = network[:n].requires_grad_(False).eval()

        def train(self, mode=True):
            return self

        def forward(self, x):
            return self.body(x)

    return nn.Sequential(Still(), *network[n:])


@wrong("two_by_two", 0.0, "for effect number 0 a tuple of 3")
def mean_low_and_high_of_effects(make, teach, measure, *, seeds):
    r, rd, p, pd = cells(make, teach, measure, seeds)
    return tuple(metrics.interval(values.tolist()) for values in (p - r, rd - r, pd - p - rd + r))


@wrong("two_by_two", 0.0, "a dict with the keys ['transfer'")
def effects_by_their_names(make, teach, measure, *, seeds):
    r, rd, p, pd = cells(make, teach, measure, seeds)
    return dict(zip(("transfer", "distillation", "interaction"), pairs(p - r, rd - r, pd - p - rd + r), strict=True))


@wrong("early_stopped", 0.0, "the value is")
def stops_at_falls_in_a_row(network, learn, valid, *, epochs, patience):
    scores, kept, falls = [], None, 0
    while len(scores) < epochs and falls < patience:
        learn(network)
        scores.append(valid(network))
        falls = falls + 1 if len(scores) > 1 and scores[-1] <= scores[-2] else 0
        kept = copy.deepcopy(network) if scores[-1] == max(scores) else kept
    return kept


@wrong("early_stopped", 0.0, "the untrained network is a candidate")
def the_untrained_network_first(network, learn, valid, *, epochs, patience):
    best, kept, since = valid(network), copy.deepcopy(network), 0
    for _ in range(epochs):
        learn(network)
        if (score := valid(network)) > best:
            best, kept, since = score, copy.deepcopy(network), 0
        elif (since := since + 1) == patience:
            break
    return kept


@wrong("early_stopped", 0.0, "any higher one is better")
def better_by_a_hundredth(network, learn, valid, *, epochs, patience):
    return stop(better=lambda new, old: new > old + 1e-2)(network, learn, valid, epochs=epochs, patience=patience)


class Once(Stopped):
    def train(self, mode=True):
        nn.Module.train(self, mode)
        if not vars(self).get("done"):
            self.network[: self.n].eval()
            self.done = True
        return self


class Normed(Stopped):
    def train(self, mode=True):
        nn.Module.train(self, mode)
        for part in self.network[: self.n].modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
        return self


class Silent(Stopped):
    def train(self, mode=True):
        super().train(mode)


WRONG += [Answer("freeze_stages", (function,), name, 0.0, says) for name, function, says in (
    ("in_the_first_epoch_alone", Once, "frozen in the first epoch only"),
    ("batch_normalisation_alone", Normed, "only the batch normalisation of the frozen stages"),
    ("nothing_returned", Silent, "train() returns nothing"),
)]


@right("two_by_two")
def in_single_precision(make, teach, measure, *, seeds):
    r, rd, p, pd = (torch.tensor(values.tolist()) for values in cells(make, teach, measure, seeds))
    t = stats.t.ppf(0.975, len(r) - 1)
    effects = (p - r + pd - rd) / 2, (rd - r + pd - p) / 2, pd - p - rd + r
    return torch.stack([torch.stack([d.mean(), t * d.std() / len(d) ** 0.5]) for d in effects])
