"""The tables of the two papers that lessons 06 and 07 follow, as data: each cell as it is printed.

A table is one small CSV file beside this module. Columns of networks have become rows, a cell that stands for the one
above it is written out, and nothing is computed. What is known to be wrong or missing stands in `notes`.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kdcourse.core import Choices

FOLDER = Path(__file__).parent / "tables"


@dataclass(frozen=True)
class Table:
    """What a printed table says beside its numbers: what it shows, its units, from how many runs, and its faults."""

    title: str
    units: str
    runs: int = 1
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Paper:
    """A paper, and those of its tables that have numbers in the copy that this course follows."""

    citation: str
    tables: dict[int, Table]
    lost: dict[int, str]


TOP = "accuracy on test images in percent"
ALONE = "'student_top1' is the student alone; for most pairs AT to KD are the numbers that earlier papers print"
GAIN = f"{TOP}; gain: SLKD minus KD in points"
PARALLEL = "SLKD: the self-learning teachers learn beside the student; SLKD*: they finish first"
PAPERS = Choices("paper", {
    "dist": Paper(
        "L. Dlamini, R. Klein: Leveraging Stronger Teachers for Efficient Deep Learning Model Deployment in "
        "Resource-Constrained Settings", {
            1: Table("Training from pretrained weights (teachers) or alone (students)",
                     "lr: learning rate of AdamW; colour jitter and flip",
                     notes=("printed twice 'googlevit-base-patch16-224-in21k', without its slash",)),
            2: Table("Teachers and students without distillation", f"parameters in millions; {TOP}", notes=(
                "CIFAR-100, ResNet152: a top-5 accuracy of 82.96 here and of 83.96 in table IV",
                "parameters: with 100 classes the ResNets have 11.2, 23.7 and 58.3 million")),
            3: Table("Training of the students by DIST", "lr: learning rate; alpha, beta, gamma: weights of the "
                     "classification, inter-class and intra-class loss; T: temperature; crop and flip", notes=(
                         "the text calls beta the weight of distillation and gamma that of label smoothing; "
                         "equation 7 has them as the weights of rows and of columns",)),
            4: Table("Students after distillation by DIST", TOP, notes=(
                "CIFAR-100, ResNet152 alone: a top-5 accuracy of 83.96 here and of 82.96 in table II",
                "a teacher's accuracies are printed once for its three students",
                "plain KD was not run")),
        }, {}),
    "slkd": Paper(
        "L. Liu, T. Li, H. Cheng: Improving Knowledge Distillation via Transferring Learning Ability, 2023, "
        "arXiv:2304.11923", {
            1: Table("CIFAR-100, teacher and student of one family", GAIN, notes=(ALONE,)),
            2: Table("CIFAR-100, teacher and student of two families", GAIN, notes=(ALONE,)),
            5: Table("CIFAR-100, one student of four teachers", TOP, notes=("our copy does not name the student",)),
            6: Table("CIFAR-100, another student of four teachers", TOP, notes=(
                "our copy does not name the student; SLKD from WRN_40_2 has the number of WRN_16_2 in table 1, and KD "
                "from it has 75.31 here and 74.92 there", "printed 'ReNet32x4': ResNet32x4")),
            7: Table("CIFAR-100, students of the teacher, of one self-learning teacher (SL-T), and of both", TOP,
                     notes=("with the teacher only it is KD of tables 1 and 2",)),
            8: Table(f"CIFAR-100, one family. {PARALLEL}", TOP),
            9: Table(f"CIFAR-100, two families. {PARALLEL}", TOP),
        }, {3: "ImageNet, one family", 4: "ImageNet, two families", 10: "settings on CIFAR-100, without names of two "
            "columns, learning rate and weight decay", 11: "settings on ImageNet, without names of two columns and "
            "weight decay"}),
})


def table(paper: str, number: int) -> pd.DataFrame:
    """Table `number` of a paper ("dist" has 1 to 4, "slkd" 1, 2 and 5 to 9), a row for each row of the CSV file.

    Accuracies are in percent, as printed. A fresh frame with each call. `about` says what the columns are, and what is
    wrong. Raises ValueError for an unknown paper or table, and says which tables lost their numbers.

    >>> float(table("slkd", 1).gain.max())
    3.52
    """
    about(paper, number)
    return pd.read_csv(FOLDER / f"{paper}_{number}.csv")


def about(paper: str, number: int) -> Table:
    """Title, units, number of runs and notes of a table. Raises as `table` does."""
    known = PAPERS[paper]
    if number in known.lost:
        raise ValueError(f"table {number} of {paper!r} ({known.lost[number]}) lost its numbers in the copy that the "
                         f"course follows; there are {', '.join(map(str, known.tables))}")
    if number not in known.tables:
        raise ValueError(f"{paper!r} has no table {number!r}; choose one of: {', '.join(map(str, known.tables))}")
    return known.tables[number]
