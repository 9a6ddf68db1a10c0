"""A teacher is frozen and answers as its network; a bank says the same, about the images it was asked and no others."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kdcourse import cost, data, distillers, metrics, models, procedures, train
from kdcourse.core import Batch
from kdcourse.data import Augment
from kdcourse.distillers import DML, KD, SLKD, Supervised
from kdcourse.teachers import FeatureBank, FromProbabilities, LogitBank, Teacher, Trajectory, as_teacher
from kdcourse.teachers.base import check_teachers, look

EXACT = {"rtol": 1e-5, "atol": 1e-5}  # what the order of a sum may change in float32


@pytest.fixture(scope="module")
def source():
    return data.load("digits")


@pytest.fixture(scope="module")
def few(source):
    return source.with_train(source.train.take(torch.arange(200), "few"))


@pytest.fixture
def network():
    """With BatchNorm, so that it matters in which mode it answers."""
    return models.build("resnet8", (1, 8, 8), 10, seed=0, width=4)


def first_batch(split, **settings):
    return next(split.batches(64, **settings))


def mistakes(bank, teacher, split, *, augment=None, epochs=1, tolerance=1e-4):
    """The rows about which a bank says something else than the teacher, in shuffled epochs."""
    rows = set()
    for epoch in range(epochs):
        for batch in split.batches(64, seed=1, epoch=epoch, augment=augment):
            gap = (bank(batch) - teacher(batch)).abs().amax(dim=1)
            rows.update(batch.index[~(gap <= tolerance)].tolist())
    return sorted(rows)


# Teacher

def test_teacher_is_frozen_and_in_eval_mode_whatever_is_asked(network, source):
    class Distilling(nn.Module):
        def __init__(self, teacher):
            super().__init__()
            self.teacher = teacher

    teacher = Teacher(network.train())
    batch = first_batch(source.train)
    z = teacher(batch)
    for ask in (teacher.train, Distilling(teacher).train, teacher.eval):
        ask()
        assert not any(module.training for module in teacher.modules())
        assert torch.equal(teacher(batch), z)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


@pytest.mark.parametrize("part", [lambda network: network, lambda network: network.dropout])
@pytest.mark.parametrize("ask", [lambda teacher, batch: teacher(batch), lambda teacher, batch: teacher.answer(batch).z,
                                 lambda teacher, batch: teacher.head(teacher.answer(batch).features[-1])])
def test_teacher_is_in_eval_mode_after_its_network_or_a_layer_of_it_was_told_to_train(part, ask, source):
    network = models.build("cnn", (1, 8, 8), 10, seed=0, width=4)
    teacher, batch = Teacher(network), first_batch(source.train)
    z = ask(teacher, batch)
    part(network).train()
    assert torch.equal(ask(teacher, batch), z)
    assert not any(module.training for module in network.modules())


def test_teacher_answers_as_its_network_does_in_eval_mode(network, source):
    batch = first_batch(source.train)
    with torch.no_grad():
        expected = network.eval()(batch.x)
    assert torch.equal(Teacher(network)(batch), expected)


def test_no_gradient_reaches_the_teacher_or_the_images_through_it(network, source):
    teacher, batch = Teacher(network), first_batch(source.train)
    batch = batch._replace(x=batch.x.clone().requires_grad_())
    assert not teacher(batch).requires_grad
    assert not any(f.requires_grad for f in teacher.answer(batch).features)


def test_teacher_gives_float32_whatever_its_network_gives(source):
    class Half(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, 20:30].bfloat16()

        def answer(self, x):
            return models.Answer(self(x), [x.bfloat16()], [-x.bfloat16()])

    teacher, batch = Teacher(Half()), first_batch(source.train)
    assert teacher(batch).dtype == torch.float32
    z, features, maps = teacher.answer(batch)
    assert [tensor.dtype for tensor in (z, *features, *maps)] == [torch.float32] * 3


def test_teacher_kept_in_half_precision_answers_in_float32(network, source):
    batch = first_batch(source.train)
    expected = Teacher(network)(batch)
    half = Teacher(network.bfloat16())
    z = half(batch)
    assert z.dtype == torch.float32
    torch.testing.assert_close(z, expected, rtol=0.1, atol=0.05)
    torch.testing.assert_close(half.head(half.answer(batch).features[-1]), z)


def test_head_is_differentiable_in_the_feature_and_not_in_its_weights(network, source):
    teacher, batch = Teacher(network), first_batch(source.train)
    f = teacher.answer(batch).features[-1].requires_grad_()
    z = teacher.head(f)
    torch.testing.assert_close(z, teacher(batch))
    z.sum().backward()
    per_feature = network.linear.weight.sum(dim=0) / f[0, 0].numel()
    torch.testing.assert_close(f.grad, per_feature.reshape(1, -1, 1, 1).expand_as(f))
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_teacher_says_what_its_network_returned_that_gives_no_logits(source):
    with pytest.raises(TypeError, match=r"Identity returned a tensor of shape \(64, 1, 8, 8\), not logits"):
        Teacher(nn.Identity())(first_batch(source.train))


def test_key_depends_on_every_weight_and_statistic(network):
    key = Teacher(network).key()
    assert Teacher(models.build("resnet8", (1, 8, 8), 10, seed=0, width=4)).key() == key
    for values in (network.linear.weight.data, network.stages[0][0][1].running_mean):
        values[-1] += 1e-6
        assert Teacher(network).key() != key
        values[-1] -= 1e-6


def test_key_depends_on_the_normalisation_since_the_answers_do():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    keys = {Teacher(models.wrap(network, mean=(mean,), std=(std,))).key() for mean, std in ((0, 1), (0.5, 1), (0, 2.0))}
    assert len(keys) == 3


def test_as_teacher_passes_what_answers_batches_and_freezes_the_rest(network, source):
    teacher = Teacher(network)
    bank = LogitBank.record(teacher, source.valid)
    assert as_teacher(teacher) is teacher and as_teacher(bank) is bank
    other = nn.Linear(2, 2)
    assert isinstance(as_teacher(other), Teacher) and not other.weight.requires_grad
    with pytest.raises(TypeError, match="a network, a Teacher or a LogitBank, not a str"):
        as_teacher("resnet8")


# LogitBank

@pytest.mark.parametrize("augment", [None, Augment(pad=1, views=1), Augment(pad=1, views=3)], ids=["plain", "1", "3"])
def test_bank_says_what_the_teacher_says_about_every_row_in_any_order(network, source, augment):
    teacher = Teacher(network)
    views = 1 if augment is None else augment.views
    exact = LogitBank.record(teacher, source.train, augment=augment, dtype=torch.float32)
    half = LogitBank.record(network, source.train, augment=augment)
    assert exact.table.shape == (views, 1000, 10)
    for bank, tolerance in ((exact, 1e-5), (half, 1e-2)):
        assert mistakes(bank, teacher, source.train, augment=augment, epochs=2 * views + 1, tolerance=tolerance) == []
    assert half.table.dtype == torch.float16
    assert half(first_batch(source.train, augment=augment)).dtype == torch.float32


def test_bank_in_float32_is_exact_in_the_order_it_was_recorded_in(network, source):
    teacher = Teacher(network)
    bank = LogitBank.record(teacher, source.train, dtype=torch.float32, batch_size=64)
    for batch in source.train.batches(64):
        assert torch.equal(bank(batch), teacher(batch))


def test_one_wrong_row_of_the_table_is_found(network, source):
    teacher = Teacher(network)
    bank = LogitBank.record(teacher, source.train, dtype=torch.float32)
    bank.table[0, 123, 4] += 1
    assert mistakes(bank, teacher, source.train) == [123]
    bank.table[0, 123, 4] -= 1
    bank.table[0, [7, 70]] = bank.table[0, [70, 7]]
    assert mistakes(bank, teacher, source.train) == [7, 70]


def test_one_wrong_view_of_the_table_is_found(network, source):
    teacher, augment = Teacher(network), Augment(pad=1, views=3)
    bank = LogitBank.record(teacher, source.train, augment=augment, dtype=torch.float32)
    bank.table[2, 55] = bank.table[1, 55]
    assert mistakes(bank, teacher, source.train, augment=augment, epochs=2) == []
    assert mistakes(bank, teacher, source.train, augment=augment, epochs=3) == [55]


def test_bank_refuses_images_it_was_not_asked_about(network, source):
    augment = Augment(pad=1, views=2)
    plain = LogitBank.record(network, source.train)
    augmented = LogitBank.record(network, source.train, augment=augment)
    foreign = [
        (plain, first_batch(source.valid)),
        (plain, first_batch(source.train, augment=augment)),
        (plain, first_batch(source.train.take(torch.arange(900), "part"))),
        (plain, first_batch(source.train)._replace(origin="")),
        (augmented, first_batch(source.train)),
        (augmented, first_batch(source.train, augment=Augment(pad=1, views=3))),
        (augmented, first_batch(source.train, augment=Augment(pad=1, views=2, seed=1))),
    ]
    for bank, batch in foreign:
        with pytest.raises(ValueError, match=r"answers about \[digits/train#.*\] and was asked about \[") as error:
            bank(batch)
        assert (batch.origin or "unknown images") in str(error.value) and "LogitBank.record(" in str(error.value)


def test_endless_views_cannot_be_recorded(network, source):
    with pytest.raises(ValueError, match=r"Augment\(views=4\)"):
        LogitBank.record(network, source.train, augment=Augment())


def test_recording_comes_back_bit_for_bit(network, source, tmp_path):
    for augment, dtype in ((None, torch.float32), (Augment(pad=1, views=2), torch.float16)):
        bank = LogitBank.record(network, source.train, augment=augment, dtype=dtype)
        bank.save(tmp_path / "bank.safetensors")
        loaded = LogitBank.load(tmp_path / "bank.safetensors", teacher=network, split=source.train, augment=augment)
        assert loaded.table.dtype == dtype and torch.equal(loaded.table, bank.table)
        assert (loaded.origin, loaded.teacher) == (bank.origin, bank.teacher)
        assert [path.name for path in tmp_path.iterdir()] == ["bank.safetensors"]


def test_recording_of_something_else_is_refused_with_the_difference(network, source, tmp_path):
    path, other = tmp_path / "bank.safetensors", models.build("resnet8", (1, 8, 8), 10, seed=1, width=4)
    LogitBank.record(network, source.train).save(path)
    with pytest.raises(ValueError, match="recorded another teacher"):
        LogitBank.load(path, teacher=other, split=source.train)
    for split, augment in ((source.valid, None), (source.train, Augment(views=1))):
        with pytest.raises(ValueError, match="answers to other pictures"):
            LogitBank.load(path, teacher=network, split=split, augment=augment)


def test_file_that_is_no_whole_recording_is_refused_by_name(network, source, tmp_path):
    path = tmp_path / "bank.safetensors"

    def refused():
        with pytest.raises(ValueError, match=r"bank\.safetensors is no recording"):
            LogitBank.load(path, teacher=network, split=source.train)

    LogitBank.record(network, source.train).save(path)
    whole = path.read_bytes()
    for end in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        refused()
    save_file(network.state_dict(), path)  # weights
    refused()
    save_file({"table": torch.zeros(1, 2, 3)}, path)  # a table that does not say of what
    refused()


def test_bank_is_data_and_not_state(network, source):
    bank = LogitBank.record(network, source.valid)
    assert bank.state_dict() == {} and list(bank.parameters()) == []
    student = models.build("mlp", (1, 8, 8), 10, seed=0)
    assert KD(student, bank).state_dict().keys() == {f"student.{key}" for key in student.state_dict()}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_table_with_an_entry_that_is_not_finite_is_refused(value):
    table = torch.zeros(2, 5, 3)
    table[1, 4, 2] = value
    with pytest.raises(ValueError, match=r"\(2, 5, 3\) and 1 entries that are not finite"):
        LogitBank(table, origin="", teacher="")


def test_logits_too_large_for_half_precision_are_refused_and_single_holds_them(source):
    class Huge(nn.Module):
        def forward(self, x):
            return 1e6 * (1 + x.flatten(1)[:, :10])

    with pytest.raises(ValueError, match="2000 entries that are not finite"):
        LogitBank.record(Huge(), source.valid)
    assert LogitBank.record(Huge(), source.valid, dtype=torch.float32).table.min() == 1e6


def test_what_is_no_network_cannot_be_recorded(source):
    with pytest.raises(TypeError, match=r"only a network or a Teacher.*, not a str"):
        LogitBank.record("resnet8", source.valid)


def test_table_that_is_not_views_by_images_by_classes_is_refused():
    with pytest.raises(ValueError, match=r"\(views, images, classes\) is needed; this one has shape \(5, 3\)"):
        LogitBank(torch.zeros(5, 3), origin="", teacher="")


def test_bank_answers_by_epoch_modulo_views_and_row():
    table = torch.arange(24.0).reshape(2, 4, 3)
    bank = LogitBank(table, origin="here", teacher="")
    index = torch.tensor([3, 0, 3])
    for epoch in range(5):
        batch = Batch(torch.empty(3, 1, 1, 1), torch.zeros(3), index, epoch=epoch, origin="here")
        assert torch.equal(bank(batch), torch.stack([table[epoch % 2][row] for row in (3, 0, 3)]))


def test_teacher_kept_in_half_precision_is_recorded_as_it_answers(source):
    teacher = Teacher(models.build("mlp", source.shape, 10, seed=0).bfloat16())
    bank = LogitBank.record(teacher, source.valid, dtype=torch.float32)
    batch = next(source.valid.batches(500))
    assert torch.equal(bank(batch), teacher(batch))


# The door: what is wrong with a teacher or a student, said before anything is trained or recorded

class Says(nn.Module):
    """Answers with `change(logits)` of a linear layer, and counts how many images it was asked about."""

    def __init__(self, change, classes=10):
        super().__init__()
        self.linear, self.change, self.images = nn.Linear(64, classes), change, 0

    def forward(self, x):
        self.images += len(x)
        return self.change(5 * self.linear(x.flatten(1)))


def student(seed=0):
    return models.build("mlp", (1, 8, 8), 10, seed=seed, hidden=(8,))


def trained(distiller, source, **settings):
    return train.fit(distiller, source, **{"epochs": 1, "lr": 1e-3} | settings)


def doors(network, source):
    """Every way in which a network becomes a teacher or a student of something."""
    taught = models.build("mlp", (1, 8, 8), 10, seed=1)
    return {
        "KD": lambda: trained(KD(student(), network), source),
        "record": lambda: LogitBank.record(network, source.train),
        "record a Teacher": lambda: LogitBank.record(Teacher(network), source.train, dtype=torch.float32),
        "student": lambda: trained(Supervised(network), source),
        "peer": lambda: trained(DML(student(), network), source),
        "learner": lambda: trained(SLKD(student(), taught, learners=network), source),
        "several": lambda: trained(distillers.MultiTeacher(student(), [student(1), network]), source),
    }


PROBABILITIES = {
    "softmax": lambda z: z.softmax(dim=1),
    "softmax in half": lambda z: z.softmax(dim=1).bfloat16(),
    "percent": lambda z: 100 * z.softmax(dim=1),
    "one-hot": lambda z: nn.functional.one_hot(z.argmax(dim=1), 10).float() + 0 * z,
    "sigmoid": lambda z: (40 * z).sigmoid(),
}


@pytest.mark.parametrize("change", PROBABILITIES.values(), ids=PROBABILITIES.keys())
def test_probabilities_are_refused_at_every_door_before_anything_is_trained_or_recorded(change, few):
    for name in doors(None, few):
        network = Says(change)
        with pytest.raises(ValueError, match="answers with probabilities"):
            doors(network, few)[name]()
        assert network.images <= 40, name


@pytest.mark.parametrize("change", [
    lambda z: z, lambda z: z.log_softmax(dim=1), lambda z: z.relu(), lambda z: z - z.mean(dim=1, keepdim=True),
    lambda z: 0 * z, lambda z: z / 100, lambda z: z.sigmoid() * 4,
], ids=["logits", "logarithms of probabilities", "not negative", "centred", "zeros", "small", "bounded"])
def test_logits_of_every_kind_are_taken(change, few):
    for name in doors(None, few):
        doors(Says(change), few)[name]()


def test_probabilities_taken_by_request_teach_as_the_logits_that_they_are_of(few):
    network = Says(lambda z: z)
    probabilities = nn.Sequential(network, nn.Softmax(dim=1))
    for T in (1.0, 4.0):
        batch = first_batch(few.train)
        values = [KD(student(), teacher, T=T)(batch)["kd"].value
                  for teacher in (network, FromProbabilities(probabilities))]
        torch.testing.assert_close(*values)
    torch.testing.assert_close(
        LogitBank.record(FromProbabilities(probabilities), few.train, dtype=torch.float32).table.softmax(dim=2),
        LogitBank.record(network, few.train, dtype=torch.float32).table.softmax(dim=2), rtol=1e-4, atol=1e-6,
    )


def test_a_probability_of_zero_has_a_finite_logarithm_and_logits_are_not_taken_for_probabilities(few):
    batch = first_batch(few.train)
    z = Teacher(FromProbabilities(Says(PROBABILITIES["one-hot"])))(batch)
    assert z.isfinite().all() and torch.equal((z == 0).sum(dim=1), torch.ones(64, dtype=torch.long))
    with pytest.raises(ValueError, match="Says answers with no probabilities"):
        Teacher(FromProbabilities(Says(lambda z: z)))(batch)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", [slice(None), slice(0, 1)], ids=["all", "one class"])
def test_answers_that_are_not_finite_are_the_fault_of_whoever_gave_them(value, where, few):
    def change(z):
        z = z.clone()
        z[:, where] = value
        return z

    for name in doors(None, few):
        who = {"student": "the student", "peer": "beside the student", "learner": "beside the student"}.get(name)
        with pytest.raises(ValueError, match=f"{who or 'the teacher'}.* not finite.* no learning rate") as error:
            doors(Says(change), few)[name]()
        assert not isinstance(error.value, train.NotFinite)


def test_a_teacher_that_breaks_down_on_some_images_is_named_when_the_loss_is_not_finite(few):
    def change(z):
        return torch.where(torch.arange(len(z))[:, None] == 40, torch.inf, z)

    with pytest.raises(train.NotFinite, match=r"the teacher answers with numbers that are not finite.* number 40"):
        trained(KD(student(), Says(change)), few)
    with pytest.raises(ValueError, match="entries that are not finite"):
        LogitBank.record(Says(change), few.train)
    with pytest.raises(train.NotFinite, match="learning rate is too high"):
        trained(KD(student(), Says(lambda z: z)), few, lr=1e30, optimizer=torch.optim.SGD)


def test_a_class_that_a_live_teacher_rules_out_is_learned_from(few):
    def change(z):
        z = z.clone()
        z[:, 3] = -torch.inf
        return z

    for method in ("kd", "dkd", "ats", "dist", "ctkd", "ipwd", "lskd", "nkd", "ttm", "wttm", "slkd"):
        settings = {"learners": student(2)} if method == "slkd" else {}
        distiller = distillers.METHODS[method](student(), Says(change), **settings)
        rows = trained(distiller, few)
        assert all(parameter.isfinite().all() for parameter in distiller.parameters()), method
        assert all(torch.tensor(list(rows[-1].values())).isfinite()), method


@pytest.mark.parametrize("shape, made_for", [((1, 28, 28), "28"), ((3, 8, 8), "3, 8, 8|3x8x8")],
                         ids=["size", "channels"])
def test_images_of_another_shape_than_the_network_is_for_are_refused_with_both_shapes(shape, made_for, few):
    for build in (lambda: models.build("cnn", shape, 10, seed=0), lambda: models.build("mlp", shape, 10, seed=0)):
        for name in doors(None, few):
            with pytest.raises(ValueError, match=made_for) as error:
                doors(build(), few)[name]()
            assert "1, 8, 8" in str(error.value) or "1x8x8" in str(error.value), name


def test_a_network_from_elsewhere_that_cannot_take_the_images_says_so_with_its_own_words(few):
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with pytest.raises(ValueError, match=r"cannot take images of \(1, 8, 8\).*784x10"):
        LogitBank.record(network, few.train)

    class Asserts(nn.Module):
        def forward(self, x):
            raise AssertionError("height 8 is not 224")

    with pytest.raises(ValueError, match=r"Asserts cannot take images of \(1, 8, 8\).*height 8 is not 224"):
        LogitBank.record(Asserts(), few.train)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_student_in_another_precision_than_its_images_is_refused_in_words(dtype, few):
    with pytest.raises(ValueError, match=rf"kept in {dtype}.* call student\.float\(\)"):
        trained(Supervised(student().to(dtype)), few)


def test_looking_changes_no_mode_no_statistic_and_no_draw(network, few):
    peer = models.build("resnet8", (1, 8, 8), 10, seed=2, width=4).train()
    before = {key: value.clone() for key, value in peer.state_dict().items()}
    drawn = torch.get_rng_state()
    check_teachers(DML(network, peer), few.train)
    look(network, few.train, "the teacher")
    assert peer.training and all(torch.equal(value, before[key]) for key, value in peer.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)


# The door of the banks

@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64, "float16", None])
def test_a_type_that_would_cut_logits_off_is_refused_before_anything_is_recorded(dtype, source):
    network = Says(lambda z: z)
    with pytest.raises(ValueError, match=r"logits are recorded in one of: torch\.float16, .* not in"):
        LogitBank.record(network, source.train, dtype=dtype)
    assert not network.images


@pytest.mark.parametrize("table, error, message", [
    (torch.zeros(1, 5, 3, dtype=torch.int64), TypeError, "a tensor of floats, not torch.int64"),
    (torch.zeros(1, 5, 3, dtype=torch.bool), TypeError, "a tensor of floats, not torch.bool"),
    (torch.zeros(1, 5, 3).numpy(), TypeError, "a tensor of floats, not a ndarray"),
    ([[[1.0, 2.0]]], TypeError, "a tensor of floats, not a list"),
    (torch.zeros(1, 0, 3), ValueError, r"shape \(1, 0, 3\)"),
    (torch.zeros(0, 5, 3), ValueError, r"shape \(0, 5, 3\)"),
    (torch.randn(2, 5, 3).softmax(dim=2), ValueError, r"holds probabilities .*clamp_min\(1e-12\)\.log\(\)"),
    (torch.randn(2, 5, 3).softmax(dim=2).half(), ValueError, "holds probabilities"),
    (100 * torch.randn(2, 5, 3).softmax(dim=2), ValueError, "holds probabilities in percent"),
], ids=["integers", "truths", "array", "list", "no images", "no views", "probabilities", "in half", "percent"])
@pytest.mark.parametrize("kind", [LogitBank, Trajectory])
def test_a_hand_made_table_that_holds_no_logits_is_refused(kind, table, error, message):
    with pytest.raises(error, match=message):
        kind(table, origin="", teacher="")


@pytest.mark.parametrize("rows", [999, 1001])
def test_a_bank_with_another_number_of_rows_than_its_split_is_refused_before_training(rows, source):
    bank = LogitBank(torch.randn(1, rows, 10), origin=source.train.origin(), teacher="by hand")
    with pytest.raises(ValueError, match=f"about {rows} images, and digits/train has 1000"):
        trained(KD(student(), bank), source)


@pytest.mark.parametrize("change", [
    lambda x: x.__setitem__((0, 0, 0, 0), x[0, 0, 0, 0] + 1),
    lambda x: x.copy_(255 - x),
    lambda x: x.data.copy_(x.flip(3)),
    lambda x: x.numpy().__setitem__(slice(0, 2), x.numpy()[[1, 0]]),
], ids=["one pixel", "inverted", "mirrored behind its back", "two images swapped in numpy"])
def test_pixels_changed_in_place_are_other_images_to_a_bank_that_was_recorded_before(change, network, source, tmp_path):
    split = data.Split("own", source.train.x.clone(), source.train.y)
    bank, key = LogitBank.cached(network, split, folder=tmp_path), split.key
    bank(first_batch(split))
    change(split.x)
    assert split.key != key
    with pytest.raises(ValueError, match="answers to other pictures"):
        bank(first_batch(split))
    again = LogitBank.cached(network, split, folder=tmp_path)
    assert mistakes(again, Teacher(network), split, tolerance=1e-2) == []


class Odd(nn.Module):
    """A network whose answer depends on more than its weights and the image."""

    def __init__(self, change, *layers):
        super().__init__()
        self.layers, self.change = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), *layers), change
        self.last = nn.Linear(32, 10)

    def forward(self, x):
        return self.last(self.change(self.layers(x)))


UNSTEADY = {
    "dropout without a mode": (lambda: Odd(nn.functional.dropout), "when asked twice"),
    "a little dropout": (lambda: Odd(lambda f: nn.functional.dropout(f, 0.05)), "when asked twice"),
    "noise": (lambda: Odd(lambda f: f + 0.1 * torch.randn_like(f)), "when asked twice"),
    "batch statistics": (lambda: Odd(torch.relu, nn.BatchNorm1d(32, track_running_stats=False)), "other images stand"),
    "the mean of the batch": (lambda: Odd(lambda f: f - f.mean(dim=0)), "other images stand beside them"),
}


@pytest.mark.parametrize(("make", "message"), UNSTEADY.values(), ids=UNSTEADY)
def test_a_teacher_that_gives_one_of_many_answers_is_refused_before_it_is_recorded_or_teaches(make, message, few,
                                                                                              tmp_path):
    torch.manual_seed(0)
    network = make()
    student = models.build("mlp", few.shape, 10, seed=0)
    for ask in (lambda: LogitBank.record(network, few.train),
                lambda: LogitBank.cached(network, few.train, folder=tmp_path),
                lambda: train.fit(KD(student, network), few, epochs=1, lr=1e-3)):
        with pytest.raises(ValueError, match=f"the teacher answers otherwise .*{message}"):
            ask()
    assert not list(tmp_path.iterdir())


def test_dropout_and_batch_normalisation_that_know_their_mode_are_recorded_in_any_precision(few):
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        network = Odd(torch.relu, nn.BatchNorm1d(32), nn.Dropout()).to(dtype)
        assert LogitBank.record(network, few.train).table.shape == (1, 200, 10)


# What no weight shows

def fused(w):
    return procedures.Fused([models.build("mlp", (1, 8, 8), 10, seed=seed) for seed in (0, 1)], w)


def scaled(factor):
    torch.manual_seed(0)
    network = Odd(torch.relu)
    network.forward = lambda x: factor * Odd.forward(network, x)
    return network


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("augment", [None, Augment(pad=1, views=2)])
@pytest.mark.parametrize(("before", "after"), [(fused(0.5), fused(0.9)), (scaled(1.0), scaled(1.1))])
def test_a_network_that_answers_otherwise_with_the_same_weights_is_recorded_anew(before, after, augment, dtype, few,
                                                                                 tmp_path):
    settings = {"augment": augment, "dtype": dtype}
    old = LogitBank.cached(before, few.train, folder=tmp_path, **settings)
    new = LogitBank.cached(after, few.train, folder=tmp_path, **settings)
    assert old.teacher == new.teacher and len(list(tmp_path.iterdir())) == 1
    assert mistakes(new, Teacher(after), few.train, augment=augment, epochs=2, tolerance=1e-2) == []
    assert len(mistakes(old, Teacher(after), few.train, augment=augment, tolerance=1e-2)) > 100
    [path] = tmp_path.iterdir()
    with pytest.raises(ValueError, match=r"now answers otherwise than was recorded, with the same weights and layers"):
        LogitBank.load(path, teacher=before, split=few.train, augment=augment)


def test_what_is_as_it_was_is_read_and_not_recorded_again_in_any_precision(few, tmp_path, monkeypatch):
    for dtype in (torch.float32, torch.bfloat16):
        network = fused(0.7).to(dtype)
        first = LogitBank.cached(network, few.train, folder=tmp_path)
        with monkeypatch.context() as patched:
            patched.setattr(LogitBank, "record", None)
            assert torch.equal(LogitBank.cached(network.train(), few.train, folder=tmp_path).table, first.table)
        assert network.training


# Wrappers

def wrappers(network):
    return [nn.DataParallel(network), nn.Sequential(network), nn.Sequential(nn.Identity(), nn.Sequential(network)),
            torch.compile(network, backend="eager"), nn.DataParallel(nn.Sequential(network))]


def test_no_wrapper_hides_a_fresh_head(source):
    for k in range(5):
        layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        inside = models.wrap(layers, mean=(0.5,), std=(0.5,), fresh=("1.weight",))
        for ask in (Teacher, as_teacher, lambda network: LogitBank.record(network, source.valid)):
            with pytest.raises(ValueError, match=r"cannot teach yet: its head \(1\.weight\)"):
                ask(wrappers(inside)[k])
        inside.network[1].weight.data += 1
        Teacher(wrappers(inside)[k])


def test_a_wrapper_that_changes_no_answer_changes_no_key_and_the_size_counts_through_it():
    def wrapped(size):
        return models.wrap(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), mean=(0.5,), std=(0.5,), size=size)

    network = wrapped(8)
    for outer in (nn.DataParallel(network), torch.compile(network, backend="eager")):
        assert Teacher(outer).key() == Teacher(network).key()
    for wrapper in (nn.DataParallel, nn.Sequential):
        other = wrapped(16)
        other.load_state_dict(network.state_dict())
        assert Teacher(wrapper(network)).key() != Teacher(wrapper(other)).key()


def test_data_parallel_is_looked_through_by_the_methods_that_compare_features(source):
    network = models.build("resnet8", (1, 8, 8), 10, seed=1, width=8)
    teacher = Teacher(nn.DataParallel(network))
    assert teacher.network is network
    ours, theirs = (models.build("resnet8", (1, 8, 8), 10, seed=0, width=4) for _ in range(2))
    batch = first_batch(source.train)
    for outer in (nn.DataParallel(network), teacher):
        found, expected = distillers.FitNet(ours, outer)(batch), distillers.FitNet(theirs, network)(batch)
        assert torch.equal(found["hint"].value, expected["hint"].value)
    bank = FeatureBank.record(nn.DataParallel(network), source.valid, dtype=torch.float32)
    assert torch.equal(bank(first_batch(source.valid)), LogitBank.record(network, source.valid, dtype=torch.float32)(
        first_batch(source.valid)))


def test_two_networks_of_the_same_weights_and_other_layers_have_other_keys(source, tmp_path):
    network = Says(lambda z: z)
    doubled = nn.Sequential(network, nn.Hardtanh())
    assert Teacher(network).key() != Teacher(doubled).key()
    first, second = (LogitBank.cached(each, source.valid, folder=tmp_path) for each in (network, doubled))
    assert first.table.abs().max() > 1 >= second.table.abs().max()


@pytest.mark.filterwarnings("ignore")  # that torch will move this elsewhere
def test_quantised_weights_count_in_the_key():
    keys = set()
    for seed in (0, 1):
        network = models.build("mlp", (1, 8, 8), 10, seed=seed)
        keys.add(Teacher(torch.ao.quantization.quantize_dynamic(network, {nn.Linear})).key())
    assert len(keys) == 2


# What is measured answers as a teacher does

@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["mlp", "resnet8", "vit"])
def test_a_network_in_any_precision_is_measured_as_it_teaches(name, dtype, source):
    settings = {"resnet8": {"width": 4}, "vit": {"depth": 3, "width": 12, "patch": 2}}.get(name, {})
    single = models.build(name, source.shape, 10, seed=0, **settings)
    network = models.build(name, source.shape, 10, seed=0, **settings).to(dtype)
    z = metrics.predict(network, source.test)
    assert z.dtype == torch.float32
    assert torch.equal(z, LogitBank.record(network, source.test, dtype=torch.float32).table[0])
    torch.testing.assert_close(z, metrics.predict(single, source.test), atol=0.05, rtol=0.1)
    assert cost.latency(network, source.shape, repeats=1) > 0
    assert cost.multiply_adds(network, source.shape) == cost.multiply_adds(single, source.shape)
    assert cost.parameters(network) == cost.parameters(single)


@pytest.mark.parametrize("ask", [
    metrics.predict, lambda network, split: cost.latency(network, (1, 8, 8), repeats=1),
    lambda network, split: cost.multiply_adds(network, (1, 8, 8)),
], ids=["predict", "latency", "multiply_adds"])
def test_a_network_for_other_images_is_not_measured_and_both_shapes_are_named(ask, source):
    with pytest.raises(ValueError, match="28") as error:
        ask(models.build("cnn", (1, 28, 28), 10, seed=0), source.test)
    assert "1, 8, 8" in str(error.value) or "1x8x8" in str(error.value)


class Drawing:
    """An augmentation that draws anew each time."""

    name = "noise"

    def __init__(self, views):
        self.views = views

    def __call__(self, x, index, epoch):
        return torch.randint(256, x.shape, dtype=torch.uint8)


def test_views_that_are_no_number_or_never_the_same_are_not_recorded(few, network):
    with pytest.raises(ValueError, match="makes another view each time"):
        LogitBank.record(network, few.train, augment=Drawing(2))
    Drawing.views = 0  # as of a plain function
    with pytest.raises(ValueError, match=r"augment\.views = 4"):
        LogitBank.record(network, few.train, augment=Drawing(0))


def test_a_distiller_is_not_recorded_and_a_teacher_is_no_student(few, network):
    with pytest.raises(TypeError, match=r"distiller\.deployable\(\)"):
        LogitBank.record(Supervised(network), few.train)
    bank = LogitBank.record(network, few.train)
    for wrong in (bank, Teacher(network)):
        with pytest.raises(TypeError, match=r"the student comes first, KD\(student, teacher\)"):
            KD(wrong, models.build("resnet8", (1, 8, 8), 10, seed=1, width=4))


def test_a_bank_whose_turn_would_come_later_is_refused_before_anything_is_trained(few, network):
    banks = [LogitBank.record(network, split) for split in (few.train, few.valid)]
    student = models.build("mlp", (1, 8, 8), 10, seed=0)
    before = {key: value.clone() for key, value in student.state_dict().items()}
    with pytest.raises(ValueError, match="marked against the answers to other pictures"):
        train.fit(distillers.ProKD(student, banks), few, epochs=4, lr=1e-2)
    path = Trajectory(banks[0].table.repeat(2, 1, 1), origin=banks[0].origin, teacher="path")
    with pytest.raises(ValueError, match="2 epochs of learning were recorded, and the student is to train for 4"):
        train.fit(KD(student, path), few, epochs=4, lr=1e-2)
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items())


def test_a_folder_of_recordings_may_be_named_from_home(few, network, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    LogitBank.cached(network, few.train, folder="~/kept")
    assert len(list((tmp_path / "kept").iterdir())) == 1
