"""Exercise 01, vanilla distillation, judging half."""

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdcourse import data
from kdcourse.core import seeded
from kdcourse.marking.judges.accuracies import ACCURACY, unharmed, unrecorded
from kdcourse.marking.judges.choices import choice
from kdcourse.marking.judges.comparisons import (
    DIFFERENCE,
    PAIRED,
    as_given,
    both_kinds,
    by_temperature,
    differences,
    every_run,
    paired,
    same_alpha,
)
from kdcourse.marking.judges.costs import MULTIPLY_ADDS, PARAMETERS
from kdcourse.marking.judges.costs import of as of_network
from kdcourse.marking.judges.experiment import Column, experiment, fresh, moments
from kdcourse.marking.judges.hand_in import SMALL, hand_in
from kdcourse.marking.judges.intervals import HALF, MEAN
from kdcourse.marking.judges.logits import COMBINED, CROSS_ENTROPY, ONE_STEP, SOFT, of
from kdcourse.marking.judges.loss import loss
from kdcourse.marking.judges.mistakes import Formula
from kdcourse.marking.judges.network import INPUT, OUTPUT, SHORTCUTS, Dropout, network, none, other_activations
from kdcourse.marking.judges.training import LEFT, SETTINGS, STOP, Marking, replay, training, until
from kdcourse.marking.judges.weights import Network, retrained, weights
from kdcourse.marking.record import Wrong

NETWORKS, LOSSES, LOOP, COMPARED, CURVE, PAIR, COSTS = (f"notebook 01, section {n}" for n in (1, 2, 3, 4, 6, 7, 9))
EARLY = "notebook 01, section 10, and the text of the task"


def teacher_forward(c, relus, pool, output, start):
    f = pool(relus[0](F.conv2d(start(c.x), c.w[0], c.w[1])), 2, stride=1)
    f = pool(relus[1](F.conv2d(f, c.w[2], c.w[3])), 2, stride=2).flatten(1)
    f = relus[2](F.linear(c.tap(4, f), c.w[4], c.w[5]))
    return output(F.linear(c.tap(6, f), c.w[6], c.w[7]))


def student_forward(c, relus, output, start, shortcuts):
    f = start(c.x).flatten(1)
    for i in range(2):
        f = shortcuts[i](relus[i], F.linear(f, c.w[2 * i], c.w[2 * i + 1]), f)
    return output(F.linear(f, c.w[4], c.w[5]))


def before_the_last_pooling(c):
    f = F.conv2d(F.max_pool2d(F.conv2d(c.x, c.w[0], c.w[1]).relu(), 2, stride=1), c.w[2], c.w[3]).relu()
    return F.unfold(f[:, :, :22, :22].transpose(0, 1), 2, stride=2).permute(1, 0, 2).flatten(1)


SIDES = {  # what the first dense layer sees if the convolutions and poolings are otherwise
    12544: "28 x 28 stays 28 x 28 until the last pooling: there is no padding here",
    10816: "the convolutions are padded: there is no padding here",
    1600: "both poolings have stride 2: the first one has stride 1",
    6400: "the strides of the two poolings are exchanged: the first one has stride 1",
    30976: "both poolings have stride 1: the second one has stride 2",
    3136: "the convolutions are padded and both poolings have stride 2: no padding here, and the first has stride 1",
    9216: "a pooling is missing: there is one after each convolution",
}
teacher_network = network(
    Formula(teacher_forward, relus={
        "": (F.relu, F.relu, F.relu), "the ReLU after the first convolution is missing": (none, F.relu, F.relu),
        "the ReLU after the second convolution is missing": (F.relu, none, F.relu),
        "the ReLU after the first dense layer is missing": (F.relu, F.relu, none),
        "the ReLUs after the convolutions are missing": (none, none, F.relu),
        "there is no ReLU at all": (none, none, none), **other_activations(3),
    }, pool={"": F.max_pool2d, "the poolings take the mean: they should take the maximum": F.avg_pool2d},
        output=OUTPUT, start=INPUT),
    ((32, 1, 3, 3), (32,), (64, 32, 3, 3), (64,), (128, 7744), (128,), (10, 128), (10,)), where=NETWORKS,
    marks=(0.6, 0.1, 0.3), hint=lambda shapes: next((SIDES.get(math.prod(s) // 128, "") for s in shapes if len(s) == 2
                                                     and 128 in s and 10 not in s), ""),
    dropouts={4: Dropout("between flattening and the first dense layer", 64),
              6: Dropout("before the last dense layer")},
    misplaced={"the first dropout comes before the last pooling: it belongs after flattening": before_the_last_pooling})
student_network = network(
    Formula(student_forward, relus={
        "": (F.relu, F.relu), "there is no ReLU at all: three dense layers without one are a single one": (none, none),
        "the ReLU after the first dense layer is missing": (none, F.relu),
        "the ReLU after the second dense layer is missing": (F.relu, none), **other_activations(2),
    }, output=OUTPUT, start=INPUT, shortcuts=SHORTCUTS),
    ((784, 784), (784,), (784, 784), (784,), (10, 784), (10,)), where=NETWORKS, marks=(0.8, 0.1, 0.1))

teacher_loss = loss(CROSS_ENTROPY, "cold", "warm", where=LOSSES,
                    of=lambda c: "{} images, {} classes".format(*c.z_s.shape))
distillation_loss = loss(SOFT, "cold", "warm", "warmer", "hot", where=LOSSES, of=of,
                         depends_on={"T": ("warm", "warmer")})
combined_loss = loss(COMBINED, "cold", "warm", "warmer", "hot", where=LOSSES, of=of, marks=(0.3, 0.3), large=0,
                     depends_on={"alpha": ("warm", "hard", "soft")},
                     ends={"hard": (0.2, "alpha = 0 leaves the cross-entropy with the labels alone"),
                           "soft": (0.2, "alpha = 1 leaves the distillation loss alone")})
train = training(ONE_STEP, where=LOOP, repair="combined_loss, question 3", weights={"main": 0.3},
                 marks=Marking(harm=0.1), arguments={"other T": "T", "other alpha": "alpha"}, other_order="other seed")


evaluate = loss(ACCURACY, "first", "second", at="", where=LOOP, marks=(0.7, 0), near=6e-5,  # as of four places
                of=lambda c: f"{len(c.split)} images in batches of {c.batch_size}",
                shares={"count": 5 / 7, "mode": 2 / 7}, also=((0.15, unrecorded), (0.15, unharmed)),
                own="the count is yours to write, with torch alone")
count_parameters = loss(PARAMETERS, "first", "second", at="", where=COSTS, of=of_network, marks=(1, 0), near=0)
count_multiply_adds = loss(MULTIPLY_ADDS, "first", "second", at="", where=COSTS, of=of_network, marks=(1, 0), near=0)


def small_teacher(w, x):
    f = F.relu(F.conv2d(F.relu(F.conv2d(x, w[0], w[1], stride=2, padding=1)), w[2], w[3], stride=2, padding=1))
    return small_student(w[4:], f)


def small_student(w, x):
    return F.linear(F.relu(F.linear(x.flatten(1), w[0], w[1])), w[2], w[3])


def first_student() -> list[Tensor]:
    """The weights from which the text has the student start."""
    with seeded(0):
        layers = nn.Linear(64, 64), nn.Linear(64, 10)
    return [part.detach().double() for layer in layers for part in (layer.weight, layer.bias)]


@cache
def on_labels() -> Tensor:
    """The student's weights after a training on labels alone, and else as the text sets it."""
    split = data.load("digits").train
    return retrained(first_student(), small_student, split, torch.zeros(len(split), 10), T=1, alpha=0, epochs=8,
                     lr=0.02, batch_size=200, seed=0)


SEARCH = choice(((1, 0.5), (1, 0.9), (4, 0.5), (4, 0.9)), first_student, (0.1, 0.1, 0.2))


def other_trainings(record, w):
    yield "student", "a training on labels alone", first_student(), on_labels()


trained_pair = weights({
    "teacher": Network(((32, 1, 3, 3), (32,), (32, 32, 3, 3), (32,), (64, 128), (64,), (10, 64), (10,)), small_teacher,
                       0.95),
    "student": Network(((64, 64), (64,), (10, 64), (10,)), small_student, 0.88),
}, source="digits", where=PAIR, trained=0.15, reported=0.15, suspects=other_trainings,
    also=SEARCH)
temperature_curve = experiment(
    Column(0.2, "the mean at the first temperature", MEAN),
    Column(0.2, "the half-width of the 95 % interval", HALF, 2e-3), where=CURVE, values=by_temperature,
    marks={fresh: 0.4, every_run: 0.1, same_alpha: 0.1},
    expected="a dict {T: (mean, half-width)} with the temperatures that were given as its keys")
student_alone = experiment(
    Column(0.2, "the mean difference", DIFFERENCE),
    Column(0.2, "the half-width of the 95 % interval", PAIRED, 2e-3), where=COMPARED, values=differences,
    marks={both_kinds: 0.3, paired: 0.2, as_given: 0.1}, expected="a pair (mean difference, half-width)")
stopped_teachers = moments(where=EARLY, marks=(0.3, 0.4, 0.1, 0.2))


def goes_on(replays, name):
    """Why the weights at the end of a run are not looked at."""
    run = replays.run(name)
    if until(run) and sum(map(len, run.steps)) < len(run.split) * run.settings["epochs"]:
        return "training ends at the stop: hard labels alone should follow."
    if name == "main" and replays.reaches(name, lambda run: replay(run, ONE_STEP.right)):
        raise Wrong(f"stop = {run.stop} changes nothing: the distillation goes on to the end. Read {EARLY}.")
    return ""


stopped_distillation = training(
    ONE_STEP, where=EARLY, repair="combined_loss, question 3", weights={"main": 0.3, "within": 0.1, "never": 0.2},
    marks=Marking(visits=0.1, student_mode=0.1, teacher_mode=0.1, frozen=0.05, harm=0.05), plans={"plan": STOP},
    before=goes_on, settings=(LEFT, *SETTINGS),
    said=lambda run: f"with stop = {run.stop} of {run.settings['epochs']} epochs, ")
own_experiment = hand_in(597, 10, 8, where="the text of question 13", parts=SMALL)
