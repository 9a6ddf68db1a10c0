"""Answers to exercise 03: attention, flow, angles, a hint for maps of another size, hooks, and what SimKD ships."""

import copy

import torch
import torch.nn.functional as F
from torchvision.models.feature_extraction import create_feature_extractor

from wrong_answers import collector

WRONG, RIGHT = [], []
wrong, right = collector(WRONG), collector(RIGHT)


def attention(f, p, size):
    return F.adaptive_avg_pool2d(f.abs().pow(p).mean(1), size).flatten(1)


def smaller(f_s, f_t):
    return tuple(map(min, f_s.shape[2:], f_t.shape[2:]))


@wrong("attention_distance", 0.0, "this is the mean of the squares, as in the lesson")
def the_released_code_of_AT(f_s, f_t, p):
    q_s, q_t = (F.normalize(attention(f, p, smaller(f_s, f_t))) for f in (f_s, f_t))
    return (q_s - q_t).pow(2).mean()


@wrong("attention_distance", 0.0, "does not change with p")
def always_squared(f_s, f_t, p):
    q_s, q_t = (F.normalize(attention(f, 2, smaller(f_s, f_t))) for f in (f_s, f_t))
    return (q_s - q_t).norm(dim=1).mean()


@wrong("attention_distance", 0.0, "averaged down before the power is taken")
def features_pooled_first(f_s, f_t, p):  # the order of RepDistiller, which pools the map of features
    f_s, f_t = (F.adaptive_avg_pool2d(f, smaller(f_s, f_t)) for f in (f_s, f_t))
    q_s, q_t = (F.normalize(f.abs().pow(p).mean(1).flatten(1)) for f in (f_s, f_t))
    return (q_s - q_t).norm(dim=1).mean()


@wrong("attention_distance", 0.7, "an image whose map is 0 everywhere")
def nothing_is_divided_by_nothing(f_s, f_t, p):
    q_s, q_t = (attention(f, p, smaller(f_s, f_t)) for f in (f_s, f_t))
    return (q_s / q_s.norm(dim=1, keepdim=True) - q_t / q_t.norm(dim=1, keepdim=True)).norm(dim=1).mean()


@wrong("attention_distance", 0.9, "where a map is 0 everywhere the gradient is no number")
def no_number_made_a_zero(f_s, f_t, p):
    q_s, q_t = (attention(f, p, smaller(f_s, f_t)) for f in (f_s, f_t))
    q_s, q_t = ((q / q.norm(dim=1, keepdim=True)).nan_to_num() for q in (q_s, q_t))
    return (q_s - q_t).norm(dim=1).mean()


@wrong("attention_distance", 0.0, "cut off")
def flattened_and_cut(f_s, f_t, p):  # the tutorial's way with maps of two sizes
    H, W = smaller(f_s, f_t)
    q_s, q_t = (F.normalize(f.abs().pow(p).mean(1)[:, :H, :W].flatten(1)) for f in (f_s, f_t))
    return (q_s - q_t).norm(dim=1).mean()


@right("attention_distance")
def attention_by_a_loop(f_s, f_t, p):
    total = 0
    for a, b in zip(f_s, f_t, strict=True):
        a, b = (F.adaptive_avg_pool2d((f.abs() ** p).sum(0, keepdim=True), smaller(f_s, f_t)).ravel() for f in (a, b))
        total = total + ((a / max(a.norm(), 1e-20) - b / b.norm()) ** 2).sum().sqrt()
    return total / len(f_s)


@right("attention_distance")
def attention_by_two_cosines(f_s, f_t, p):
    q_s, q_t = (F.normalize(attention(f.double(), p, smaller(f_s, f_t)), eps=1e-30) for f in (f_s, f_t))
    return (q_s.square().sum(1) + q_t.square().sum(1) - 2 * (q_s * q_t).sum(1)).sqrt().mean()


def brought_down(f_a, f_b, pool=F.adaptive_max_pool2d):
    return pool(f_a, f_b.shape[2:]).flatten(2), f_b.flatten(2)


@wrong("flow_matrix", 0.0, "brought down by averages")
def flow_of_averages(f_a, f_b):  # RepDistiller
    a, b = brought_down(f_a, f_b, F.adaptive_avg_pool2d)
    return a @ b.mT / b.shape[2]


@wrong("flow_matrix", 0.0, "not divided by the number of positions")
def flow_as_a_sum(f_a, f_b):
    a, b = brought_down(f_a, f_b)
    return a @ b.mT


@wrong("flow_matrix", 0.0, "a tensor of shape (4, 4) was returned, not (4, 3, 4)")
def gram_matrix_of_the_images(f_a, f_b):
    a, b = (f.flatten(1) for f in brought_down(f_a, torch.cat([f_b, f_b, f_b], dim=1)[:, :f_a.shape[1]]))
    return a @ b.T / f_b[0].numel()


@wrong("flow_matrix", 0.7, "the gradient on the student is off by up to")
def flow_of_detached_maps(f_a, f_b):
    return flow_as_a_sum(f_a.detach(), f_b) / f_b[0, 0].numel()


@wrong("flow_matrix", 0.7, "the gradient on the student is off by up to")
def flow_into_a_stage_that_learns_nothing(f_a, f_b):  # half of the student is taken for a teacher
    return flow_as_a_sum(f_a, f_b.detach()) / f_b[0, 0].numel()


@right("flow_matrix")
def flow_by_einsum(f_a, f_b):
    step = f_a.shape[2] // f_b.shape[2]
    return torch.einsum("bcp,bdp->bcd", F.max_pool2d(f_a, step).flatten(2), f_b.flatten(2)) / f_b[0, 0].numel()


@right("flow_matrix")
def flow_channel_by_channel(f_a, f_b):
    a, b = brought_down(f_a, f_b)
    return torch.stack([(a[:, i, None] * b).mean(2) for i in range(a.shape[1])], dim=1)


def unit(f, eps=1e-12):
    return F.normalize(f[None] - f[:, None], dim=2, eps=eps)


def triplets(B):
    same = torch.eye(B, dtype=torch.bool)
    return ~(same[:, :, None] | same[:, None] | same[None])


@wrong("angle_distance", 0.0, "all B³ entries are averaged")
def every_entry(f_s, f_t):  # the released code of RKD
    return F.mse_loss(unit(f_s) @ unit(f_s).mT, unit(f_t) @ unit(f_t).mT)


@wrong("angle_distance", 0.0, "this is the paper's Huber loss")
def huber(f_s, f_t):
    of = triplets(len(f_s))
    return F.smooth_l1_loss((unit(f_s) @ unit(f_s).mT)[of], (unit(f_t) @ unit(f_t).mT)[of])


@wrong("angle_distance", 0.0, "seen from the origin")
def cosine_table(f_s, f_t):
    s, t = (F.normalize(f) @ F.normalize(f).T for f in (f_s, f_t))
    apart = ~torch.eye(len(f_s), dtype=torch.bool)
    return (s - t)[apart].square().mean()


@wrong("angle_distance", 0.4, "the gradient on the student is not finite")
def division_by_a_length_of_nothing(f_s, f_t):
    s, t = (d / d.norm(dim=2, keepdim=True) for d in (f[None] - f[:, None] for f in (f_s, f_t)))
    return (s @ s.mT - t @ t.mT)[triplets(len(f_s))].square().mean()


@wrong("angle_distance", 0.8, "where two images coincide the gradient is no number, or a wrong one")
def a_constant_in_place_of_a_length_of_nothing(f_s, f_t):  # F.normalize: its slope at 0 is huge
    return (unit(f_s) @ unit(f_s).mT - unit(f_t) @ unit(f_t).mT)[triplets(len(f_s))].square().mean()


@wrong("angle_distance", 0.6, "where image j coincides with i or k")
def a_little_moved_apart(f_s, f_t):
    f_s, f_t = (f + 1e-6 * torch.arange(f.numel()).view(f.shape).sin() for f in (f_s.double(), f_t.double()))
    return a_constant_in_place_of_a_length_of_nothing(f_s, f_t)


@right("angle_distance")
def angles_one_by_one(f_s, f_t):
    def cosine(f, i, j, k):
        a, b = f[i] - f[j], f[k] - f[j]
        return a @ b / a.norm() / b.norm() if a.any() and b.any() else 0.0

    values = [(cosine(f_s, i, j, k) - cosine(f_t, i, j, k)) ** 2 for i in range(len(f_s)) for j in range(len(f_s))
              for k in range(len(f_s)) if len({i, j, k}) == 3]
    return sum(values) / len(values)


@right("angle_distance")
def angles_of_distances(f_s, f_t):
    def cosines(f):  # by the products of all images
        G = f.double() @ f.double().T
        d = G.diagonal()[:, None] + G.diagonal() - 2 * G
        apart = d.detach() > 1e-9
        length = torch.where(apart, d, 1.0).sqrt()
        up = G.diagonal()[:, None, None] + G[None] - G[:, :, None] - G[:, None]
        return torch.where(apart[:, :, None] & apart[:, None], up / (length[:, :, None] * length[:, None]), 0.0)

    return (cosines(f_s) - cosines(f_t))[triplets(len(f_s))].pow(2).mean()


def loop(student, regressor, hints, split, *, beta, epochs, lr, batch_size, seed, trained=None, rule=torch.optim.SGD,
         rows=lambda batch: batch.index, size=lambda f, h: F.adaptive_avg_pool2d(f, h.shape[2:]), detach=False,
         key=lambda epoch: epoch, scale=lambda h: h.square().mean(), clear=True):
    optimiser = rule(trained or [*student.parameters(), *regressor.parameters()], lr=lr)
    for epoch in range(epochs):
        for batch in split.batches(batch_size, seed=seed, epoch=key(epoch)):
            f, h = student.features(batch.x), hints[rows(batch)]
            made = size(regressor(f.detach() if detach else f), h)
            loss = F.cross_entropy(student.head(f), batch.y) + beta * F.mse_loss(made, h) / scale(h)
            if clear:
                optimiser.zero_grad()
            loss.backward()
            optimiser.step()


@wrong("train_hint", 0.0, "the regressor never learns")
def regressor_left_out_of_the_optimiser(student, regressor, hints, split, **settings):
    loop(student, regressor, hints, split, trained=[*student.parameters()], **settings)


@wrong("train_hint", 0.0, "the hints are those of other images")
def hints_by_their_place_in_the_batch(student, regressor, hints, split, **settings):
    loop(student, regressor, hints, split, rows=lambda batch: slice(len(batch.y)), **settings)


@wrong("train_hint", 0.0, "cut off")
def a_corner_of_the_map(student, regressor, hints, split, **settings):
    loop(student, regressor, hints, split, size=lambda f, h: f[:, :, :h.shape[2], :h.shape[3]], **settings)


@wrong("train_hint", 0.0, "the features are detached")
def the_student_is_not_reached(student, regressor, hints, split, **settings):
    loop(student, regressor, hints, split, detach=True, **settings)


@wrong("train_hint", 0.0, "not divided by the mean square")
def the_plain_hint(student, regressor, hints, split, **settings):
    loop(student, regressor, hints, split, scale=lambda h: 1, **settings)


@wrong("train_hint", 0.0, "Error")
def one_size_for_all_hints(student, regressor, hints, split, **settings):
    loop(student, regressor, hints, split, size=lambda f, h: F.adaptive_avg_pool2d(f, (2, 2)) * (h == h), **settings)


@wrong("train_hint", 0.0, "the mean square of all hints")
def one_scale_for_all_hints(student, regressor, hints, split, **settings):
    loop(student, regressor, hints, split, scale=lambda h: hints.square().mean(), **settings)


@wrong("train_hint", 0.0, "the last, smaller batch of an epoch is left out")
def full_batches_alone(student, regressor, hints, split, **settings):
    class Full:
        def batches(self, size, **key):
            return (batch for batch in split.batches(size, **key) if len(batch.y) == size)

    loop(student, regressor, hints, Full(), **settings)


@wrong("train_hint", 0.0, "each draws its own; the hint is not divided")
def one_order_and_the_plain_hint(student, regressor, hints, split, **settings):
    loop(student, regressor, hints, split, key=lambda epoch: 0, scale=lambda h: 1, **settings)


@wrong("train_hint", 0.0, "no weight has moved")
def copies_are_trained(student, regressor, hints, split, **settings):
    loop(copy.deepcopy(student), copy.deepcopy(regressor), hints, split, **settings)


@right("train_hint")
def two_optimisers_and_the_size_first(student, regressor, hints, split, *, beta, epochs, lr, batch_size, seed):
    both = [torch.optim.SGD(network.parameters(), lr) for network in (student, regressor)]
    for epoch in range(epochs):
        for x, y, index, *_ in split.batches(batch_size, seed=seed, epoch=epoch):
            made = regressor(F.interpolate(student.features(x), hints.shape[2:], mode="area"))
            (F.cross_entropy(student(x), y) + beta * (made - hints[index]).square().sum()
             / hints[index].square().sum()).backward()
            for optimiser in both:
                optimiser.step()
                optimiser.zero_grad()


@right("train_hint")
def steps_by_hand(student, regressor, hints, split, *, lr, **settings):
    class Descent:
        def __init__(self, parameters, lr):
            self.parameters, self.lr = parameters, lr

        def zero_grad(self):
            for parameter in self.parameters:
                parameter.grad = None

        def step(self):
            for parameter in self.parameters:
                parameter.data -= self.lr * parameter.grad

    loop(student, regressor, hints, split, lr=lr, rule=Descent, **settings)


def hooked(network, x, names, keep=torch.clone, remove=True):
    maps = {}
    handles = [network.get_submodule(name).register_forward_hook(
        lambda module, given, out, name=name: maps.update({name: keep(out)})) for name in names]
    z = network(x)
    for handle in handles if remove else ():
        handle.remove()
    return maps, z


@wrong("maps_of", 0.0, "the ReLU behind works in place")
def maps_that_change_later(network, x, names):
    return hooked(network, x, names, keep=lambda out: out)


@wrong("maps_of", 0.6, "no gradient reaches")
def maps_without_a_gradient(network, x, names):
    maps, z = hooked(network, x, names, keep=lambda out: out.detach().clone())
    return maps, z.detach()


@wrong("maps_of", 0.8, "hooks stay on the network")
def hooks_that_stay(network, x, names):
    return hooked(network, x, names, remove=False)


@wrong("maps_of", 0.8, "hooks stay on the network")
def a_hook_before_that_stays(network, x, names):
    network.get_submodule(names[-1]).register_forward_pre_hook(lambda module, given: None)
    return hooked(network, x, names)


@wrong("maps_of", 0.8, "the network is left in another mode, or frozen")
def in_eval_mode_from_now_on(network, x, names):
    return hooked(network.eval(), x, names)


@wrong("maps_of", 0.8, "is it a copy that was asked?")
def maps_of_a_copy(network, x, names):
    return hooked(copy.deepcopy(network), x, names)


@wrong("maps_of", 0.8, "the network was asked 4 times")
def one_call_for_each_name(network, x, names):
    return {name: hooked(network, x, [name])[0][name] for name in names}, network(x)


@wrong("maps_of", 0.0, "a dict with a map for every name")
def one_name_for_all_hooks(network, x, names):  # each function looks the name up when it is called: the last one
    maps = {}
    for module in map(network.get_submodule, names):
        module.register_forward_hook(lambda module, given, out: maps.update({names[-1]: out.clone()}))
    return maps, network(x)


@wrong("maps_of", 0.0, "the maps are averaged over their positions")
def pooled_maps(network, x, names):
    return hooked(network, x, names, keep=lambda out: out.mean((2, 3), keepdim=True).expand_as(out).clone())


@right("maps_of")
def layer_by_layer_by_name(network, x, names):
    maps = {}

    def run(module, x, prefix):
        for name, part in module.named_children():
            path = f"{prefix}{name}"
            x = run(part, x, f"{path}.") if list(part.children()) else part(x)
            if path in names:
                maps[path] = x.clone()
        return x

    return maps, run(network, x, "")


@right("maps_of")
def without_in_place_layers(network, x, names):
    for module in network.modules():
        if isinstance(module, torch.nn.ReLU):
            module.inplace = False
    found = create_feature_extractor(network, [*names, "flat"])(x)
    return {name: found[name] for name in names}, found["flat"]


@wrong("simkd_parameters", 0.0, "the batch normalisations are left out")
def convolutions_alone(C_s, C_t, K, r):
    m = C_t // r
    return C_s * m + 9 * m * m + m * C_t + (C_t - C_s) * K


@wrong("simkd_parameters", 0.0, "the teacher's last layer is left out")
def projector_in_place_of_a_head(C_s, C_t, K, r):
    m = C_t // r
    return C_s * m + 9 * m * m + m * C_t + 4 * m + 2 * C_t - C_s * K - K


@wrong("simkd_parameters", 0.0, "the student's own head is counted as shipped")
def all_that_is_trained_or_copied(C_s, C_t, K, r):
    m = C_t // r
    return C_s * m + 9 * m * m + m * C_t + 4 * m + 2 * C_t + C_t * K + K


@right("simkd_parameters")
def counted_from_a_network(C_s, C_t, K, r):
    m, n = C_t // r, torch.nn
    layers = [n.Conv2d(C_s, m, 1, bias=False), n.BatchNorm2d(m), n.Conv2d(m, m, 3, bias=False), n.BatchNorm2d(m),
              n.Conv2d(m, C_t, 1, bias=False), n.BatchNorm2d(C_t), n.Linear(C_t, K)]
    return sum(p.numel() for layer in layers for p in layer.parameters()) - (C_s + 1) * K
