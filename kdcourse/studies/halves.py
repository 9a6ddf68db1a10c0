"""CIFAR-10 in two halves: do the claims of lessons 06 and 07 hold at an adequate budget, and does it matter whether the
teacher has seen its student's images?

Everything that the networks of the two papers need is left out: teachers and students are small enough for a processor.
"""

from kdcourse.studies.base import Arm, Study

DATA = {"seen": {"name": "cifar10", "half": "first"}, "unseen": {"name": "cifar10", "half": "second"}}
TEACHERS = {"resnet20": {"name": "resnet20"}, "vit": {"name": "vit", "depth": 6, "width": 64, "heads": 2}}
STUDENTS = ("lightnn", "resnet8")
RECIPE = {"epochs": 40, "batch_size": 128, "lr": 2e-3, "schedule": "cosine", "augment": {"pad": 4, "flip": True}}
HARD, KD = {"method": "hard labels"}, {"method": "kd", "T": 4, "alpha": 0.9}
DIST, LETTERS = {"method": "dist", "alpha": 1, "beta": 2, "gamma": 2}, {"T": 4, "lam": 0.1}
TUNED = {  # by validation images, from 4,000 images in 8 epochs: benchmarks/methods_cifar10.py
    "lightnn": {"kd, T 2": {**KD, "T": 2}, "kd, T 2, alpha 0.5": {**KD, "T": 2, "alpha": 0.5},
                "dist": {**DIST, "T": 2}},
    "resnet8": {"kd, T 2, alpha 0.5": {**KD, "T": 2, "alpha": 0.5}, "dist": {**DIST, "T": 4}},
}
FIXED = {"kd": KD, "gentle kd": {**KD, "T": 1, "alpha": 0.5}}
OF_LEARNERS = {"slkd one": {"method": "slkd_recorded", "count": 1, **LETTERS},
               "slkd weights, teacher alone": {"method": "slkd_teacher", **LETTERS}}
FROM_VIT = ("kd, T 2, alpha 0.5", "dist")
NOTES = ("Teachers learn the first half of the training images; students the same half ('seen') or the other one "
         "('unseen'). The ViT learns from the ResNet-20, as DeiT does from a convolutional network. SLKD has one "
         "self-learning teacher, whose path is recorded once for all seeds.")


def lessons(teacher: str, student: str) -> dict[str, dict]:
    """What this student learns by from this teacher, by name."""
    if teacher == "vit":
        return {name: TUNED[student][name] for name in FROM_VIT}
    return FIXED | TUNED[student] | OF_LEARNERS


def study() -> Study:
    """Hard labels; KD, gentle KD, DIST, SLKD, and SLKD's weights with the teacher alone; a ViT as the teacher."""
    arms = [Arm("resnet20", DATA["seen"], TEACHERS["resnet20"], HARD, RECIPE),
            Arm("vit", DATA["seen"], TEACHERS["vit"], KD, RECIPE, "resnet20")]
    questions = {}
    for half, images in DATA.items():
        for student in STUDENTS:
            network, hard = {"name": student}, f"{half} {student} hard labels"
            arms.append(Arm(hard, images, network, HARD, RECIPE))
            for teacher in TEACHERS:
                of = {name: f"{half} {teacher} to {student} {name}" for name in lessons(teacher, student)}
                arms += [Arm(of[name], images, network, lesson, RECIPE, teacher)
                         for name, lesson in lessons(teacher, student).items()]
                where = f"{half}, {teacher}, {student}"
                questions |= {f"does {name} help? {where}": (arm, hard) for name, arm in of.items()}
                questions |= {f"DIST or {name}? {where}": (of["dist"], arm) for name, arm in of.items()
                              if name != "dist" and name not in OF_LEARNERS}
            where = f"{half}, {student}"
            questions |= {f"ViT or ResNet-20, by {name}? {where}": tuple(
                f"{half} {teacher} to {student} {name}" for teacher in ("vit", "resnet20")) for name in FROM_VIT}
            one, twice, kd = (f"{half} resnet20 to {student} {name}" for name in (*OF_LEARNERS, "kd"))
            questions |= {f"SLKD or KD? {where}": (one, kd), f"the path at equal weights? {where}": (one, twice)}
    return Study("cifar10_halves", "lessons 06 and 07 at an adequate budget, on images that the teacher saw and others",
                 tuple(arms), tuple(range(5)), questions, notes=NOTES)
