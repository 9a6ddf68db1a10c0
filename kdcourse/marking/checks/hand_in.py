"""Asks for a comparison that was planned and made: the study file and the results as data, and a function that trains
any of its students again. Some of them are, drawn by lot, and measured here."""

import json
from collections.abc import Callable

import torch
import torch.nn.functional as F

from kdcourse import data
from kdcourse.core import generator
from kdcourse.marking.checks.base import Check
from kdcourse.marking.record import Case, Record

MOST = 2_000  # training images that a network is asked about


def hand_in(images: str, rows: int, form: Callable = lambda found: found) -> Check:
    """`form(answer())` is (study, results, learn); `learn(arm, point, seed)` a network for pixels in [0, 1]. So many
    `rows` of what was measured are trained again, or all if there are fewer."""
    def ask(inputs: dict[str, Case], answer) -> Record:
        record = Record()
        with record.trying("hand-in"):
            study, results, learn = form(answer())
            text = json.dumps([study, results], default=plain)
            record.keep("hand-in text", torch.tensor([*text.encode()]))
        with record.trying("again"):
            source = data.load(images)
            study, results = json.loads(text)
            students, other = again(study, results, inputs["lot"].at, rows)
            for i, (arm, point, seed, name) in enumerate(students):
                split, network = getattr(source, name), learn(arm, point, seed)
                logits = _logits(network, split)
                record.keep(f"again {i}", (logits.argmax(dim=1) == split.y).double().mean())
                record.keep(f"again {i} better known", _better_known(network, source.train, split))
            if other:  # than the last one
                record.keep("other", (_logits(learn(arm, other, seed), split) - logits).abs().max())
        return record

    return Check(lots, ask)


def plain(value):
    """A number of NumPy's or torch's as Python's, and a sequence as a list; TypeError, saying what may be there, for
    anything else."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, range | set | tuple):
        return list(value)
    raise TypeError(f"STUDY and RESULTS hold words, numbers, lists and dicts, and this is a {type(value).__name__}: "
                    f"{value!r:.60}")


def lots(seed: int) -> dict[str, Case]:
    """Six large numbers: which comparison, which of the measured, whose choice, which setting, which of its seeds, and
    which seed of the pilot."""
    return {"lot": Case(at=torch.randint(10**6, (6,), generator=generator(seed, 1106)).tolist())}


def again(study: dict, results: dict, at: list[int], rows: int) -> tuple[list[tuple], dict | None]:
    """(arm, point, seed, split) of the students that are trained again: both sides of one comparison from one seed of
    the pilot, for validation images; so many of the measured, for test images; and one that was trained to choose, if
    any was. Then a point which differs from the last one's in every setting, if one was tried."""
    points, pilot = results.get("points", {}), _at(results["pilot"]["seeds"], at[5])
    found = [(arm, points.get(arm, {}), pilot, "valid") for arm in _at([*study["comparisons"].values()], at[0])]
    measured = [(arm, points.get(arm, {}), seed, "test") for arm in study["arms"] for seed in study["seeds"]]
    found += [measured[i] for i in torch.randperm(len(measured), generator=generator(at[1])).tolist()[:rows]]
    if not (tried := results.get("tried")):
        return found, None
    arm = _at([*tried], at[2])
    point = _at(tried[arm], at[3])["point"]
    found.append((arm, point, _at(study["choose"]["seeds"], at[4]), "valid"))
    return found, next((one["point"] for one in tried[arm] if all(one["point"][key] != point[key] for key in point)),
                       None)


def _better_known(network, train, other) -> torch.Tensor:
    """By how many standard errors the mean cross-entropy on other images is lower than that on training images."""
    gap, error = 0.0, 0.0
    for sign, split in (1, train.take(torch.arange(min(MOST, len(train))), "some")), (-1, other):
        loss = F.cross_entropy(_logits(network, split).double(), split.y, reduction="none")
        gap, error = gap + sign * loss.mean(), error + loss.var() / len(split)
    return gap / error.sqrt()


def _logits(network, split) -> torch.Tensor:
    if isinstance(network, torch.nn.Module):
        network.eval()  # whatever mode a training has left it in
    with torch.no_grad():
        return network(split.x.float() / 255)


def _at(things: list, number: int):
    return things[number % len(things)]
