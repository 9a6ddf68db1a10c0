"""Asking half, questions 4 and 12: trains and evaluates toy networks that write down what was done to them."""

import torch
from torch import Tensor, nn

from kdcourse.core import generator, seeded
from kdcourse.marking.checks.base import CLASSES, Log, Toy, images, keep_training, rows, toy_weights
from kdcourse.marking.record import Record


def draw_training(seed: int) -> dict:
    """A split, the weights of both networks, and settings of several runs."""
    draw = generator(seed, 4)
    T, alpha, other_T, other_alpha, share = torch.rand(5, generator=draw).tolist()
    settings = {"T": 2 + T, "alpha": 0.55 + 0.2 * alpha, "epochs": 3, "lr": 0.05, "batch_size": 8, "seed": 17}
    return {
        "split": images(33 + int(7 * share), seed, 4, 1),
        "student": toy_weights(seed, 4, 2), "teacher": toy_weights(seed, 4, 3), "factors": (1.6, -0.5),
        "runs": {"main": settings,
                 "other T": settings | {"T": 6 + 2 * other_T},
                 "other alpha": settings | {"alpha": 0.15 + 0.2 * other_alpha},
                 "other seed": settings | {"seed": 18}},
        "stopped": settings | {"epochs": 5}, "stop": (0.4, 0.6)[int(2 * other_T)], "seed": seed,
    }


def ask_train(inputs: dict, train) -> Record:
    record = Record()
    for name, settings in inputs["runs"].items():
        _train(record, name, inputs, lambda *three, settings=settings: train(*three, **settings))
    return record


def ask_stopped_distillation(inputs: dict, train_stopped) -> Record:
    record = Record()
    for name, stop in (("main", inputs["stop"]), ("never", 0.0)):
        _train(record, name, inputs,
               lambda *three, stop=stop: train_stopped(*three, stop=stop, **inputs["stopped"]))
    return record


def _train(record: Record, name: str, inputs: dict, call) -> None:
    student, teacher = (Toy(*inputs[who], factor) for who, factor in zip(("student", "teacher"), inputs["factors"],
                                                                           strict=True))
    student.eval()  # whoever had it before has evaluated it
    with record.trying(name), seeded(inputs["seed"]):
        call(student, teacher, inputs["split"])
    keep_training(record, name, student, teacher)


class Table(nn.Module):
    """A network that looks its logits up: in training mode in another table, as dropout would make it do."""

    def __init__(self, answers: Tensor, garbled: Tensor):
        super().__init__()
        self.answers, self.garbled, self.log = nn.Parameter(answers.clone()), nn.Parameter(garbled.clone()), Log()

    def forward(self, x: Tensor) -> Tensor:
        self.log.append((self.training, torch.is_grad_enabled()))
        return (self.garbled if self.training else self.answers)[rows(x)]


def draw_evaluation(seed: int) -> dict[str, dict]:
    """Two splits, each with two tables of logits and a size of batches that leaves a smaller last one."""
    cases = {}
    for key, (name, n, batch_size) in enumerate((("first", 37, 8), ("second", 53, 10))):
        draw, split = generator(seed, 5, key), images(n, seed, 5, key, 1)
        tables = {}
        for table, share in (("answers", 0.75), ("garbled", 0.45)):
            z = torch.randn(n, CLASSES, generator=draw)
            right = torch.rand(n, generator=draw) < share
            right[-(n % batch_size):] = torch.arange(n % batch_size) < 1  # the last images are mostly misread
            z[torch.arange(n)[right], split.y[right]] += 9
            z[torch.arange(n)[~right], (split.y[~right] + 1) % CLASSES] += 9
            tables[table] = z
        cases[name] = {"split": split, "batch_size": batch_size, **tables}
    return cases


def ask_evaluate(inputs: dict[str, dict], evaluate) -> Record:
    record = Record()
    for name, case in inputs.items():
        network = Table(case["answers"], case["garbled"]).train()
        with torch.enable_grad():
            with record.trying(name):
                record.keep(f"{name} value", evaluate(network, case["split"], batch_size=case["batch_size"]))
            record.keep(f"{name} recording afterwards", torch.is_grad_enabled())
        record.keep(f"{name} modes", torch.tensor([float(mode) for mode, _ in network.log]))
        record.keep(f"{name} gradients", torch.tensor([float(grad) for _, grad in network.log]))
        record.keep(f"{name} answers", network.answers)
        record.keep(f"{name} trainable", network.answers.requires_grad and network.garbled.requires_grad)
    return record
