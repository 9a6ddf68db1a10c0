"""Wrong answers lose their points with the right word, unusual right ones keep them, and stubs get none.

Every answer goes both ways with its first seed: checked at home, and recorded in one place and judged in another.
"""

import cProfile
import re
import sys
import time
from collections import Counter
from functools import cache
from pathlib import Path

import nbformat
import pytest
import safetensors.torch
import torch
from wrong_answers import Answer, experiments, loops, losses, right
from wrong_answers.catalogue import RIGHT, WRONG

from kdcourse import data
from kdcourse.marking import checks
from kdcourse.marking.checks import CheckFailed

NAMES = sum(checks.ASSIGNMENTS.values(), ())
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
LONGEST = 10    # seconds of the processor in which any answer is judged
WITHOUT_A_FUNCTION = ("trained_pair",)    # checks that are given what an experiment made


@pytest.fixture
def once(monkeypatch) -> list:
    """Equal recordings of a seed are judged once: what is judged of one that was read is what was judged at home, if
    no bit of it was lost on the way. All verdicts, in the order in which they were asked for."""
    judged, given, verdict = {}, [], checks.base.Check.verdict

    def remembered(check, seed, record):
        key = check.name, seed, safetensors.torch.save(record.tensors), tuple(sorted(record.notes.items()))
        if key not in judged:
            before = time.process_time()
            judged[key] = verdict(check, seed, record)
            assert time.process_time() - before < LONGEST, f"{check.name}: seconds of the processor"
        given.append(judged[key])
        return judged[key]

    monkeypatch.setattr(checks.base.Check, "verdict", remembered)
    return given


@pytest.fixture
def both_ways(once, monkeypatch, tmp_path, capsys):
    """Asks an answer at home and in a recording; returns the message of the first and the verdict of the second. With
    `home` alone the verdict is the one at home, and the answer is asked once."""
    def ask(answer: Answer, seed: int, home: bool = False):
        check = getattr(checks, answer.check)
        monkeypatch.setattr(checks.base.secrets, "randbelow", lambda most: seed)
        monkeypatch.delenv("KDCOURSE_RECORD", raising=False)
        once.clear()
        try:
            check(*answer.arguments)
            said = capsys.readouterr().out.strip()
        except CheckFailed as failed:
            said = str(failed)
        if home and once:
            return said, once[-1]
        monkeypatch.setenv("KDCOURSE_RECORD", str(tmp_path))
        monkeypatch.setenv("KDCOURSE_GRADING_SEED", str(seed))
        check(*answer.arguments)
        assert capsys.readouterr().out == f"{answer.check}: recorded\n"
        return said, checks.judge(answer.check, tmp_path / f"{answer.check}.safetensors", seed)

    return ask


NUMBERS_ALONE = re.compile(  # what a judge says that has found no reason
    r"(?!.*That is what one gets if: ).*( is| are) right(: the same value for every input|: there are \d+ weights and "
    r"biases, \d+ of the expected sizes are missing)?\.|.*you return -?[\d.]+\."
    r"|.*not those of Adam on the loss that is asked for, of each batch.*"
    r"|.*the answers are not those of this network: compare .*")


def reasons(message: str) -> list[str]:
    """The parts of a message that tell more than numbers."""
    parts = re.sub(r" Read (notebook|the text)[^.]*\.$", "", message).split(" Also: ")
    return [part for part in parts if not NUMBERS_ALONE.fullmatch(part)]


@pytest.mark.parametrize("assignment", checks.ASSIGNMENTS)
def test_nine_in_ten_filed_answers_are_told_their_misconception(assignment):
    filed = [answer for answer in WRONG if answer.check in checks.ASSIGNMENTS[assignment]]
    for some in (filed, WRONG):
        assert sum(answer.told for answer in some) >= 0.9 * len(some), [one.name for one in some if not one.told]


@pytest.mark.parametrize("message, told", [
    ("the value is 1.2, and 0.5 is right. Read notebook 01, section 3.", False),
    ("the value is 1.2, and 0.5 is right. That is what one gets if: the root is missing. Read notebook 01.", True),
    ("the value is 1.2, and 0.5 is right. That is what one gets if: ties are lost: a half is right. Read it.", True),
    ("the mean is 0.1, and you return 0.2. Also: the width is 1.0, and you return 2.0. Read notebook 01.", False),
    ("the mean is 0.1, and you return 0.2. Also: the width is 1.0, and you return 2.0: it is whole. Read it.", True),
    ("it has 5, and 7 are right: there are 4 weights and biases, 2 of the expected sizes are missing.", False),
    ("it has 5 parameters, and 7 are right: biases are missing.", True),
])  # fmt: skip
def test_a_message_of_numbers_alone_tells_no_reason(message, told):
    assert bool(reasons(message)) == told


@pytest.mark.parametrize("answer", WRONG, ids=lambda answer: answer.name)
def test_a_wrong_answer_loses_its_points_and_is_told_why(answer, both_ways, seeds):
    assert answer.keeps < 1
    for seed in seeds:
        said, verdict = both_ways(answer, seed, home=seed != seeds[0])
        if "stays from one call" not in answer.says:  # such an answer is another one the second time
            assert said == f"{answer.check}: {verdict.message}"
        assert answer.says in said and answer.says in verdict.message, (seed, verdict)
        assert verdict.share == pytest.approx(answer.keeps), (seed, verdict)
        assert bool(reasons(verdict.message)) == answer.told, (seed, verdict)


@pytest.mark.parametrize("answer", RIGHT, ids=lambda answer: answer.name)
def test_an_unusual_right_answer_keeps_every_point(answer, both_ways, seeds):
    for seed in seeds:
        said, verdict = both_ways(answer, seed, home=seed != seeds[0])
        assert (said, verdict) == (f"{answer.check}: right", (1.0, "right")), seed


@pytest.mark.parametrize("assignment", checks.ASSIGNMENTS)
def test_the_catalogue_is_large_and_covers_every_check(assignment):
    names = set(checks.ASSIGNMENTS[assignment])
    wrong, right = ([answer.check for answer in filed if answer.check in names] for filed in (WRONG, RIGHT))
    assert len(wrong) >= 10 and len(right) >= 5
    assert set(wrong) == set(right) == names - set(WITHOUT_A_FUNCTION)


def test_no_two_answers_have_one_name():
    assert max(Counter((answer.check, answer.name) for answer in [*WRONG, *RIGHT]).values()) == 1


def stub(*arguments, **settings):
    raise NotImplementedError()


def nothing(*arguments, **settings):
    """What is left when the body is `pass`: a copy of the signature."""


@pytest.mark.parametrize("name", (*NAMES, *checks.LESSONS))
def test_the_section_that_a_judge_names_is_there_and_for_a_check_of_a_lesson_it_is_that_of_the_check(name):
    check = checks.CHECKS[name]
    message = check.verdict(3, check.record(3, *[nothing] * (6 if name in WITHOUT_A_FUNCTION else 1))).message
    if told := re.search(r"Read notebook (\d\d), section (\d+)", message):
        [path] = NOTEBOOKS.glob(f"{told[1]}_*.ipynb")
        section, asked = "", {}    # {section: its code}
        for cell in nbformat.read(path, 4).cells:
            headings = re.findall(r"^## (\w+)", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else []
            section = [section, *headings][-1]
            asked[section] = asked.get(section, "") + cell.source * (cell.cell_type == "code")
        assert told[2] in asked
        assert name in NAMES or f"checks.{name}(" in asked[told[2]]


EMPTY = {
    "stub": stub, "pass": nothing, "zero": lambda *a, **k: 0.0, "one": lambda *a, **k: 1.0,
    "tensor of zero": lambda *a, **k: torch.zeros(()), "its first argument": lambda *a, **k: a[0] if a else None,
    "its arguments": lambda *a, **k: (a, k), "a dict": lambda *a, **k: {}, "a pair": lambda *a, **k: (0.9, 0.01),
    "identity network": lambda *a, **k: torch.nn.Identity(),
    "a linear network": lambda *a, **k: torch.nn.Linear(28, 10),
    "a trained zero": lambda *a, **k: (a[0].sum() * 0 if a and isinstance(a[0], torch.Tensor) else 0),
    "all the same point": lambda *a, **k: {key: (0.9, 0.01) for key in k.get("temperatures", k.get("stops", ()))},
    "the class itself": object, "an exit": exit, "interrupted": lambda *a, **k: [][0],
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", EMPTY)
def test_an_answer_without_content_scores_nothing(name, kind, both_ways):
    empty = EMPTY[kind]
    answers = (empty, empty, {}, {}, (1.0, 0.5), empty) if name == "trained_pair" else (empty,)
    said, verdict = both_ways(Answer(name, answers, kind), 3)
    assert verdict.share == 0.0 and said == f"{name}: {verdict.message}"
    if kind == "stub":
        assert name in WITHOUT_A_FUNCTION or verdict.message.startswith("not answered yet")


class EqualToEverything(float):
    def __eq__(self, other):
        return True

    __hash__ = float.__hash__

    def __getattr__(self, name):
        return self

    def __call__(self, *arguments, **settings):
        return self


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_A_FUNCTION])
def test_an_object_equal_to_everything_scores_nothing(name, both_ways):
    assert both_ways(Answer(name, (lambda *a, **k: EqualToEverything(),), "equal"), 1)[1].share == 0.0


def reading(network, split) -> float:
    """The share of images that a network reads."""
    return (network.eval()(split.x / 255).argmax(dim=1) == split.y).double().mean().item()


SETTINGS, DIGITS = {"epochs": 8, "lr": 0.02, "batch_size": 200}, data.load("digits")
GRID = [(T, alpha) for T in (1.0, 4.0) for alpha in (0.5, 0.9)]


@cache
def a_teacher():
    network, settings = experiments.small_teacher(0), {"T": 1.0, "alpha": 0.0, "lr": 0.005, "batch_size": 100}
    loops.loop(network, experiments.small_student(1), DIGITS.train, epochs=15, seed=0, **settings)
    return network


@cache
def a_student(T, alpha, seed=0, train=loops.loop, part="train", epochs=8):
    student = experiments.small_student(seed)
    settings = SETTINGS | {"epochs": epochs}
    train(student, a_teacher(), getattr(DIGITS, part), T=T, alpha=alpha, seed=seed, **settings)
    return student


def searched(train=loops.loop):
    """What was tried on validation images, and the best of it."""
    tried = {pair: [reading(a_student(*pair, seed, train), DIGITS.valid) for seed in (0, 1)] for pair in GRID}
    return tried, max(tried, key=lambda pair: sum(tried[pair]))


def of_pair(student=None, teacher=None, accuracies=None, tried=None, chosen=None, train=loops.loop):
    """The verdict about a pair; what is not given is as it should be."""
    teacher, (found, best) = teacher or a_teacher(), searched(train)
    student = student or a_student(*best, train=train)
    accuracies = accuracies or {"teacher": reading(teacher, DIGITS.test), "student": reading(student, DIGITS.test)}
    answers = teacher, student, accuracies, tried or found, best if chosen is None else chosen, train
    return checks.trained_pair.verdict(0, checks.trained_pair.record(0, *answers))


def test_the_trained_pair_is_judged_by_its_weights_and_by_what_is_reported():
    teacher, (_, best) = a_teacher(), searched()
    student = a_student(*best)
    of_teacher, of_student = (reading(network, DIGITS.test) for network in (teacher, student))
    assert of_teacher > 0.95 and of_student > 0.9
    assert of_pair() == (1.0, "right")
    verdict = of_pair(experiments.small_student(7), accuracies={"teacher": of_teacher, "student": of_student})
    assert verdict.share == pytest.approx(0.5) and "the student reads" in verdict.message
    for accuracies, share, says in (
        ({"teacher": 100 * of_teacher, "student": 100 * of_student}, 0.7, "it is in percent"),
        ({"teacher": of_student, "student": of_teacher}, 0.7, "the two networks are exchanged"),
        ({"Teacher": of_teacher, "student": of_student}, 0.7, "is a dict with the keys ['Teacher', 'student']"),
        ((of_teacher, of_student), 0.7, "accuracies is a tuple of 2, and a dict with"),
        ({"teacher": of_teacher, "student": reading(student, DIGITS.valid)}, 0.85, "measured on the validation images"),
        ({"teacher": 0.999, "student": of_student}, 0.85, "you report 0.999 for the teacher"),
    ):
        verdict = of_pair(accuracies=accuracies)
        assert verdict.share == pytest.approx(share) and says in verdict.message, verdict
    right = {"teacher": of_teacher, "student": of_student}
    answers = student, teacher, right, *searched(), loops.loop
    verdict = checks.trained_pair.verdict(0, checks.trained_pair.record(0, *answers))
    assert verdict.share == 0.0 and "the layers of a small_student: are they exchanged?" in verdict.message
    assert "the student has the layers of a small_teacher" in of_pair(teacher, accuracies=right).message

    class Cheat(torch.nn.Module):
        def __init__(self, weights):
            super().__init__()
            self.weights = torch.nn.ParameterList(weights.parameters())

        def forward(self, x):
            return torch.nn.functional.one_hot(DIGITS.test.y, 10).float()

    cheat = Cheat(experiments.small_student(3))
    assert of_pair(cheat, accuracies={"teacher": of_teacher, "student": 1.0}).share == pytest.approx(0.5)


def test_a_student_of_another_setting_than_the_chosen_one_is_recognised_by_its_weights():
    _, best = searched()
    for T, alpha in (pair for pair in GRID if pair != best):
        verdict = of_pair(a_student(T, alpha))
        assert verdict.share == pytest.approx(0.8), verdict
        assert f"the student's weights are those of T = {T:g}, alpha = {alpha:g}, and chosen is" in verdict.message
    for other in (a_student(*best, seed=5), a_student(*best, epochs=12), a_student(2.0, 0.7)):
        verdict = of_pair(other)
        assert verdict.share == pytest.approx(0.8) and "the student ends with other weights" in verdict.message


def test_what_was_chosen_follows_from_what_was_tried_and_that_comes_out_again():
    tried, best = searched()
    worst = min(tried, key=lambda pair: sum(tried[pair]))
    verdict = of_pair(a_student(*worst), chosen=worst)
    assert verdict.share == pytest.approx(0.9) and "is better on validation images" in verdict.message
    verdict = of_pair(a_student(*worst), tried=tried | {worst: [0.995, 0.99]}, chosen=worst)
    assert verdict.share == pytest.approx(0.9) and "and tried says 0.9950" in verdict.message
    for odd in ((2.0, 0.5), "T = 1", 3, best[::-1]):
        verdict = of_pair(chosen=odd)
        assert verdict.share == pytest.approx(0.7) and "chosen is none of the pairs" in verdict.message, odd
    for odd in ({"T = 1": [0.9, 0.9]}, [0.9] * 4, {pair: values[:1] for pair, values in tried.items()}):
        verdict = of_pair(tried=odd)
        assert verdict.share == pytest.approx(0.8) and "tried is to be a dict with two accuracies" in verdict.message


@pytest.mark.parametrize("train", [right.with_a_data_loader, right.teacher_asked_once])
def test_a_pair_trained_in_an_order_of_ones_own_keeps_every_mark(train):
    assert of_pair(train=train) == (1.0, "right")


def test_a_student_that_learnt_from_labels_alone_is_recognised_by_its_weights():
    verdict = of_pair(a_student(1.0, 0.0))
    assert verdict.share == pytest.approx(0.65) and "a training on labels alone" in verdict.message, verdict


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 5])
def test_a_student_that_learnt_from_test_images_in_any_order_is_told_so(alpha, seed):
    verdict = of_pair(a_student(1.0, alpha, seed, part="test"))
    assert verdict.share == pytest.approx(0.65) and "the student ends with other weights" in verdict.message, verdict
    assert "the student knows the test images better than the training images" in verdict.message


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_teacher_that_learnt_from_test_images_is_told_so_and_one_of_training_images_is_not(seed):
    settings = {"T": 1.0, "alpha": 0.0, "lr": 0.006, "batch_size": 200, "epochs": 25, "seed": seed}
    for part, known in (("train", False), ("test", True)):
        network = experiments.small_teacher(seed)
        loops.loop(network, experiments.small_student(1), getattr(DIGITS, part), **settings)
        said = of_pair(teacher=network).message
        assert ("the teacher knows the test images better than the training images" in said) == known, (part, said)


@pytest.mark.parametrize("name", ["every_third_row_invented", "the_last_third_of_the_seeds_invented"])
def test_a_third_of_the_rows_that_was_invented_is_noticed_on_forty_draws(name):
    check, [answer] = checks.my_comparison, [one for one in WRONG if one.name == name]
    for seed in range(40):
        assert "trained again, has" in check.verdict(seed, check.record(seed, *answer.arguments)).message, seed


@pytest.mark.parametrize("loss", [
    lambda z_s, z_t, T: losses.T_GLOBAL * 0 + T**2 * losses.kl(z_s, z_t, T).detach(),
    lambda z_s, z_t, T: (T**2 * losses.kl(z_s, z_t, T)).item(),
])
def test_what_is_right_with_large_logits_is_not_said_to_overflow(loss):
    message = checks.distillation_loss.verdict(3, checks.distillation_loss.record(3, loss)).message
    assert "no gradient reaches" in message
    assert "in the hundreds" not in message and "infinite" not in message


def test_a_profiler_that_is_running_keeps_no_check_from_asking_or_from_seeing_what_is_called():
    asked = checks.teacher_loss, checks.reverse_gradient
    answers = losses.F.cross_entropy, lambda z_s, z_t, T: torch.func.jacrev(lambda z: z.sum())(z_s)
    with cProfile.Profile():
        right, called = (check.record(3, answer) for check, answer in zip(asked, answers, strict=True))
    assert checks.teacher_loss.verdict(3, right) == (1.0, "right")
    assert "used" in called.notes and sys.getprofile() is None


def test_a_finite_value_with_another_mistake_is_not_said_to_overflow():
    for loss in (lambda z, y: losses.F.cross_entropy(z, y, reduction="sum"), lambda z, y: losses.F.nll_loss(z, y)):
        message = checks.teacher_loss.verdict(3, checks.teacher_loss.record(3, loss)).message
        assert "That is what one gets if" in message and "infinite" not in message
    assert "nll_loss was given logits" in message


def test_no_message_holds_a_line_of_a_solution():
    for answer in losses.WRONG:
        check = getattr(checks, answer.check)
        message = check.verdict(0, check.record(0, *answer.arguments)).message
        assert not re.search(r"F\.\w+\(|torch\.\w+\(|z_s / T|return |reduction=", message), message
        assert "\n" not in message
        assert "Read notebook 01, section" in message or message.startswith("it stopped with an error")


@pytest.mark.parametrize("name", ["share_right", "softened", "soft_loss", "student_loss", "wrong_answers",
                                  "soft_gradient", "smoothed"])
def test_a_blank_that_is_still_empty_is_told_so(name, capsys):
    def empty(*given):
        """A blank as a worksheet has it."""
        ...

    with pytest.raises(CheckFailed, match="the blank is still empty"):
        checks.CHECKS[name](empty)
