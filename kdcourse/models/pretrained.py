"""Where pretrained networks come from: the Hugging Face hub, a folder, timm, torchvision. Adopting one is for `wrap`.

What is on this machine is used without asking anybody. Else the hub is asked once whether it answers, before its
libraries are let loose on it: where there is no connection, they try again for minutes.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from torch import nn

from kdcourse.files import DataError, patience
from kdcourse.models.base import evaluating


class Loaded(NamedTuple):
    """A network with its published weights, and what its files say about it."""

    network: nn.Module
    fresh: list[str]                        # names of the parameters that were drawn, since the files do not hold them
    size: int | None                        # height and width of its images
    mean: Sequence[float] | None = None     # per channel; None: its files do not say
    std: Sequence[float] | None = None
    processor: object = None                # of transformers, which then says what becomes of images
    names: Sequence[str] | None = None      # of the classes, where the network itself does not know


def load(name: str, classes: int | None, size: int | None) -> Loaded:
    """The network called `name`, as `kdcourse.models.pretrained` says; a fresh head draws from torch's generator."""
    source, _, rest = re.sub("^timm/", "timm:", name).partition(":")
    if (folder := Path(name).expanduser()).is_dir():
        return _from_folder(folder, classes, size)
    if source in ("timm", "torchvision") and rest:
        return (_from_timm if source == "timm" else _from_torchvision)(rest, classes, size)
    if re.fullmatch(r"\w[\w.-]*/[\w.-]+", name):
        return _from_hub(name, classes, size)
    raise ValueError(f"{name!r} is no folder here; write the path of one, timm:NAME, torchvision:NAME, or "
                     "ORGANISATION/NAME as on the Hugging Face hub")


def untrained(name: str, classes: int, size: int | None) -> Loaded:
    """The network called "timm:..." or "torchvision:..." without its weights, for so many classes; what it draws comes
    from torch's generator. What insists on a height and width gets `size`, else that of its family, mostly 224."""
    source, _, rest = name.partition(":")
    if source == "timm":
        import timm

        if not timm.is_model(rest):
            raise _unknown("timm", rest, timm.list_models(), "")
        network = timm.create_model(rest, pretrained=False, num_classes=classes)
        says, insists = network.pretrained_cfg, hasattr(network, "set_input_size")
        if size and insists:
            network.set_input_size(img_size=(size, size))
        side = size or (says["input_size"][-1] if insists else None)
        return Loaded(network, [], side, says["mean"], says["std"])
    from torchvision import models as zoo

    if rest not in (names := zoo.list_models(module=zoo)):
        raise _unknown("torchvision", rest, names, "")
    insists = rest.startswith("vit_")
    side = size or (224 if insists else None)
    network = zoo.get_model(rest, weights=None, num_classes=classes, **({"image_size": side} if insists else {}))
    says = zoo.get_model_weights(rest).DEFAULT.transforms()
    return Loaded(network, [], side, says.mean, says.std)


def _from_folder(folder: Path, classes: int | None, size: int | None) -> Loaded:
    try:
        if "model_type" in json.loads((folder / "config.json").read_text(encoding="utf-8")):
            return _from_transformers(str(folder), classes, size)
        return _from_timm(f"local-dir:{folder}", classes, size)
    except (OSError, RuntimeError, KeyError, SafetensorError, json.JSONDecodeError) as error:
        raise DataError(f"{folder} holds no whole network, as save_pretrained of transformers or save_for_hf of timm "
                        f"write one: {_first_line(error)}") from error


def _from_hub(name: str, classes: int | None, size: int | None) -> Loaded:
    try:
        return _from_transformers(name, classes, size, local_files_only=True)
    except OSError:  # not on this machine, or not all of it
        pass
    try:
        _ask_hub(name)
        return _from_transformers(name, classes, size)
    except OSError as error:
        raise _missing(name, error, name) from error


def _from_transformers(name: str, classes: int | None, size: int | None, **where) -> Loaded:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    settings = where if classes is None else {"num_labels": classes, **where}
    with _without_reports():
        network, report = AutoModelForImageClassification.from_pretrained(
            name, ignore_mismatched_sizes=True, output_loading_info=True, **settings
        )
        try:
            processor = AutoImageProcessor.from_pretrained(name, **where)
        except OSError:
            if where:
                raise
            processor = None
    insists = _side(getattr(network.config, "image_size", None))
    fresh = _used(network, lacking(report), size or insists)
    if lost := [key for key in fresh if key.startswith(f"{network.base_model_prefix}.") and "pooler" not in key]:
        raise OSError(f"{len(lost)} weights that are no head's do not fit or are missing, the first is {lost[0]}")
    return Loaded(network, fresh, size or insists, processor=processor)


def lacking(report: dict) -> set[str]:
    """The names of the parameters that transformers drew: its `missing_keys` are a list in version 4 and a set in 5,
    and a mismatched key comes alone or with the two shapes."""
    mismatched = (key if isinstance(key, str) else key[0] for key in report.get("mismatched_keys") or ())
    return {*(report.get("missing_keys") or ()), *mismatched}


def _from_timm(name: str, classes: int | None, size: int | None) -> Loaded:
    import timm
    from huggingface_hub import try_to_load_from_cache

    if name.startswith("local-dir:"):
        network = timm.create_model(name, pretrained=True)
    elif not timm.is_model_pretrained(name):
        raise _unknown("timm", name, timm.list_pretrained())
    else:
        said = timm.get_pretrained_cfg(name)
        file = said.hf_hub_id and try_to_load_from_cache(said.hf_hub_id, said.hf_hub_filename or "model.safetensors")
        here = {"file": file, "custom_load": False} if isinstance(file, str) else None
        try:
            if said.hf_hub_id and not here:
                _ask_hub(said.hf_hub_id)
            with patience():
                network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=here)
        except OSError as error:
            raise _missing(f"timm:{name}", error, said.hf_hub_id, said.url) from error
    if size and hasattr(network, "set_input_size"):  # others take any size
        network.set_input_size(img_size=(size, size))
    says, fresh = network.pretrained_cfg, []
    if classes not in (None, network.num_classes):  # not sooner: timm would no longer mind if weights were missing
        stored = set(network.parameters())
        network.reset_classifier(classes)
        fresh = [key for key, parameter in network.named_parameters() if parameter not in stored]
    return Loaded(network, fresh, size or says["input_size"][-1], says["mean"], says["std"])


def _from_torchvision(name: str, classes: int | None, size: int | None) -> Loaded:
    from torchvision import models as zoo  # slow to import

    if name not in (names := zoo.list_models(module=zoo)):
        raise _unknown("torchvision", name, names)
    weights = zoo.get_model_weights(name).DEFAULT
    try:
        with patience():
            network, fresh = zoo.get_model(name, weights=weights, progress=False), []
    except OSError as error:
        raise _missing(f"torchvision:{name}", error, None, weights.url) from error
    if classes not in (None, len(weights.meta["categories"])):
        quickly = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}  # else it takes minutes
        other = zoo.get_model(name, weights=None, num_classes=classes, **quickly)
        stored = dict(network.named_parameters())
        fresh = [key for key, drawn in other.named_parameters() if key in stored and drawn.shape != stored[key].shape]
        for layer in {key.rpartition(".")[0] for key in fresh}:
            network.set_submodule(layer, other.get_submodule(layer))
    says = weights.transforms()
    side = _side(says.crop_size)
    names = weights.meta["categories"] if not fresh else None
    return Loaded(network, _used(network, fresh, side), size or side, says.mean, says.std, names=names)


def _used(network: nn.Module, names: Iterable[str], size: int | None) -> list[str]:
    """Those parameters that the logits depend on when it answers. A file may well lack others: an unused pooler, a mask
    token; and heads that only help it train (GoogLeNet's and Inception's) need not be trained to answer."""
    parameters = {name: parameter for name, parameter in network.named_parameters() if name in names}
    if not parameters:
        return []
    like = next(iter(parameters.values()))
    channels = getattr(getattr(network, "config", None), "num_channels", 3)
    x = torch.zeros(1, channels, size or 64, size or 64, dtype=like.dtype)
    with evaluating(network):
        out = network(x)
    z = getattr(out, "logits", out)
    gradients = torch.autograd.grad(z.sum(), parameters.values(), allow_unused=True)
    return [name for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None]


def _side(size) -> int | None:
    """224 of 224, of (224, 224), and of the dicts that image processors keep."""
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    return size[0] if isinstance(size, list | tuple) else size


def _ask_hub(repository: str) -> None:
    """Raise OSError unless the Hugging Face hub answers, within ten seconds, that it has this repository."""
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(repository, timeout=10)
    except Exception as error:  # whatever its HTTP client of the day raises
        raise OSError(_first_line(error)) from error


@contextmanager
def _without_reports() -> Iterator[None]:
    """Inside, transformers draws no bars and does not list the weights that it drew: `Wrapped.fresh_head` does."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _unknown(source: str, name: str, names: list[str], kind: str = "pretrained ") -> ValueError:
    close = ", ".join(difflib.get_close_matches(name, names))
    return ValueError(f"{source} has no {kind}network called {name!r}; the nearest names are: {close or 'none'}")


def _missing(name: str, error: Exception, repository: str | None, url: str | None = None) -> DataError:
    elsewhere = f"hf download {repository} --local-dir FOLDER; copy FOLDER here and give its path instead of the name"
    if not repository:
        elsewhere = f"curl -O {url}; copy the file here, into {torch.hub.get_dir()}/checkpoints"
    return DataError(
        f"{name} is not on this machine and could not be fetched ({_first_line(error)}). To get it, do one of these:\n"
        "  1. with a network connection, make the same call once: what it fetches stays on this machine\n"
        f"  2. on another machine, run: {elsewhere}\n"
        "  3. stay offline: KDCOURSE_PROFILE=quick needs no pretrained networks"
    )
