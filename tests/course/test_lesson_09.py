"""Lesson 09: its checks name the misconception, what is written by hand is the package's, and its study is whole."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lessons import by_hand, run

from kdcourse import data, losses, models, study, viz
from kdcourse.core import Batch
from kdcourse.distillers import DML, KD
from kdcourse.marking import checks

LESSON = Path(__file__).parents[2] / "notebooks" / "09_other_teachers.ipynb"


@pytest.fixture(scope="module")
def hand() -> dict:
    return by_hand(LESSON.stem)


def network(seed: int, side: int = 8):
    return models.build("mlp", (1, side, side), 4, seed=seed, hidden=(16,))


def images(n=12):
    draw = torch.Generator().manual_seed(0)
    return Batch(torch.rand(n, 1, 8, 8, generator=draw), torch.randint(4, (n,), generator=draw), torch.arange(n))


def test_the_losses_of_peers_written_by_hand_are_those_of_the_package_and_so_are_their_gradients(hand):
    a, b, batch = network(0), network(1), images()
    ours = hand["mutual_losses"](a(batch.x), b(batch.x), batch.y)
    terms = {name: term.value for name, term in DML(a, b)(batch).items()}
    theirs = terms["ce"] + terms["kl"], terms["peer_ce"] + terms["peer_kl"]
    torch.testing.assert_close(ours, theirs)
    for one, other in zip(ours, theirs, strict=True):
        for parameters in (a.parameters(), b.parameters()):
            found = [torch.autograd.grad(loss, parameters_, retain_graph=True, allow_unused=True)
                     for parameters_ in [list(parameters)] for loss in (one, other)]
            torch.testing.assert_close(*found)


def test_swapped_peers_swap_their_losses_and_equal_ones_have_the_cross_entropy_alone(hand):
    z_a, z_b = (torch.randn(6, 4, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    y = torch.tensor([0, 1, 2, 3, 0, 1])
    torch.testing.assert_close(hand["mutual_losses"](z_a, z_b, y), hand["mutual_losses"](z_b, z_a, y)[::-1])
    torch.testing.assert_close(hand["mutual_losses"](z_a, z_a, y), 2 * (F.cross_entropy(z_a, y),))


def test_the_bridge_written_by_hand_is_kd_of_a_student_that_sees_thumbnails(hand):
    student, teacher, batch = network(0, side=2), network(1), images()
    shrinking = torch.nn.Sequential(torch.nn.AvgPool2d(4), student)
    theirs = KD(shrinking, teacher, T=3.0, alpha=1.0)(batch)["kd"].value
    torch.testing.assert_close(hand["bridge_loss"](student, teacher, batch.x, 3.0), theirs)


def test_the_entropy_term_written_by_hand_is_the_packages(hand):
    z = 3 * torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(hand["entropy_term"](z), losses.information_entropy_loss(z))


def kl(z_own, z_other):
    return F.kl_div(z_own.log_softmax(1), z_other.softmax(1), reduction="batchmean")


def peers_with(kl_a, kl_b=None):
    """Answers whose two divergences may differ."""
    return lambda z_a, z_b, y: (F.cross_entropy(z_a, y) + kl_a(z_a, z_b),
                                F.cross_entropy(z_b, y) + (kl_b or kl_a)(z_b, z_a))


def fixed_kl(own, other):
    return kl(own, other.detach())


def mutual(divergence, each=F.cross_entropy):
    def answer(z_a, z_b, y):
        return each(z_a, y) + divergence(z_a, z_b), each(z_b, y) + divergence(z_b, z_a)
    return answer


def bridge(small, fixed=True, scale=True):
    def answer(student, teacher, x, T):
        z_t = teacher(x)
        value = kl(student(small(x)) / T, (z_t.detach() if fixed else z_t) / T)
        return T**2 * value if scale else value
    return answer


def crossing(student_T=True, teacher_T=True):
    """A bridge that softens one side alone, or both."""
    return lambda student, teacher, x, T: T**2 * kl(
        student(averaged(x)) / (T if student_T else 1), teacher(x).detach() / (T if teacher_T else 1))


def without_student(student, teacher, x, T):
    with torch.no_grad():
        return bridge(averaged)(student, teacher, x, T)


def entropy(z, log=torch.log, smallest=0.0):
    mean = z.softmax(1).mean(0).clamp_min(smallest)
    return (mean * log(mean)).sum()


def averaged(x):
    return F.avg_pool2d(x, 4)


@pytest.mark.parametrize(("name", "answer", "message"), [
    ("mutual_losses", mutual(kl), "the other network is not detached"),
    ("mutual_losses", mutual(lambda own, other: kl(other.detach(), own)), "runs the wrong way"),
    ("mutual_losses", mutual(lambda own, other: kl(own, other.detach()), lambda z, y: 0), "the labels are not used"),
    ("mutual_losses", lambda a, b, y: F.cross_entropy(a, y), "two losses are asked for, as a pair"),
    ("mutual_losses", lambda a, b, y: (F.cross_entropy(a, y, reduction="none"),) * 2, "is the mean over the images"),
    ("mutual_losses", lambda a, b, y: None, "the blank is still empty"),
    ("mutual_losses", lambda a, b, y: mutual(fixed_kl)(a, b, y)[::-1], "the pair is in the wrong order"),
    ("mutual_losses", peers_with(kl, fixed_kl), "loss_a also trains B"),
    ("mutual_losses", peers_with(fixed_kl, kl), "loss_b also trains A"),
    ("mutual_losses", peers_with(lambda own, other: kl(other, own.detach())), "the two divergences are exchanged"),
    ("mutual_losses", mutual(fixed_kl, lambda z, y: F.cross_entropy(z.softmax(1), y)), "it takes the logits"),
    ("mutual_losses", mutual(lambda own, other: F.kl_div(own.softmax(1), other.softmax(1).detach(),
                                                         reduction="batchmean")), "it expects their logarithm"),
    ("mutual_losses", mutual(lambda own, other: fixed_kl(own, other) / 4), "say reduction='batchmean'"),
    ("mutual_losses", mutual(lambda own, other: fixed_kl(own, other) * len(own)), "summed over the images"),
    ("bridge_loss", crossing(teacher_T=False), "T divides the student's logits only"),
    ("bridge_loss", crossing(student_T=False), "T divides the teacher's logits only"),
    ("bridge_loss", without_student, "no gradient reaches the student"),
    ("bridge_loss", bridge(averaged, fixed=False), "the teacher is not fixed"),
    ("bridge_loss", bridge(averaged, scale=False), "T squared is missing"),
    ("bridge_loss", bridge(lambda x: x[:, :, ::4, ::4]), "every fourth pixel"),
    ("bridge_loss", bridge(lambda x: x), "this student sees thumbnails"),
    ("bridge_loss", lambda student, teacher, x, T: bridge(averaged)(student, teacher, x, T).detach(), "is right"),
    ("entropy_term", lambda z: (z.softmax(1) * z.log_softmax(1)).sum(1).mean(), "image by image"),
    ("entropy_term", lambda z: -losses.information_entropy_loss(z), "this is the entropy"),
    ("entropy_term", lambda z: losses.information_entropy_loss(z.mean(0, keepdim=True)), "the logits are averaged"),
    ("entropy_term", lambda z: entropy(z, torch.log2), "to base 2"),
    ("entropy_term", lambda z: entropy(z, smallest=1e-12).item(), "no gradient reaches the logits"),
    ("entropy_term", lambda z: entropy(z, smallest=1e-12).detach(), "no gradient reaches the logits"),
    ("entropy_term", entropy, "0 log 0 counts as 0"),
    ("entropy_term", lambda z: (z.softmax(1) * z.softmax(1).log()).sum(1).mean(), "image by image"),
    ("entropy_term", lambda z: entropy(z).nansum(), "0 log 0 counts as 0"),
])
def test_a_wrong_answer_hears_which_misconception_it_is(name, answer, message):
    with pytest.raises(checks.CheckFailed, match=message):
        checks.CHECKS[name](answer)


@pytest.mark.parametrize(("name", "answer"), [
    ("mutual_losses", mutual(lambda own, other: kl(own, other.detach()))),
    ("bridge_loss", bridge(averaged)),
    ("entropy_term", losses.information_entropy_loss),
    ("entropy_term", lambda z: entropy(z, smallest=1e-12)),
    ("entropy_term", lambda z: entropy(z, lambda mean: (mean + 1e-8).log())),
])
def test_what_the_package_or_torch_gives_is_right(name, answer, capsys):
    checks.CHECKS[name](answer)
    assert "right" in capsys.readouterr().out


def test_the_study_has_every_arm_with_every_seed():
    content = study.recorded("others")
    parts = {arm.split(", ")[0] for arm in content["results"]["students"]}
    assert parts == {"peers", "crowd", "senses", "nothing", "tasks", "rivals", "exits"}
    for arm, runs in content["results"]["students"].items():
        assert [run["seed"] for run in runs] == content["seeds"] == list(range(10)), arm
        assert all(0 <= value <= 1 for run in runs for key, value in run.items() if key != "seed"), arm


def first_row(network):
    """What networks of one seed have in common, however wide they are."""
    return tuple(next(p for p in network.parameters() if p.ndim == 2)[0].tolist())


@pytest.mark.parametrize("second", [False, True])
def test_no_student_of_the_crowd_begins_as_one_of_its_teachers(monkeypatch, second):
    monkeypatch.syspath_prepend(LESSON.parents[1] / "benchmarks")
    import others

    begun, learned = set(), set()
    asked = others.Study(range(10, 20) if second else range(10), int(second))

    def measure(arm, student, make, source, **training):
        begun.update(first_row(student(seed)) for seed in asked.seeds)
        asked.results["students"][arm] = [{"seed": seed, "accuracy": 0.5} for seed in asked.seeds]

    monkeypatch.setattr(asked, "measure", measure)
    monkeypatch.setattr(asked, "choose", lambda *given, **settings: 1.0)
    monkeypatch.setattr(others.train, "fit", lambda lesson, *given, **settings: learned.add(first_row(lesson.student)))
    others.crowd(asked)
    assert len(learned) == others.CROWD + 1 and len(begun) == len(asked.seeds) and not begun & learned


@pytest.mark.parametrize("second", [False, True])
def test_no_student_without_data_begins_as_a_part_of_its_teacher(monkeypatch, second):
    monkeypatch.syspath_prepend(LESSON.parents[1] / "benchmarks")
    import others

    monkeypatch.setattr(others.train, "fit", lambda *given, **settings: None)
    asked, source = others.Study(range(10, 20) if second else range(10), int(second)), data.load("mnist_small")
    teacher, student = others.digit_teacher(asked, source), others.perceptron(source, 64)
    assert first_row(teacher) not in {first_row(student(seed)) for seed in asked.seeds}


def test_a_part_that_is_measured_again_forgets_what_was_chosen_and_nothing_else(monkeypatch):
    monkeypatch.syspath_prepend(LESSON.parents[1] / "benchmarks")
    import others

    asked = others.Study(range(2), 0)
    asked.results = {"chosen": {"crowd": 1.0, "senses": 2.0}, "grids": {"crowd": []}, "teachers": {"of digits": 0.9},
                     "students": {"crowd, hard labels": [], "senses, pairs": []}}
    asked.forget("crowd")
    assert asked.results == {"chosen": {"senses": 2.0}, "grids": {}, "teachers": {"of digits": 0.9},
                             "students": {"senses, pairs": []}}


def test_a_board_draws_an_arrow_from_box_to_box_and_bends_those_of_peers():
    boxes = {"A": (0, 0), "B": (1, 0)}
    axes = viz.boards({"peers": (boxes, [("A", "B", "teaches"), ("B", "A", "teaches")]),
                       "one": (boxes, [("A", "B", "sees")])})
    drawn = [[text for text in ax.texts if getattr(text, "arrow_patch", None)] for ax in axes]
    assert [len(arrows) for arrows in drawn] == [2, 1]
    bends = [[arrow.arrow_patch.get_connectionstyle().rad for arrow in arrows] for arrows in drawn]
    assert bends[0][0] != 0 and bends[1] == [0]
    for wrong in (("A", "C", "sees"), ("A", "B", "asks")):
        with pytest.raises(ValueError, match="an arrow is"):
            viz.boards({"x": (boxes, [wrong])})


def test_a_chart_of_counts_shows_shares_in_percent():
    [ax] = viz.class_counts({"noise": [1, 3, 0]}, ["a", "b", "c"])
    assert [bar.get_height() for bar in ax.patches] == [25, 75, 0]
    for counts in ([1, 2], [0, 0, 0]):
        with pytest.raises(ValueError, match=f"'x' has {len(counts)} counts with the sum {sum(counts)}"):
            viz.class_counts({"x": counts}, ["a", "b", "c"])


def test_every_cell_runs_in_the_full_profile_and_trains_every_arm_for_every_seed(monkeypatch, capsys):
    small = {"images": 100, "each": 50, "epochs": 2, "pairs": 200, "drawn": 100, "seeds": 2}
    found = run("09_other_teachers", until="hills-picture", monkeypatch=monkeypatch, **small)
    trials = [found[name] for name in ("trial", "crowd", "by_label", "by_pair")]
    assert [trial.seeds for trial in trials] == 4 * [(10, 11)]
    assert [len(trial.accuracy) for trial in trials] == [3, 2, 1, 2]
    assert len(found["reached"]) == 4 and len(found["pairs"]) == 2
    assert capsys.readouterr().out.count(": True") == 3
