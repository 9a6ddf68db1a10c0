"""Wrong answers lose their points with the right word, unusual right ones keep them, and stubs get none.

Every answer goes both ways with its first seed: checked at home, and recorded in one place and judged in another.
"""

import re
import time
from collections import Counter

import pytest
import safetensors.torch
import torch
from wrong_answers import Answer, experiments, loops, losses
from wrong_answers.catalogue import RIGHT, WRONG

from kdcourse import data
from kdcourse.marking import checks
from kdcourse.marking.checks import CheckFailed

NAMES = sum(checks.ASSIGNMENTS.values(), ())
WITHOUT_A_FUNCTION = ("trained_pair",)    # checks that are given what an experiment made


@pytest.fixture
def once(monkeypatch) -> list:
    """Equal recordings of a seed are judged once: what is judged of one that was read is what was judged at home, if
    no bit of it was lost on the way. All verdicts, in the order in which they were asked for."""
    judged, given, verdict = {}, [], checks.base.Check.verdict

    def remembered(check, seed, record):
        key = check.name, seed, safetensors.torch.save(record.tensors), tuple(sorted(record.notes.items()))
        if key not in judged:
            judged[key] = verdict(check, seed, record)
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
    answers = (EMPTY[kind],) * 2 + ({},) if name == "trained_pair" else (EMPTY[kind],)
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


def trained(name: str, epochs: int):
    source = data.load("digits")
    made = {"teacher": experiments.small_teacher, "student": experiments.small_student}
    network = made[name](0)
    settings = {"T": 1.0, "alpha": 0.0, "epochs": epochs, "lr": 0.005, "batch_size": 100, "seed": 0}
    loops.loop(network, made["student"](1), source.train, **settings)
    network.eval()
    accuracy = (network(source.test.x / 255).argmax(dim=1) == source.test.y).float().mean().item()
    return network, accuracy


def test_the_trained_pair_is_judged_by_its_weights_and_by_what_is_reported(both_ways):
    (teacher, of_teacher), (student, of_student) = trained("teacher", 15), trained("student", 15)
    assert of_teacher > 0.95 and of_student > 0.9

    def share(*arguments):
        return both_ways(Answer("trained_pair", arguments, ""), 0)[1]

    assert share(teacher, student, {"teacher": of_teacher, "student": of_student}).share == 1.0
    fresh = experiments.small_student(7)
    verdict = share(teacher, fresh, {"teacher": of_teacher, "student": of_student})
    assert verdict.share == pytest.approx(0.5) and "the student reads" in verdict.message
    verdict = share(teacher, student, {"teacher": 100 * of_teacher, "student": 100 * of_student})
    assert verdict.share == pytest.approx(0.6) and "it is in percent" in verdict.message
    verdict = share(teacher, student, {"teacher": of_student, "student": of_teacher})
    assert verdict.share == pytest.approx(0.6) and "the two networks are exchanged" in verdict.message
    for wrong, says in (({"Teacher": of_teacher, "student": of_student}, "a dict with the keys ['Teacher', 'student']"),
                        ((of_teacher, of_student), "a tuple of 2")):
        verdict = share(teacher, student, wrong)
        assert verdict.share == pytest.approx(0.6) and f"accuracies is {says}, and a dict with" in verdict.message
    valid = data.load("digits").valid
    found = (student(valid.x / 255).argmax(dim=1) == valid.y).double().mean().item()
    verdict = share(teacher, student, {"teacher": of_teacher, "student": found})
    assert verdict.share == pytest.approx(0.8) and "measured on the validation images" in verdict.message
    assert share(teacher, student, {"teacher": 0.999, "student": of_student}).share == pytest.approx(0.8)
    verdict = share(student, teacher, {"teacher": of_teacher, "student": of_student})
    assert verdict.share == 0.0 and "the layers of a small_student: are they exchanged?" in verdict.message
    assert "the student has the layers of a small_teacher" in share(teacher, teacher, {}).message

    class Cheat(torch.nn.Module):
        def __init__(self, weights):
            super().__init__()
            self.weights = torch.nn.ParameterList(weights.parameters())

        def forward(self, x):
            return torch.nn.functional.one_hot(data.load("digits").test.y, 10).float()

    cheat = Cheat(experiments.small_student(3))
    assert share(teacher, cheat, {"teacher": of_teacher, "student": 1.0}).share == pytest.approx(0.5)


def test_a_student_that_learnt_from_labels_alone_or_from_test_images_is_recognised_by_its_weights(both_ways):
    source, (teacher, of_teacher) = data.load("digits"), trained("teacher", 15)
    settings = {"epochs": 8, "lr": 0.01, "batch_size": 100}
    for split, T, alpha, says in ((source.train, 4.0, 0.5, ""), (source.train, 1.0, 0.0, "labels alone"),
                                  (source.test, 4.0, 0.9, "the test images"), (source.train, 1.0, 0.5, ""),
                                  (source.test, 1.0, 0.0, "the test images")):
        student = experiments.small_student(0)
        loops.loop(student, teacher, split, T=T, alpha=alpha, seed=0, **settings)
        accuracy = (student(source.test.x / 255).argmax(dim=1) == source.test.y).double().mean().item()
        answer = Answer("trained_pair", (teacher, student, {"teacher": of_teacher, "student": accuracy}), "")
        verdict = both_ways(answer, 0)[1]
        assert verdict.share == pytest.approx(0.7 if says else 1.0) and says in verdict.message, (T, alpha, verdict)


@pytest.mark.timed
def test_a_wrong_answer_is_judged_within_ten_seconds_of_the_processor():
    for answer in WRONG:
        if answer.check == "stopped_distillation" or answer.name == "a_hundred_epochs":
            check = getattr(checks, answer.check)
            record, before = check.record(3, *answer.arguments), time.process_time()
            check.verdict(3, record)
            assert time.process_time() - before < 10, answer.name


@pytest.mark.parametrize("loss", [
    lambda z_s, z_t, T: losses.T_GLOBAL * 0 + T**2 * losses.kl(z_s, z_t, T).detach(),
    lambda z_s, z_t, T: (T**2 * losses.kl(z_s, z_t, T)).item(),
])
def test_what_is_right_with_large_logits_is_not_said_to_overflow(loss):
    message = checks.distillation_loss.verdict(3, checks.distillation_loss.record(3, loss)).message
    assert "no gradient reaches" in message
    assert "in the hundreds" not in message and "infinite" not in message


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
