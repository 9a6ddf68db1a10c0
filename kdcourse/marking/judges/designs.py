"""What designs of two by two are judged by: were all four cells measured, and which effects follow from them?"""

import torch

from kdcourse.marking.judges.experiment import Column
from kdcourse.marking.judges.intervals import HALF, MEAN
from kdcourse.marking.judges.mistakes import Formula
from kdcourse.marking.record import Wrong


def _cell(c, rows, start, alpha):
    return {row.seed: row for row in rows if row.T == c.starts[start] and row.alpha == alpha}


def _cells(c, rows):
    return [_cell(c, rows, start, alpha) for start in ("random", "pretrained") for alpha in (0, 1)]


def every_cell(c, rows):
    """Whether each cell has a student of every seed, made and taught with it; raises `Wrong` where one is empty."""
    names = [f"{start}, {lesson}" for start in ("random", "pretrained") for lesson in ("labels", "distilled")]
    if empty := [name for name, cell in zip(names, _cells(c, rows), strict=True) if not cell]:
        raise Wrong(f'no student was measured in the cell "{empty[0]}". Read the text of the question.')
    same = all(set(cell) == set(c.seeds) for cell in _cells(c, rows)) and all(r.seed == r.taught_with for r in rows)
    return "" if same else "every cell has a student of each seed that was given, made and taught with it."


def by_seed(c, rows):
    """The four cells, (4, n), seed by seed; None where there are not two seeds."""
    cells = _cells(c, rows)
    shared = [seed for seed in cells[0] if all(seed in cell for cell in cells)]
    four = torch.tensor([[cell[seed].accuracy for seed in shared] for cell in cells], dtype=torch.double)
    return c.with_(cells=four, values=four[:1]) if len(shared) > 1 else None


EFFECTS = {  # of random, random and distilled, pretrained, pretrained and distilled, (n,) each
    "transfer": {
        "": lambda r, rd, p, pd: (p - r + pd - rd) / 2,
        "this is the effect on labels alone: the main effect is the mean over both lessons": lambda r, rd, p, pd: p - r,
        "this is the effect on distilled students alone: the main effect is the mean over both lessons":
            lambda r, rd, p, pd: pd - rd,
        "this is the effect of distillation": lambda r, rd, p, pd: (rd - r + pd - p) / 2,
        "this is the effect of both together": lambda r, rd, p, pd: pd - r},
    "distillation": {
        "": lambda r, rd, p, pd: (rd - r + pd - p) / 2,
        "this is the effect on random starts alone: the main effect is the mean over both starts":
            lambda r, rd, p, pd: rd - r,
        "this is the effect on pretrained starts alone: the main effect is the mean over both starts":
            lambda r, rd, p, pd: pd - p,
        "this is the effect of transfer": lambda r, rd, p, pd: (p - r + pd - rd) / 2},
    "the interaction": {
        "": lambda r, rd, p, pd: (pd - p) - (rd - r),
        "its sign is turned round": lambda r, rd, p, pd: (rd - r) - (pd - p),
        "it is halved: the interaction is the whole difference of two effects":
            lambda r, rd, p, pd: ((pd - p) - (rd - r)) / 2},
}
QUANTILE = {text: one for text, one in HALF.places["quantile"].items() if "temperatures" not in text}
UNPAIRED = "the cells were treated as unpaired: take the effect seed by seed first"


def columns(mean: float, width: float) -> list[Column]:
    """The columns of the three effects, with the marks for each mean and each half-width."""
    def formulas(kind: dict, share: float) -> tuple[Formula, Formula]:
        def of(c, kind):
            return c.with_(values=kind(*c.cells)[None])

        def unpaired(c, width):
            return share * HALF.right(c.with_(values=c.cells)).norm()[None]

        same = {text: one for text, one in kind.items() if "sign" not in text}    # a width has no sign
        spread = HALF.places["spread"] | {UNPAIRED: unpaired}
        places = HALF.places | {"spread": spread, "quantile": QUANTILE}
        return (Formula(lambda c, kind, mean: mean(of(c, kind).values), kind=kind, **MEAN.places),
                Formula(lambda c, kind, **forms: HALF.whole(of(c, kind), **forms), kind=same, **places))

    found = []
    for name, kind in EFFECTS.items():
        middle, half = formulas(kind, 1.0 if "interaction" in name else 0.5)
        found += [Column(mean, f"the mean of {name}", middle), Column(width, f"the half-width of {name}", half, 2e-3)]
    return found
