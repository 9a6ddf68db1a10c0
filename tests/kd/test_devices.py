"""A device contract without a GPU: tensors that claim to be on one, where an operation that mixes devices fails. Then
what `torch.compile` and several processes ask of a distiller."""

import pytest
import torch
from helpers import cnn, equal_terms, first_batch, mlp, network
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from kdcourse import metrics
from kdcourse.core import Batch, total
from kdcourse.data.base import Split
from kdcourse.distillers import DGKD, KD, METHODS, MGD, FitNet, Supervised
from kdcourse.teachers import FeatureBank, LogitBank, Teacher, Trajectory

ALL = {"supervised": lambda student, teacher: Supervised(student), **METHODS}
COMPILED = tuple(f"kdcourse/{part}" for part in ("distillers/", "losses/", "models/", "teachers/", "core.py"))
aten = torch.ops.aten
LOOKS = {  # what depends on numbers, which these tensors do not have
    aten._local_scalar_dense.default: lambda x: {torch.bool: True, torch.int64: 1}.get(x.dtype, 1.0),
    aten.nonzero.default: lambda x: x.new_empty(1, x.ndim, dtype=torch.int64),
    aten.bincount.default: lambda x, weights=None, minlength=0: x.new_empty(minlength),
}


class Claimed(FakeTensorMode):
    """Inside, tensors have a device, a type and a shape, but no numbers; where one is looked at, it is 1."""

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        if function in LOOKS:
            with self:
                return LOOKS[function](*arguments, **named or {})
        return super().__torch_dispatch__(function, types, arguments, named)


def on_cuda(module: nn.Module) -> nn.Module:
    """The module with every parameter and buffer replaced by one that claims to be on a GPU."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                there = torch.empty(parameter.shape, dtype=parameter.dtype, device="cuda")
                part._parameters[name] = nn.Parameter(there, requires_grad=parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device="cuda")
    return module


def batch_on_cuda(progress=0.5, origin="") -> Batch:
    labels = torch.empty(16, dtype=torch.int64, device="cuda")
    return Batch(torch.empty(16, 1, 8, 8, device="cuda"), labels, labels, 1, progress, origin)


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("name", ALL)
def test_every_distiller_computes_its_terms_where_its_batch_is(name, progress):
    distiller = ALL[name](network(0), network(100, width=8))
    with Claimed():
        terms = on_cuda(distiller).train()(batch_on_cuda(progress))
        assert terms and all(term.value.device.type == "cuda" for term in terms.values())
        assert total(terms).device.type == "cuda"


def test_a_loss_that_makes_a_tensor_on_the_cpu_is_found_by_this():
    class Mixes(KD):
        def forward(self, batch):
            return super().forward(batch) | {"mixed": (self.student(batch.x) + torch.ones(10)).sum()}

    distiller = Mixes(network(0), network(100, width=8))
    with Claimed(), pytest.raises(RuntimeError, match=r"devices.*cuda:0.*cpu"):
        on_cuda(distiller)(batch_on_cuda())


def test_a_teacher_answers_where_its_batch_is():
    teacher = Teacher(network(0))
    with Claimed():
        on_cuda(teacher)
        z, features, maps = teacher.answer(batch_on_cuda())
        assert {found.device.type for found in (teacher(batch_on_cuda()), z, *features, *maps)} == {"cuda"}
        assert teacher.head(features[-1]).device.type == "cuda"


@pytest.mark.parametrize("kind", [LogitBank, Trajectory])
@pytest.mark.parametrize("kept_on", ["cpu", "cuda"])
def test_a_bank_answers_where_its_batch_is_wherever_it_was_recorded(kind, kept_on):
    bank = kind(torch.zeros(2, 9, 10), origin="here", teacher="")
    with Claimed():
        bank.table = torch.empty(2, 9, 10, dtype=torch.float16, device=kept_on)
        assert bank(batch_on_cuda(origin="here")).device.type == "cuda"


def test_a_bank_of_features_answers_where_its_batch_is():
    bank = FeatureBank.record(network(0), first_batch_split())
    with Claimed():
        bank.table = torch.empty(bank.table.shape, dtype=torch.float16)
        bank.tables = [torch.empty(table.shape, dtype=torch.float16) for table in bank.tables]
        on_cuda(bank)
        z, features, maps = bank.answer(batch_on_cuda(origin=bank.origin))
        assert {found.device.type for found in (z, *features, *maps, bank.head(features[-1]))} == {"cuda"}


def first_batch_split() -> Split:
    batch = first_batch()
    return Split("first", (batch.x * 255).round().to(torch.uint8), batch.y)


def test_a_network_is_asked_where_it_is_and_its_logits_come_to_the_cpu(monkeypatch):
    monkeypatch.setattr(Split, "key", "there")  # a fingerprint looks at the pixels
    student, split = network(0), first_batch_split()
    with Claimed() as mode:
        there = Split("there", mode.from_tensor(split.x), mode.from_tensor(split.y))
        assert metrics.predict(on_cuda(student), there).device.type == "cpu"


@pytest.mark.parametrize("labels_on", ["cpu", "cuda"])
@pytest.mark.parametrize("metric", [metrics.accuracy, metrics.nll, metrics.ece, metrics.reliability, metrics.confusion],
                         ids=lambda metric: metric.__name__)
def test_every_metric_takes_logits_from_any_device_and_labels_from_another(metric, labels_on):
    with Claimed():
        metric(torch.zeros(16, 10, device="cuda"), torch.zeros(16, dtype=torch.int64, device=labels_on))


@pytest.mark.parametrize("metric", [metrics.accuracy, metrics.nll, metrics.ece, metrics.agreement],
                         ids=lambda metric: metric.__name__)
def test_no_metric_asks_a_device_for_float64(metric):
    """Apple's GPUs have none."""
    class NoDouble(Claimed):
        def __torch_dispatch__(self, function, types, arguments=(), named=None):
            result = super().__torch_dispatch__(function, types, arguments, named)
            if isinstance(result, torch.Tensor):
                assert (result.device.type, result.dtype) != ("cuda", torch.float64)
            return result

    with NoDouble():
        z, y = torch.zeros(16, 10, device="cuda"), torch.zeros(16, dtype=torch.int64, device="cuda")
        metric(z, z if metric is metrics.agreement else y)


# torch.compile

@pytest.fixture(autouse=True)
def forget_what_was_compiled():
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("name", ALL)
def test_every_distiller_compiles_without_a_graph_break_and_gives_the_same_terms(name, touched):
    if name not in ("supervised", "dist", "fitnet", "simkd") and not touched(*COMPILED):
        pytest.skip("where what is compiled changes, and by --thorough: each takes two seconds")
    ours, expected = (ALL[name](network(0, width=2), network(100, width=3)).train() for _ in range(2))
    compiled = torch.compile(ours, backend="eager", fullgraph=True)
    assert equal_terms(compiled(first_batch(0.5)), expected(first_batch(0.5)))


def test_masks_are_drawn_anew_for_every_batch_when_compiled_too():
    ours, expected = (MGD(mlp(0), mlp(1), masked=0.5, alpha=1.0).train() for _ in range(2))
    compiled, found = torch.compile(ours, backend="eager", fullgraph=True), []
    for progress in (0.1, 0.2, 0.3):
        terms = compiled(first_batch(progress))
        assert equal_terms(terms, expected(first_batch(progress)))
        found.append(terms["mgd"].value.item())
    assert len(set(found)) == len(found)


@pytest.mark.filterwarnings("ignore")  # which torch gives where it breaks a graph
@pytest.mark.parametrize("make", [
    lambda: DGKD(mlp(0), mlp(100), assistants=[mlp(7), mlp(8)], drop=1),
    lambda: METHODS["slkd"](mlp(0), cnn(100)),
], ids=["dgkd", "slkd"])
def test_where_something_is_drawn_in_between_the_compiled_distiller_has_the_same_terms_still(make):
    ours, expected = make().train(), make().train()
    assert equal_terms(torch.compile(ours, backend="eager")(first_batch(0.5)), expected(first_batch(0.5)))


# several processes: DistributedDataParallel waits for a gradient of every parameter

def without_gradient(distiller, progress) -> set[str]:
    distiller.train().zero_grad()
    total(distiller(first_batch(progress))).backward()
    return {name.split(".")[0] + "." + name.split(".")[1] for name, parameter in distiller.named_parameters()
            if parameter.requires_grad and parameter.grad is None}


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("name", ALL)
def test_every_parameter_has_a_gradient_in_every_step_but_where_the_docstring_says_otherwise(name, progress):
    found = without_gradient(ALL[name](network(0), network(100, width=8)), progress)
    if name == "simkd":
        assert found == {"student.linear"}
    elif name == "review_kd" and progress == 0:
        assert found == {f"fusions.{k}" for k in range(3)}
    else:
        assert found == set()


def test_helpers_of_a_term_that_is_off_have_no_gradient_as_their_docstrings_say():
    pair = lambda: (network(0), network(100, width=8))  # noqa: E731
    assert without_gradient(FitNet(*pair(), hint_first=0.5), 0.9) == {"regressor.linear"}
    assert without_gradient(MGD(*pair(), alpha=0.0), 0.5) == {"regressor.linear", "generator.0", "generator.2"}
    for method in (FitNet, MGD, METHODS["review_kd"], METHODS["simkd"]):
        assert "find_unused_parameters" in method.__doc__
