"""Asks for a comparison that was planned and made: the study file and the results as data, and a function that trains
any of its students again. Three of them are, drawn by lot, and measured here."""

import json

import torch

from kdcourse import data
from kdcourse.core import generator
from kdcourse.marking.checks.base import Check
from kdcourse.marking.record import Case, Record


def hand_in(images: str) -> Check:
    """`answer()` returns (study, results, learn); `learn(arm, point, seed)` a network for pixels in [0, 1]."""
    def ask(inputs: dict[str, Case], answer) -> Record:
        record = Record()
        with record.trying("hand-in"):
            study, results, learn = answer()
            text = json.dumps([study, results])
            record.keep("hand-in text", torch.tensor([*text.encode()]))
        with record.trying("again"):
            source = data.load(images)
            for i, (arm, point, seed, name) in enumerate(again(*json.loads(text), inputs["lot"].at)):
                split = getattr(source, name)
                network = learn(arm, point, seed)
                with torch.no_grad():
                    right = network(split.x.float() / 255).argmax(dim=1) == split.y
                record.keep(f"again {i}", right.double().mean())
        return record

    return Check(lots, ask)


def lots(seed: int) -> dict[str, Case]:
    """Five large numbers: which comparison, which of its seeds, whose choice, which setting, and which of its seeds."""
    return {"lot": Case(at=torch.randint(10**6, (5,), generator=generator(seed, 1106)).tolist())}


def again(study: dict, results: dict, at: list[int]) -> list[tuple]:
    """(arm, point, seed, split) of three students: both sides of one comparison from one seed, for the test images, and
    one that was trained to choose, for validation images, if any was."""
    seed = _at(study["seeds"], at[1])
    found = [(arm, results["points"].get(arm, {}), seed, "test")
             for arm in _at([*study["comparisons"].values()], at[0])]
    if tried := results["tried"]:
        arm = _at([*tried], at[2])
        found.append((arm, _at(tried[arm], at[3])["point"], _at(study["choose"]["seeds"], at[4]), "valid"))
    return found


def _at(things: list, number: int):
    return things[number % len(things)]
