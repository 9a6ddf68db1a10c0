"""Unusual answers that are right and must keep every point: other operations, other orders, loops, float64."""

import copy
import math

import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn
from torch.distributions import Categorical, kl_divergence
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from kdcourse import metrics
from wrong_answers import Answer, collector
from wrong_answers.experiments import half, measured
from wrong_answers.loops import combined, loop
from wrong_answers.losses import kl
from wrong_answers.networks import layer_by_layer, places, student, teacher

RIGHT = []
right = collector(RIGHT)


@right("distillation_loss")
def by_distributions(z_s, z_t, T):
    return T**2 * kl_divergence(Categorical(logits=z_t / T), Categorical(logits=z_s / T)).mean()


@right("distillation_loss")
def by_a_loop(z_s, z_t, T):
    total = 0.0
    for s, t in zip(z_s, z_t, strict=True):
        log_s, log_t = torch.log_softmax(s / T, dim=0), torch.log_softmax(t / T, dim=0)
        for a, b in zip(log_s, log_t, strict=True):
            total = total + math.exp(b.item()) * (b.item() - a)
    return total / len(z_s) * T * T


@right("distillation_loss")
def in_float64(z_s, z_t, T):
    return T**2 * kl(z_s.double(), z_t.double(), T)


@right("distillation_loss")
def with_log_target(z_s, z_t, T):
    log_p = F.log_softmax(z_s.div(T), 1), F.log_softmax(z_t.div(T), 1)
    return F.kl_div(*log_p, reduction="none", log_target=True).sum(1).mul(T).mul(T).mean()


@right("distillation_loss")
def summed_and_divided_by_the_batch(z_s, z_t, T):
    return T**2 * nn.KLDivLoss(reduction="sum")(F.log_softmax(z_s / T, -1), F.softmax(z_t.detach() / T, -1)) / len(z_s)


@right("distillation_loss")
def cross_entropy_minus_entropy(z_s, z_t, T):
    p_t = F.softmax(z_t / T, dim=1)
    entropy = -torch.xlogy(p_t, p_t).sum(dim=1).mean()
    return T * (T * (F.cross_entropy(z_s / T, p_t) - entropy))


@right("distillation_loss")
def with_logsumexp(z_s, z_t, T):
    s, t = z_s / T, z_t / T
    s, t = s - s.logsumexp(1, keepdim=True), t - t.logsumexp(1, keepdim=True)
    return torch.einsum("bk,bk->", t.exp(), t - s) * T**2 / s.shape[0]


class KDLoss(nn.Module):
    def forward(self, z_s, z_t, T):
        divergence = nn.KLDivLoss(reduction="batchmean", log_target=True)
        return T**2 * divergence((z_s / T).log_softmax(1), (z_t / T).log_softmax(1))


@right("distillation_loss")
def of_one_element(z_s, z_t, T):
    each = F.kl_div((z_s / T).log_softmax(1), (z_t / T).softmax(1), reduction="none")
    return T**2 * each.sum((0, 1)) / len(z_t)


RIGHT.append(Answer("distillation_loss", (KDLoss(),), "a_module"))


@right("teacher_loss")
def labels_by_distributions(z, y):
    return -Categorical(logits=z).log_prob(y).mean()


@right("teacher_loss")
def labels_as_one_hot(z, y):
    return -(F.one_hot(y, z.shape[1]) * F.log_softmax(z, dim=1)).sum() / len(y)


@right("teacher_loss")
def labels_in_float64(z, y):
    return (z.double().logsumexp(dim=1) - z.double()[torch.arange(len(y)), y]).mean()


RIGHT.append(Answer("teacher_loss", (nn.CrossEntropyLoss(),), "labels_by_a_module"))


@right("combined_loss")
def interpolated(z_s, z_t, y, T, alpha):
    return torch.lerp(F.cross_entropy(z_s, y), T**2 * kl(z_s, z_t, T), alpha)


@right("combined_loss")
def hard_plus_share_of_the_difference(z_s, z_t, y, T, alpha):
    hard = F.cross_entropy(z_s, y)
    return hard + alpha * (T**2 * kl(z_s, z_t, T) - hard)


@right("combined_loss")
def per_image_and_averaged_last(z_s, z_t, y, T, alpha):
    soft = kl_divergence(Categorical(logits=z_t / T), Categorical(logits=z_s / T))
    return torch.stack([(1 - alpha) * F.cross_entropy(z_s, y, reduction="none"), alpha * T**2 * soft]).sum(0).mean()


class Teacher(nn.Module):
    """Defined in another order than it is used, pooling before ReLU, functional dropout."""

    def __init__(self):
        super().__init__()
        self.out, self.dense = nn.Linear(128, 10), nn.LazyLinear(128)
        self.second, self.first = nn.Conv2d(32, 64, 3), nn.Conv2d(1, 32, 3)

    def forward(self, x):
        x = F.max_pool2d(self.first(x), 2, stride=1).relu()
        x = F.max_pool2d(self.second(x), 2).relu()
        x = F.dropout(x.reshape(len(x), -1), training=self.training)
        return self.out(F.dropout(self.dense(x).relu(), 0.5, self.training))


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(784, 10), nn.Linear(784, 784), nn.Linear(784, 784)])

    def forward(self, x):
        x = x.view(x.size(0), -1)
        for layer in (2, 1):
            x = torch.clamp(self.layers[layer](x), min=0)
        return self.layers[0](x)


RIGHT += [Answer("teacher_network", (Teacher,), "module_with_functional_dropout"),
          Answer("teacher_network", (teacher,), "sequential_teacher"),
          Answer("student_network", (Student,), "module_with_a_list_of_layers"),
          Answer("student_network", (student,), "sequential_student"),
          Answer("train", (loop,), "loop_of_the_catalogue")]


@right("train")
def with_a_data_loader(student, teacher, split, *, T, alpha, epochs, lr, batch_size, seed):
    rows = TensorDataset(split.x / 255, split.y)
    loader = DataLoader(rows, batch_size, shuffle=True, generator=torch.Generator().manual_seed(seed))
    optimiser = torch.optim.Adam(params=student.parameters(), lr=lr)
    teacher.eval()
    student.train()
    for _ in range(epochs):
        for x, y in loader:
            student.zero_grad()
            combined(student(x), teacher(x).detach(), y, T, alpha).backward()
            optimiser.step()


@right("train")
def teacher_asked_once(student, teacher, split, *, T, alpha, epochs, lr, batch_size, seed):
    torch.manual_seed(seed)
    with torch.inference_mode():
        answers = teacher.eval()(split.x.float() / 255)
    answers, optimiser = answers.clone(), torch.optim.Adam(student.parameters(), lr)
    for _ in range(epochs):
        student.train()
        for rows in torch.randperm(len(split)).split(batch_size):
            loss = combined(student(split.x[rows] / 255.0), answers[rows], split.y[rows], T, alpha)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        student.eval()
        with torch.no_grad():
            student(split.x / 255.0)


@right("train")
def each_term_with_its_own_pass(student, teacher, split, *, T, alpha, epochs, lr, batch_size, seed):
    optimiser = torch.optim.Adam(student.parameters(), lr=lr)
    teacher.eval().requires_grad_(False)
    for epoch in range(epochs):
        student.train()
        for batch in split.batches(batch_size, seed=seed, epoch=epoch):
            ((1 - alpha) * F.cross_entropy(student(batch.x), batch.y)).backward()
            (alpha * T**2 * kl(student(batch.x), teacher(batch.x), T)).backward()
            optimiser.step()
            optimiser.zero_grad()
    teacher.requires_grad_(True)


@right("train")
def with_the_mode_and_the_flags_of_the_teacher_put_back(student, teacher, split, **settings):
    mode, flags = teacher.training, [parameter.requires_grad for parameter in teacher.parameters()]
    teacher.requires_grad_(False)
    loop(student, teacher, split, **settings)
    teacher.train(mode)
    for parameter, flag in zip(teacher.parameters(), flags, strict=True):
        parameter.requires_grad_(flag)


@right("train")
def with_a_copy_of_the_teacher_that_is_frozen(student, teacher, split, **settings):
    loop(student, copy.deepcopy(teacher).requires_grad_(False), split, **settings)


@right("evaluate")
@torch.inference_mode()
def all_at_once(network, split, batch_size):
    return (network.eval()(split.x / 255).argmax(1) == split.y).float().mean()


@right("evaluate")
def with_its_mode_restored(network, split, batch_size):
    before = network.training
    network.eval()
    with torch.no_grad():
        wrong = sum(int((network(b.x).max(dim=1).indices != b.y).sum()) for b in split.batches(batch_size, seed=3))
    network.train(before)
    return 1 - wrong / len(split)


@right("temperature_curve")
def copies_of_one_student_per_seed(make, teach, measure, *, temperatures, seeds, alpha):
    first, found = {seed: make(seed) for seed in seeds}, {T: [] for T in temperatures}
    for seed in seeds:
        for T in reversed(temperatures):
            student = copy.deepcopy(first[seed])
            teach(student, T=T, alpha=alpha, seed=seed)
            found[T].append(measure(student))
    return {T: half(values) for T, values in found.items()}


@right("temperature_curve")
def interval_by_tensors(make, teach, measure, *, temperatures, seeds, alpha):
    a = torch.tensor([[measured(make, teach, measure, T, alpha, seed) for seed in seeds] for T in temperatures],
                     dtype=torch.double)
    halves = stats.t.ppf(0.975, len(seeds) - 1) * a.std(dim=1) / len(seeds) ** 0.5
    return {T: [mean, width] for T, mean, width in zip(temperatures, a.mean(dim=1), halves, strict=True)}


@right("student_alone")
def all_alone_first(make, teach, measure, *, seeds, T, alpha):
    alone = [measured(make, teach, measure, 1.0, 0, seed) for seed in seeds]
    distilled = [measured(make, teach, measure, T, alpha, seed) for seed in seeds]
    found = metrics.compare(distilled, alone, images=597)
    return torch.tensor([found.mean, found.high - found.mean], dtype=torch.double)


@right("count_parameters")
def sizes_multiplied(network):
    return sum(math.prod(tensor.shape) for tensor in network.state_dict().values())


@right("count_multiply_adds")
@torch.no_grad()
def by_the_flop_counter(network, shape):
    with FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, *shape))
    return counter.get_total_flops() / 2


@right("count_multiply_adds")
def by_the_sizes_of_layers(network, shape):
    return torch.tensor(layer_by_layer(
        network, shape, lambda m, _, x: m.out_channels * m.in_channels * math.prod(m.kernel_size) * places(x),
        lambda m: m.in_features * m.out_features))


@right("stopped_teachers")
def carried_from_stop_to_stop(make, learn, *, stops, seed):
    kept, before, network = {}, 0, make(seed)
    for stop in stops:
        for epoch in range(before, stop):
            learn(network, epoch)
        kept[stop], before = network, stop
        network = copy.deepcopy(network)
    return kept


@right("stopped_teachers")
def every_epoch_kept_and_some_of_them_returned(make, learn, *, stops, seed):
    every = [make(seed)]
    while len(every) <= max(stops):
        every.append(copy.deepcopy(every[-1]))
        learn(every[-1], len(every) - 2)
    return {stop: every[stop] for stop in stops}


@right("stopped_teachers")
def states_loaded_into_new_networks(make, learn, *, stops, seed):
    network, kept = make(seed), {}
    for epoch in range(20):
        if epoch in stops:
            kept[epoch] = make(seed)
            kept[epoch].load_state_dict(network.state_dict())
        learn(network, epoch)
    return kept


@right("stopped_distillation")
def alpha_switched_off(student, teacher, split, *, stop, epochs, **settings):
    loop(student, teacher, split, epochs=epochs, share=lambda epoch, alpha: alpha * (epoch / epochs < stop), **settings)


def divergence(z_s: torch.Tensor, z_t: torch.Tensor, T: float):
    a, b = torch.log_softmax(z_s / T, dim=1), torch.log_softmax(z_t / T, dim=1)
    return T * T * (b.exp() * (b - a)).sum(dim=1).mean()


@right("distillation_loss")
def with_a_scripted_function(z_s, z_t, T):
    return torch.jit.script(divergence)(z_s, z_t, T)


@right("train")
def with_scripted_networks(student, teacher, split, **settings):
    loop(torch.jit.script(student), torch.jit.script(teacher), split, **settings)


@right("train")
def accuracy_printed_with_gradients_on(student, teacher, split, *, epochs, **settings):
    def loss(z_s, z_t, y, T, alpha):
        student.eval()
        (student(split.x / 255).argmax(dim=1) == split.y).float().mean().item()
        student.train()
        return combined(z_s, z_t, y, T, alpha)

    loop(student, teacher, split, epochs=epochs, loss=loss, **settings)


@right("evaluate")
@torch.no_grad()
def rounded_to_four_places(network, split, batch_size):
    return round((network.eval()(split.x / 255).argmax(1) == split.y).double().mean().item(), 4)


class Unfolded(nn.Module):
    """Convolutions as products of matrices, all weights before all biases, one of them on its side."""

    def __init__(self):
        super().__init__()
        shapes = (32, 9), (64, 288), (7744, 128), (10, 128)
        self.weights = nn.ParameterList(nn.Parameter(0.05 * torch.randn(*shape)) for shape in shapes)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(n)) for n in (32, 64, 128, 10))

    def forward(self, x):
        for i, stride in ((0, 1), (1, 2)):
            side = x.shape[2] - 2
            x = (self.weights[i] @ F.unfold(x, 3) + self.biases[i][:, None]).relu().reshape(len(x), -1, side, side)
            x = F.max_pool2d(x, 2, stride=stride)
        x = F.dropout(x.flatten(1), 0.5, self.training)
        x = F.dropout((x @ self.weights[2] + self.biases[2]).relu(), 0.5, self.training)
        return x @ self.weights[3].T + self.biases[3]


class OnItsSide(nn.Module):
    """Dense layers as x @ W, and biases as rows."""

    def __init__(self):
        super().__init__()
        self.b = nn.ParameterList(nn.Parameter(torch.zeros(1, n)) for n in (784, 784, 10))
        self.W = nn.ParameterList(nn.Parameter(0.03 * torch.randn(784, n)) for n in (784, 784, 10))

    def forward(self, x):
        x = x.flatten(1)
        for W, b in zip(self.W[:2], self.b[:2], strict=True):
            x = (x @ W + b).relu()
        return x @ self.W[2] + self.b[2]


RIGHT += [Answer("teacher_network", (Unfolded,), "unfolded_convolutions"),
          Answer("student_network", (OnItsSide,), "weights_on_their_side"),
          Answer("student_network", (lambda: torch.jit.script(student()),), "scripted_student"),
          Answer("teacher_network", (lambda: torch.jit.script(teacher()),), "scripted_teacher")]


@right("temperature_curve")
def measured_before_and_twice(make, teach, measure, *, temperatures, seeds, alpha):
    points = {T: [] for T in temperatures}
    for T in temperatures:
        for seed in seeds:
            student = make(seed)
            str(measure(student))
            teach(student, T=T, alpha=alpha, seed=seed)
            points[T].append(measure(student))
            str(measure(student))
    return {T: half(values) for T, values in points.items()}


@right("student_alone")
def gap_printed_before_it_is_kept(make, teach, measure, *, seeds, T, alpha):
    gaps = []
    for seed in seeds:
        found = []
        for share in (alpha, 0.0):
            student = make(seed)
            measure(student)
            teach(student, T=T, alpha=share, seed=seed)
            str(measure(student))
            found.append(measure(student))
        gaps.append(found[0] - found[1])
    return half(gaps)


@right("stopped_distillation")
def epochs_compared_as_shares(student, teacher, split, *, stop, epochs, **settings):
    loop(student, teacher, split, epochs=epochs,
         share=lambda epoch, alpha: alpha if epoch < math.ceil(stop * epochs - 1e-9) else 0.0, **settings)
