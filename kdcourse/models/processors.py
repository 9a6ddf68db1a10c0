"""What the image processor of a network from the Hugging Face hub does to an image, done in the course's own layers:
`Resize` and `Normalise`. What they cannot do is refused by the name of the field, never left out.

What stands here is a reading of fields. Whether it is right is asked of the processor itself, with a few images.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kdcourse.models.base import Normalise, Resize

UNDERSTOOD = (  # the fields that are read here
    "do_resize", "size", "resample", "crop_pct", "do_center_crop", "crop_size", "do_rescale", "rescale_factor",
    "rescale_offset", "do_normalize", "image_mean", "image_std", "include_top", "do_flip_channel_order",
)
WITHOUT_EFFECT = (  # on images that are grey or red, green, blue already and have no map of labels beside them
    "do_convert_rgb", "do_reduce_labels", "default_to_square",
)
MODES = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # the filters of Pillow by number, as far as torch has them
OTHER_WAY = "if you know what the network was trained with, give {} to pretrained yourself"
COLOURS = ((0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 128, 0), (10, 100, 200))
LEVELS = 3 / 255  # by which two ways of resizing may differ: each rounds to whole levels, once or twice


def fields_of(processor) -> dict:
    """Every field that is read here, None where the processor has none, and whatever else it carries."""
    says = processor.to_dict()
    return {field: getattr(processor, field, None) for field in UNDERSTOOD} | {
        field: value for field, value in says.items() if value is not None
    }


def normalisation(processor) -> Normalise:
    """What the processor makes of the values in [0, 1]. Raises ValueError, naming the field, if the course cannot."""
    says = fields_of(processor)
    _refuse_unknown(says, "mean=... and std=...")
    scale, shift = 255.0, 0.0  # what becomes of x in [0, 1]: scale * x + shift
    if says["do_rescale"]:
        scale, shift = scale * says["rescale_factor"], -1.0 if says["rescale_offset"] else 0.0
    mean, std = _per_channel(says["image_mean"]), _per_channel(says["image_std"])
    lacks = [f"image_{name}" for name, values in (("mean", mean), ("std", std)) if not values]
    if lacks and (says["do_normalize"] or says["include_top"]):
        raise ValueError(f"its image processor normalises without {' and '.join(lacks)}; give mean=... and std=...")
    means = [0.0] * len(mean or (0, 0, 0))
    factors = [1.0] * len(means)
    if says["do_normalize"]:
        means, factors = list(mean), list(std)
    if says["include_top"]:
        factors = [factor * deviation for factor, deviation in zip(factors, std, strict=True)]
    flipped = bool(says["do_flip_channel_order"])
    if flipped:  # which comes last, after the statistics
        means, factors = means[::-1], factors[::-1]
    try:
        normalise = Normalise([(value - shift) / scale for value in means], [factor / scale for factor in factors],
                              flipped=flipped)
    except ValueError as error:
        raise ValueError("do_rescale, rescale_factor, image_mean and image_std of its image processor do not fit "
                         f"together ({error}); {OTHER_WAY.format('mean=... and std=...')}") from error
    _check_values(processor, normalise)
    return normalise


def geometry(processor) -> Resize | None:
    """How the processor brings images to their size, None if it does not. Raises ValueError, naming the field, if the
    course cannot."""
    says = fields_of(processor)
    _refuse_unknown(says, "size=...")
    crop = _square(says, "crop_size") if says["do_center_crop"] else None
    if not says["do_resize"]:
        resize = None if crop is None else Resize(None, crop=crop)
    else:
        mode = MODES.get(3 if says["resample"] is None else int(says["resample"]))
        if mode is None:
            raise ValueError(f"its image processor resizes with resample = {says['resample']!r}, which torch has not; "
                             f"{OTHER_WAY.format('size=...')}")
        side, shortest = _side(says)
        kind = str(says.get("image_processor_type"))
        if says["crop_pct"] and kind.startswith("ConvNext"):  # below 384 pixels it cuts out the middle, else it warps
            side, shortest, crop = (int(side / says["crop_pct"]), True, side) if side < 384 else (side, False, crop)
        elif says["crop_pct"]:
            side, shortest = int(side / says["crop_pct"]), True
        elif kind.startswith("Levit") and shortest:
            side = int(256 / 224 * side)
        resize = Resize(side, shortest=shortest, crop=crop, mode=mode, as_bytes=True)
    _check_geometry(processor, resize or Resize(None), says)
    return resize


def _refuse_unknown(says: dict, given: str) -> None:
    known = (*UNDERSTOOD, *WITHOUT_EFFECT)
    unknown = [field for field, value in says.items() if field.startswith("do_") and value and field not in known]
    if unknown:
        listed = ", ".join(f"{field} = {says[field]!r}" for field in unknown)
        raise ValueError(f"its image processor says {listed}, which the course does not do to images; "
                         f"{OTHER_WAY.format(given)}")


def _side(says: dict) -> tuple[int, bool]:
    """The side of the field `size`, and whether it is that of the shorter edge."""
    size = says["size"]
    if isinstance(size, int):
        return size, says.get("default_to_square") is False
    if size is not None and set(dict(size)) == {"shortest_edge"}:
        return dict(size)["shortest_edge"], True
    return _square(says, "size"), False


def _square(says: dict, field: str) -> int:
    size = says[field]
    if isinstance(size, int):
        return size
    size = {} if size is None else dict(size)
    if set(size) != {"height", "width"} or size["height"] != size["width"]:
        raise ValueError(f"its image processor says {field} = {size}, which makes no squares; "
                         f"{OTHER_WAY.format('size=...')}")
    return size["height"]


def _per_channel(values) -> list[float]:
    """One number stands for every channel."""
    return [float(values)] * 3 if isinstance(values, int | float) else list(values or ())


def _check_values(processor, normalise: Normalise) -> None:
    """Raise ValueError unless images of one colour come out of the processor as `normalise` makes them."""
    for colour in COLOURS:
        ours = normalise(torch.tensor(colour, dtype=torch.float32).reshape(1, 3, 1, 1) / 255)
        theirs = _middle_of(_asked(processor, np.full((48, 48, 3), colour, np.uint8)))
        if ours.shape != theirs.shape or not torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3):
            raise ValueError(f"{type(processor).__name__} makes {_rounded(theirs)} of the colour {colour}, and the "
                             f"course, by its fields, {_rounded(ours)}: {OTHER_WAY.format('mean=... and std=...')}")


def _check_geometry(processor, resize: Resize, says: dict) -> None:
    """Raise ValueError unless the processor resizes and crops two images of noise as `resize` does."""
    black, white = (_middle_of(_asked(processor, np.full((48, 48, 3), value, np.uint8))) for value in (0, 255))
    for H, W in ((48, 48), (60, 44)):
        pixels = np.random.default_rng(H).integers(0, 256, (H, W, 3), dtype=np.uint8)
        ours = resize(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255)
        theirs = (_asked(processor, pixels) - black) / (white - black)
        if says["do_flip_channel_order"]:
            ours = ours.flip(1)
        if ours.shape != theirs.shape or (ours - theirs).abs().max() > LEVELS:
            strange = sorted(set(says) - {*UNDERSTOOD, *WITHOUT_EFFECT, "image_processor_type"})
            unread = f" (it does not read {', '.join(strange)})" if strange else ""
            raise ValueError(f"{type(processor).__name__} makes another image of {H}x{W} pixels than the course, by "
                             f"its fields{unread}: {OTHER_WAY.format('size=...')}")


def _middle_of(images: Tensor) -> Tensor:
    return images[:, :, images.shape[2] // 2, images.shape[3] // 2][:, :, None, None]


def _asked(processor, pixels: np.ndarray) -> Tensor:
    """What the processor makes of an image (H, W, 3) of bytes: (1, C, h, w). Raises ValueError if no such tensor."""
    try:
        made = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    except Exception as error:  # whatever a processor raises that cannot
        raise ValueError(f"{type(processor).__name__} cannot be asked what it does to an image ({error}); "
                         f"{OTHER_WAY.format('mean=..., std=... and size=...')}") from error
    if made.ndim != 4:
        raise ValueError(f"{type(processor).__name__} makes no image of an image, but a tensor {tuple(made.shape)}; "
                         f"{OTHER_WAY.format('mean=..., std=... and size=...')}")
    return made.float()


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 3) for value in values.flatten().tolist()]
