"""Quick or full, device and precision: what the environment says, and who is told when it says nonsense."""

import pytest
import torch

from kdcourse import data, distillers, models, profiles, train


@pytest.mark.parametrize("value, expected", [(None, "quick"), ("", "quick"), ("quick", "quick"), ("full", "full")])
def test_profile_is_quick_unless_the_environment_says_full(monkeypatch, value, expected):
    monkeypatch.delenv("KDCOURSE_PROFILE") if value is None else monkeypatch.setenv("KDCOURSE_PROFILE", value)
    assert profiles.current() == expected


def test_unknown_profile_names_the_variable_and_the_choices(monkeypatch):
    monkeypatch.setenv("KDCOURSE_PROFILE", "fast")
    for ask in (profiles.current, lambda: profiles.start(quick={}, full={})):
        with pytest.raises(ValueError, match="KDCOURSE_PROFILE is 'fast'; choose one of: quick, full"):
            ask()


@pytest.mark.parametrize("profile, other", [("quick", "full"), ("full", "quick")])
def test_start_gives_the_settings_of_the_profile_and_prints_both_with_the_chosen_one_marked(
    monkeypatch, capsys, profile, other
):
    monkeypatch.setenv("KDCOURSE_PROFILE", profile)
    settings = {"quick": {"epochs": 3, "source": "digits"}, "full": {"epochs": 60, "source": "mnist"}}
    chosen = profiles.start(**settings)
    assert vars(chosen) == settings[profile]
    head, *rows = capsys.readouterr().out.splitlines()
    assert f"{profile} (this run)" in head and other in head and f"{other} (this run)" not in head
    assert head.index("quick") < head.index("full")
    assert [row.split() for row in rows] == [["epochs", "3", "60"], ["source", "digits", "mnist"]]
    assert {row.index(cell) for row, cell in zip(rows, ("60", "mnist"), strict=True)} == {head.index("full")}


def test_start_holds_torch_to_one_thread_in_quick_and_leaves_it_alone_in_full(monkeypatch):
    try:
        for profile, threads in (("full", 2), ("quick", 1)):
            torch.set_num_threads(2)
            monkeypatch.setenv("KDCOURSE_PROFILE", profile)
            profiles.start(quick={}, full={})
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)


def test_start_refuses_settings_of_one_profile_only_and_names_them():
    with pytest.raises(ValueError, match=r"\['T', 'lr'\]"):
        profiles.start(quick={"epochs": 1, "T": 4}, full={"epochs": 9, "lr": 0.1})


@pytest.mark.parametrize("profile, gpus, expected", [
    ("quick", {"cuda", "mps"}, "cpu"), ("full", {"cuda"}, "cuda"), ("full", {"mps"}, "mps"), ("full", set(), "cpu"),
    ("full", {"cuda", "mps"}, "cuda"),
])
def test_device_is_the_cpu_in_quick_and_the_gpu_in_full_if_there_is_one(monkeypatch, profile, gpus, expected):
    monkeypatch.delenv("KDCOURSE_DEVICE", raising=False)
    monkeypatch.setenv("KDCOURSE_PROFILE", profile)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in gpus)
    assert profiles.device() == torch.device(expected)


def test_device_can_be_chosen_in_the_environment(monkeypatch):
    monkeypatch.setenv("KDCOURSE_PROFILE", "full")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("KDCOURSE_DEVICE", "cpu")
    assert profiles.device() == torch.device("cpu")


@pytest.mark.parametrize("chosen", ["gpu", "cuda:99", "xpu"])
def test_device_that_torch_cannot_use_is_an_error_that_names_the_variable(monkeypatch, chosen):
    monkeypatch.setenv("KDCOURSE_DEVICE", chosen)
    with pytest.raises(ValueError, match=f"KDCOURSE_DEVICE is '{chosen}'"):
        profiles.device()


def test_precision_is_float32_on_a_cpu_unless_asked_and_unknown_ones_name_the_choices(monkeypatch):
    monkeypatch.setenv("KDCOURSE_DEVICE", "cpu")
    monkeypatch.delenv("KDCOURSE_PRECISION", raising=False)
    assert profiles.precision() == "float32"
    monkeypatch.setenv("KDCOURSE_PRECISION", "bfloat16")
    assert profiles.precision() == "bfloat16"
    monkeypatch.setenv("KDCOURSE_PRECISION", "float8")
    with pytest.raises(ValueError, match="KDCOURSE_PRECISION is 'float8'; choose one of: float32, bfloat16"):
        profiles.precision()


@pytest.mark.parametrize("chosen", ["float32", "bfloat16"])
def test_fit_runs_networks_in_the_chosen_precision_and_keeps_weights_and_losses_in_float32(monkeypatch, chosen):
    monkeypatch.setenv("KDCOURSE_PRECISION", chosen)
    source, seen = data.load("digits"), []
    student = models.build("mlp", source.shape, 10, seed=0)
    student.linear.register_forward_hook(lambda module, given, z: seen.append(z.dtype) if module.training else None)

    class Watching(distillers.Supervised):
        def forward(self, batch):
            terms = super().forward(batch)
            seen.append(terms["ce"].value.dtype)
            return terms

    train.fit(Watching(student), source, epochs=1, lr=1e-3)
    assert set(seen) == {getattr(torch, chosen), torch.float32}
    assert all(parameter.dtype == torch.float32 for parameter in student.parameters())


@pytest.mark.parametrize("where, expected", [("cuda", "bfloat16"), ("mps", "float32"), ("cpu", "float32")])
def test_precision_is_that_of_the_device_that_trains_and_not_of_the_one_the_profile_would_take(
    monkeypatch, where, expected
):
    monkeypatch.delenv("KDCOURSE_DEVICE", raising=False)
    monkeypatch.delenv("KDCOURSE_PRECISION", raising=False)
    monkeypatch.setenv("KDCOURSE_PROFILE", "full")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert profiles.precision(torch.device(where)) == expected
    assert profiles.precision() == "bfloat16"
    if where != "cuda":
        with profiles.autocast(torch.device(where)):
            assert not torch.is_autocast_enabled(where)


def test_an_apple_gpu_has_no_fast_bfloat16(monkeypatch):
    monkeypatch.delenv("KDCOURSE_DEVICE", raising=False)
    monkeypatch.setenv("KDCOURSE_PROFILE", "full")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert profiles.fast_bfloat16() is False
