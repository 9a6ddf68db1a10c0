"""The studies behind the paper on self-learning teachers, SLKD, of lesson 07: its tables on CIFAR-100, and controls.

Liu, Li & Cheng 2023, arXiv:2304.11923. Its tables 3 and 4, of ImageNet, are left out.
"""

from kdcourse.studies.base import Arm, Study

STATISTICS = {"mean": [0.5071, 0.4867, 0.4408], "std": [0.2675, 0.2565, 0.2761]}  # of CIFAR-100's training images
PAIRS = (  # tables 1 and 2, teacher and student
    ("resnet32x4", "resnet8x4"), ("resnet56", "resnet8"), ("wrn_40_2", "wrn_40_1"), ("wrn_40_2", "wrn_16_2"),
    ("vgg13", "vgg11"), ("vgg13", "vgg8"), ("resnet32x4", "shufflenet_v2"), ("resnet32x4", "shufflenet_v1"),
    ("resnet50", "mobilenet_v2"), ("vgg13", "mobilenet_v2"), ("wrn_40_2", "shufflenet_v1"),
)
ABLATED = (("resnet32x4", "resnet8x4"), ("vgg13", "mobilenet_v2"))                           # table 7
BIG = (("resnet20", ("resnet56", "resnet110", "resnet50", "resnet32x4")),                    # table 5
       ("wrn_16_2", ("resnet110", "vgg13", "wrn_40_2", "resnet32x4")))                       # table 6
PROJECTED = ("resnet8", "resnet20", "resnet56", "resnet110")  # with shortcuts of option B, as the released code
SLOW = ("shufflenet_v1", "shufflenet_v2", "mobilenet_v2")     # which start at 0.01
DATA = {"name": "cifar100", "whole": True}
HARD, KD = {"method": "hard labels"}, {"method": "kd", "T": 4, "alpha": 0.9}
OTHERS = {name: {"method": name} for name in ("at", "sp", "rkd", "ofd", "crd", "review_kd", "dkd")}
LETTERS = {"T": 4, "lam": 0.1}
SLKD = {"method": "slkd", "count": 2, **LETTERS}
FINISHED = {"method": "slkd_finished", "count": 2, **LETTERS}
NOTES = ("Tables 5 and 6 do not name their students: resnet20 and wrn_16_2 are inferred from their numbers. Our copy "
         "of the paper has lost alpha, beta, w and the exponents of the weight decay: 1, 1, 0.5 and 5e-4 are those of "
         "its code. The other methods run with the defaults of the course.")


def network(name: str) -> dict:
    """As the paper's code has it."""
    shortcut = {"shortcut": "B"} if name in PROJECTED else {}
    return {"name": name, **shortcut, "normalise": STATISTICS}


def recipe(name: str, factor: float = 1) -> dict:
    """Section 4.1: SGD for 240 epochs, whose rate falls to a tenth at 150, 180 and 210."""
    return {"epochs": 240, "batch_size": 64, "lr": factor * (0.01 if name in SLOW else 0.05), "schedule": "steps",
            "optimizer": {"name": "SGD", "momentum": 0.9, "weight_decay": 5e-4}, "augment": {"pad": 4, "flip": True}}


def alone(name: str) -> Arm:
    """A network on labels: the first rows of every table, and who teaches."""
    return Arm(name, DATA, network(name), HARD, recipe(name))


def taught(teacher: str, student: str, name: str, lesson: dict, factor: float = 1) -> Arm:
    return Arm(f"{teacher} to {student} {name}", DATA, network(student), lesson, recipe(student, factor), teacher)


def paper() -> Study:
    """Tables 1, 2 and 5 to 9, one run each: all eleven pairs, SLKD and SLKD*, its ablations, big teachers."""
    arms, questions = {}, {}

    def add(arm: Arm) -> str:
        arms[arm.name] = arm
        return arm.name

    for name in dict.fromkeys([*(name for pair in PAIRS for name in pair), *(t for _, many in BIG for t in many),
                               *(student for student, _ in BIG)]):
        add(alone(name))
    for teacher, student in PAIRS:
        where = f"{teacher} to {student}"
        for name, lesson in OTHERS.items():
            add(taught(teacher, student, name, lesson))
        kd, ours, finished = (add(taught(teacher, student, name, lesson))
                              for name, lesson in (("kd", KD), ("slkd", SLKD), ("slkd finished", FINISHED)))
        questions |= {f"tables 1 and 2, {where}": (ours, kd), f"tables 8 and 9, {where}": (ours, finished)}
    for teacher, student in ABLATED:
        one, only = (add(taught(teacher, student, name, SLKD | {"count": 1} | more))
                     for name, more in (("slkd one", {}), ("slkd one only", {"alpha": 0.0})))
        kd = f"{teacher} to {student} kd"
        questions |= {f"table 7, SL-T alone, {teacher} to {student}": (only, kd),
                      f"table 7, both, {teacher} to {student}": (one, kd)}
    for (student, teachers), table in zip(BIG, (5, 6), strict=True):
        for teacher in teachers:
            kd, ours = (add(taught(teacher, student, name, lesson)) for name, lesson in (("kd", KD), ("slkd", SLKD)))
            questions[f"table {table}, {teacher} to {student}"] = (ours, kd)
    return Study("slkd_paper", "tables 1, 2 and 5 to 9 of the paper of lesson 07", tuple(arms.values()), (0,),
                 questions, notes=NOTES)


def controls() -> Study:
    """What else than the path of the SL-Ts could have made SLKD better: the sum of its weights is 2 where that of KD is
    1, so once more with the teacher in their place, and KD at twice the rate; and SL-Ts fixed at one point of it."""
    arms = {name: alone(name) for name in dict.fromkeys(teacher for teacher, _ in PAIRS)}
    questions = {}
    for teacher, student in PAIRS:
        where, ours = f"{teacher} to {student}", {}
        for name, lesson, factor in (
            ("kd", KD, 1), ("kd at twice the rate", KD, 2), ("slkd", SLKD, 1),
            ("slkd weights, teacher alone", {"method": "slkd_teacher", **LETTERS}, 1), ("slkd finished", FINISHED, 1),
            *((f"slkd fixed at {share}", {"method": "slkd_checkpoint", "share": share, "count": 2, **LETTERS}, 1)
              for share in (0.25, 0.5)),
        ):
            ours[name] = taught(teacher, student, name, lesson, factor)
        arms |= {arm.name: arm for arm in ours.values()}
        questions |= {f"SLKD or {name}? {where}": (ours["slkd"].name, arm.name)
                      for name, arm in ours.items() if name != "slkd"}
    return Study("slkd_controls", "what the tables of lesson 07 lack: equal weights, equal steps, fixed SL-Ts",
                 tuple(arms.values()), tuple(range(5)), questions, notes=NOTES)
