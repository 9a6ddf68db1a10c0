"""What methods take and what they refuse, as sentences about all of `METHODS`: labels, numbers, precisions, layouts."""

import inspect
import re

import pytest
import torch
from helpers import close, equal_terms, first_batch, gradient, mlp, network
from torch import nn

from kdcourse import models
from kdcourse.core import total
from kdcourse.distillers import (
    AT,
    CRD,
    CTKD,
    DGKD,
    DIST,
    ESKD,
    KD,
    LSKD,
    METHODS,
    MGD,
    RKD,
    SLKD,
    SP,
    Cosine,
    CrossArch,
    FitNet,
    MultiTeacher,
    ProKD,
    SimKD,
)

WITHOUT_LABELS = {
    "kd": lambda *pair: KD(*pair, alpha=1),
    "kd with a float": lambda *pair: KD(*pair, alpha=1.0),
    "eskd": lambda *pair: ESKD(*pair, alpha=1),
    "ctkd": lambda *pair: CTKD(*pair, alpha=1),
    "cosine": lambda *pair: Cosine(*pair, alpha=1),
    "dist": lambda *pair: DIST(*pair, alpha=0),
    "lskd": lambda *pair: LSKD(*pair, alpha=0),
    "fitnet at first": lambda *pair: FitNet(*pair, hint_first=0.5),
    "multi_teacher": lambda student, teacher: MultiTeacher(student, [teacher, network(2)], alpha=1),
    "dgkd": lambda student, teacher: DGKD(student, teacher, assistants=[network(2)], alpha=1),
    "pro_kd": lambda student, teacher: ProKD(student, [teacher, network(2)], alpha=1),
    "slkd": lambda *pair: SLKD(*pair, lam=0),
    "slkd from a recording": lambda *pair: SLKD(*pair, learners=None, beta=0, lam=0),
    "simkd": SimKD,
}
LABELLED = sorted(METHODS.keys() - {"simkd"})  # which has no labels
LAYOUT = {AT: "AT", MGD: "MGD", RKD: "RKD", SP: "SP", CRD: "CRD", Cosine: "Cosine", FitNet: "FitNet",
          CrossArch: "CrossArch"}


def pair():
    return network(0), network(1, width=8)


@pytest.mark.parametrize("build", WITHOUT_LABELS.values(), ids=WITHOUT_LABELS.keys())
def test_a_method_without_a_term_of_labels_reads_none(build):
    batch = first_batch()
    expected = build(*pair())(batch)
    assert "ce" not in expected and not any(name.endswith("_ce") for name in expected)
    for y in (None, torch.full_like(batch.y, -1), batch.y[:3]):
        assert equal_terms(build(*pair())(batch._replace(y=y)), expected)


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int16])
def test_labels_of_any_integer_type_give_the_same_terms(name, dtype):
    batch = first_batch(progress=0.5)
    found, expected = (METHODS[name](*pair())(each) for each in (batch._replace(y=batch.y.to(dtype)), batch))
    assert equal_terms(found, expected)


@pytest.mark.parametrize("name", LABELLED)
def test_labels_that_are_none_or_out_of_range_are_refused_in_words(name):
    batch = first_batch(progress=0.5)
    y = batch.y.clone()
    y[3] = -100
    for wrong, message in ((y, "labels run from -100 to 9, but 10 logits allow 0 to 9"),
                           (batch.y.float(), r"labels must be one integer per image.*torch\.float32"),
                           (batch.y[:5], r"need labels \(64,\), not torch\.int64 of \(5,\)")):
        with pytest.raises(ValueError, match=message):
            METHODS[name](*pair())(batch._replace(y=wrong))


def settings_of(kind):
    """Every number that a method is built with: name -> default."""
    parameters = inspect.signature(kind).parameters.values()
    return {each.name: each.default for each in parameters if isinstance(each.default, float)}


@pytest.mark.parametrize("name", [name for name in METHODS if settings_of(METHODS[name])])
@pytest.mark.parametrize("wrong", ["as text", None, [4.0]], ids=str)
def test_a_setting_that_is_no_number_is_refused_where_the_method_is_built(name, wrong):
    for setting, default in settings_of(METHODS[name]).items():
        given = str(default) if wrong == "as text" else wrong
        hint = f"=.*{re.escape(given)}, without quotes" if wrong == "as text" else ""
        with pytest.raises(TypeError, match=f"must be a number, not .*{hint}"):
            METHODS[name](*pair(), **{setting: given})


@pytest.mark.parametrize("name", [name for name in METHODS if any(k[:1] == "T" for k in settings_of(METHODS[name]))])
@pytest.mark.parametrize("T", [0, -4.0, 1e30, float("nan"), torch.tensor(-4.0), torch.tensor(float("inf"))], ids=str)
def test_a_temperature_that_is_none_is_refused_where_the_method_is_built(name, T):
    for setting in (each for each in settings_of(METHODS[name]) if each[:1] == "T" and each != "T_range"):
        with pytest.raises(ValueError, match="the temperature must be greater than 0 and finite"):
            METHODS[name](*pair(), **{setting: T})


def test_a_temperature_as_a_tensor_is_that_number():
    batch = first_batch()
    for name in ("kd", "dkd", "dist", "crd", "dgkd"):
        found, expected = (total(METHODS[name](*pair(), T=T)(batch._replace(progress=0.5)))
                           for T in (torch.tensor(3.0), 3.0))
        close(found, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", METHODS)
def test_a_method_may_be_brought_to_another_precision_as_a_whole(name, dtype):
    batch = first_batch(progress=0.5)
    expected = total(METHODS[name](*pair())(batch))
    distiller = METHODS[name](*pair()).to(dtype)
    loss = total(distiller(batch._replace(x=batch.x.to(dtype))))
    close(loss.double(), expected.double(), rtol=1e-3 if dtype == torch.float64 else 0.2)
    loss.backward()
    found = [parameter.grad for parameter in distiller.student.parameters() if parameter.grad is not None]
    assert found and all(grad.dtype == dtype and grad.isfinite().all() for grad in found)


class Shows(nn.Module):
    """A network that shows one feature, as `layout` makes it of a map (B, 6, 4, 4)."""

    def __init__(self, layout):
        super().__init__()
        self.shape, self.layout = (1, 8, 8), layout
        self.conv, self.linear = nn.Conv2d(1, 6, 2, stride=2), nn.Linear(6, 10)

    def answer(self, x):
        f = self.conv(x).relu()
        return models.Answer(self.linear(f.mean(dim=(2, 3))), [self.layout(f)], None)

    def forward(self, x):
        return self.answer(x).z


@pytest.mark.parametrize("layout, what", [
    (lambda f: f.permute(0, 2, 3, 1), r"with the channels last, \(1, 4, 4, 6\)"),
    (lambda f: f.flatten(2).transpose(1, 2), r"neither a vector nor a map, \(1, 16, 6\)"),
], ids=["channels last", "tokens"])
@pytest.mark.parametrize("method", LAYOUT)
def test_maps_in_another_layout_are_refused_where_the_method_is_built(method, layout, what):
    wrong, right = Shows(layout), Shows(lambda f: f)
    for student, teacher in ((wrong, Shows(lambda f: f)), (right, wrong)):
        with pytest.raises(ValueError, match=f"{LAYOUT[method]} compares maps .* shows {what}"):
            method(student, teacher)
    method(Shows(lambda f: f), Shows(lambda f: f))
    KD(mlp(0), Shows(layout))(first_batch())  # it needs no features


@pytest.mark.parametrize("method", [AT, SP, RKD, CRD, Cosine, FitNet, CrossArch])
@pytest.mark.parametrize("factor", [1e-8, 1e-20])
def test_a_student_with_tiny_features_has_a_finite_gradient(method, factor):
    student, teacher = pair()
    norm = student.stages[-1][-1].bn2
    norm.weight.data.mul_(factor)
    stage = student.stages[-1][-1]
    stage.forward = lambda x, forward=stage.forward: factor * forward(x)
    found = gradient(total(method(student, teacher)(first_batch())), student)
    assert found.isfinite().all() and found.any()
