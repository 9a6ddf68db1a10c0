"""The studies behind the paper of lesson 06, on DIST with ViT teachers: its tables, and the controls that they lack."""

from kdcourse.studies.base import Arm, Study

TEACHERS = {size: {"name": f"google/vit-{size}-patch{patch}-224-in21k", "pretrained": True}
            for size, patch in (("base", 16), ("large", 16), ("huge", 14))}
STUDENTS = {name: {"name": f"torchvision:{name}"}
            for name in ("resnet18", "resnet50", "resnet152", "efficientnet_b0", "mobilenet_v2")}
ADAMW = {"optimizer": {"name": "AdamW"}}
JITTER = {"augment": {"pad": 0, "flip": True, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1}}
CROP = {"augment": {"pad": 4, "flip": True}}
EPOCHS = {"cifar10": {"vit": 7, "resnet": 20}, "cifar100": {"vit": 10, "resnet": 25}}  # table I
RATES = {"resnet18": 7.5e-5, "resnet50": 7.5e-5, "resnet152": 1e-4}                    # table I
TABLE_III = {"epochs": 20, "batch_size": 16, "lr": 7.5e-5, **ADAMW}
T = {"cifar10": 2, "cifar100": 4}                                                      # table III
KD, GENTLE = {"method": "kd", "T": 4, "alpha": 0.9}, {"method": "kd", "T": 1, "alpha": 0.5}
HARD = {"method": "hard labels"}
NOTES = ("The paper does not say whether its ResNets were pretrained, at which size they saw the images, how strong "
         "the jitter was, nor AdamW's weight decay: here they are torchvision's, fresh, at 32 pixels; the jitter is "
         "0.2, 0.2, 0.2 and 0.1; the decay is torch's.")


def teacher(source: str, size: str) -> Arm:
    """A ViT of table I, fine-tuned."""
    return Arm(f"{source} vit_{size}", _data(source), TEACHERS[size], HARD,
               {"epochs": EPOCHS[source]["vit"], "batch_size": 16, "lr": 5e-6, **ADAMW, **JITTER})


def alone(source: str, student: str) -> Arm:
    """A student of tables I and II, on labels."""
    return Arm(f"{source} {student} alone", _data(source), STUDENTS[student], HARD,
               {"epochs": EPOCHS[source]["resnet"], "batch_size": 32, "lr": RATES[student], **ADAMW, **JITTER})


def taught(source: str, size: str, student: str, name: str, lesson: dict) -> Arm:
    """A student of table IV, by the recipe of table III."""
    return Arm(f"{source} vit_{size} to {student} {name}", _data(source), STUDENTS[student], lesson,
               {**TABLE_III, **CROP}, teacher(source, size).name)


def dist(source: str) -> dict:
    """DIST with the weights and the temperature of table III."""
    return {"method": "dist", "alpha": 1, "beta": 2, "gamma": 2, "T": T[source]}


def paper() -> Study:
    """Tables I to IV, one run each, as in the paper."""
    arms, questions = [], {}
    for source in EPOCHS:
        arms += [teacher(source, size) for size in ("base", "large")] + [alone(source, student) for student in RATES]
        for size in ("base", "large"):
            for student in RATES:
                arms.append(taught(source, size, student, "dist", dist(source)))
                questions[f"table IV, {source}, vit_{size}, {student}"] = (arms[-1].name, f"{source} {student} alone")
    return Study("dist_paper", "tables I to IV of the paper of lesson 06", tuple(arms), (0,), questions, notes=NOTES)


def controls() -> Study:
    """At one budget, that of table III: hard labels, KD, gentle KD and DIST; and the recipe of table II without its
    budget, so that augmentation and distillation are told apart. Teachers and students of the paper's future work."""
    arms, questions = [], {}
    for source in EPOCHS:
        arms += [teacher(source, size) for size in TEACHERS]
        for student in ("resnet18", "resnet50", "efficientnet_b0", "mobilenet_v2"):
            hard, jitter = (f"{source} {student} {name}" for name in ("hard labels", "hard labels, jitter"))
            arms += [Arm(hard, _data(source), STUDENTS[student], HARD, {**TABLE_III, **CROP}),
                     Arm(jitter, _data(source), STUDENTS[student], HARD, {**TABLE_III, **JITTER})]
            questions[f"crop or jitter? {source}, {student}"] = (hard, jitter)
            for size in TEACHERS:
                three = [taught(source, size, student, name, lesson) for name, lesson in
                         (("kd", KD), ("gentle kd", GENTLE), ("dist", dist(source)))]
                kd, gentle, ours = (arm.name for arm in three)
                arms += three
                where = f"{source}, vit_{size}, {student}"
                questions |= {f"does DIST help? {where}": (ours, hard), f"does KD help? {where}": (kd, hard),
                              f"does gentle KD help? {where}": (gentle, hard), f"DIST or KD? {where}": (ours, kd),
                              f"DIST or gentle KD? {where}": (ours, gentle)}
    return Study("dist_controls", "what the tables of lesson 06 lack: equal budgets", tuple(arms), tuple(range(5)),
                 questions, notes=NOTES)


def _data(source: str) -> dict:
    return {"name": source, "whole": True}
