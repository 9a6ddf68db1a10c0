import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kdcourse import data, models
from kdcourse.core import Batch
from kdcourse.data import Augment
from kdcourse.distillers import KD
from kdcourse.teachers import LogitBank, Teacher, as_teacher

EXACT = {"rtol": 1e-5, "atol": 1e-5}  # what the order of a sum may change in float32


@pytest.fixture(scope="module")
def source():
    return data.load("digits")


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
