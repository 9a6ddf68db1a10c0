"""Trains the teachers of the small sets again, with the images in the folder that `KDCOURSE_DATA` names.

    python benchmarks/teachers.py                       # all of them, one after the other
    python benchmarks/teachers.py fashion_cnn           # one, 4 minutes on one core

It does what `python -m kdcourse.trained NAME` does, and reads Fashion-MNIST from contact sheets as well. The images are
brought into one order, so the files in `kdcourse/trained/` come out the same from either.
"""

import sys
import time
from functools import partial

import torch
from fashion import fashion

from kdcourse import data, trained
from kdcourse.data import small

IMAGES = {"mnist_rest": partial(data.load, "mnist_rest"),
          "fashion_rest": partial(small.rest, small.fashion_small, fashion)}


def main() -> None:
    torch.set_num_threads(1)
    for name in sys.argv[1:] or [name for name, recipe in trained.RECIPES.items() if recipe.about]:
        start = time.perf_counter()
        path = trained.train_again(name, IMAGES[trained.RECIPES[name].source]())
        print(f"{path}: {trained.measured(name)}, {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
