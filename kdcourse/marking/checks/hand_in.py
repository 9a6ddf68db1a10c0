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
            for i, (arm, point, seed, name, _) in enumerate(again(*json.loads(text), inputs["lot"].at)):
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
    """(arm, point, seed, split, the accuracy handed in) of three students: both sides of one comparison from one seed
    on test images, and one that was trained to choose, on validation images, if any was."""
    pair, place = _at([*study["comparisons"].values()], at[0]), at[1] % len(study["seeds"])
    found = [(arm, results["points"].get(arm, {}), study["seeds"][place], "test",
              results["rows"][arm][place]["accuracy"]) for arm in pair]
    if tried := results["tried"]:
        arm, place = _at([*tried], at[2]), at[4] % len(study["choose"]["seeds"])
        entry = _at(tried[arm], at[3])
        found.append((arm, entry["point"], study["choose"]["seeds"][place], "valid", entry["valid_accuracy"][place]))
    return found


def _at(things: list, number: int):
    return things[number % len(things)]
