"""`python -m book.explorer` writes the data of the explorer that needs no kernel: twelve images, and the logits
of two networks."""

import json
from pathlib import Path

import torch

from kdcourse import data, distillers, metrics, models, train, trained
from kdcourse.widgets.base import address

FILE = Path(__file__).parent / "_static" / "temperature-data.js"
TEMPERATURES = (0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)


def chosen() -> tuple:
    """The test split of the twelve images, six ordinary ones and the six that the teacher doubts most of 300, and the
    teacher's logits (12, 10)."""
    source = data.load("fashion_small")
    z_t = metrics.predict(trained.network("fashion_cnn"), source.test)
    entropy = torch.special.entr(z_t[:300].softmax(dim=1)).sum(dim=1)
    rows = torch.tensor([*range(6), *entropy.argsort(descending=True)[:6].tolist()])
    return source, source.test.take(rows, "explorer"), z_t[rows]


def main() -> None:
    torch.set_num_threads(1)
    source, images, z_t = chosen()
    student = models.build("mlp", source.shape, 10, seed=0)
    train.fit(distillers.Supervised(student), source, epochs=10, lr=1e-3)
    content = {
        "classes": list(source.classes), "y": images.y.tolist(),
        "images": [address(image[0].numpy()) for image in images.x],
        "z_t": rounded(z_t), "z_s": rounded(metrics.predict(student, images)), "temperatures": TEMPERATURES,
    }
    FILE.write_text(f"globalThis.temperatureData = {json.dumps(content)};\n", encoding="utf-8")


def rounded(z) -> list[list[float]]:
    return [[round(one, 4) for one in row] for row in z.tolist()]


if __name__ == "__main__":
    main()
