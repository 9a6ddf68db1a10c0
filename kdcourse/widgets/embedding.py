"""`EmbeddingExplorer`: the features of several networks side by side, as t-SNE draws them and as they are."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from kdcourse.metrics import neighbours as neighbours
from kdcourse.widgets.base import Explorer, canvas, choice, finite, gallery, look, percent, short, twin

CLASSES = 64    # pairs of a colour and a marker


class EmbeddingExplorer(Explorer):
    """Choose a point and a perplexity; see the image behind it, and where it lies for each network.

    `features` are a few networks' pooled features by name, each (N, D) with its own D, of the same images; the first is
    the reference, the teacher. `images` (N, C, H, W), labels `y` (N,). t-SNE runs here, once for every network and
    perplexity (van der Maaten & Hinton 2008; scikit-learn's, from a PCA, with `seed`): nine runs take some twenty
    seconds on 300 images, ten on 200. The pictures are turned and mirrored onto the reference's and made equally large.
    It opens on image 0 and the middle perplexity. A picture can mislead, so every number but `trust` and `disparity` is
    about the features themselves: their `k` nearest neighbours by Euclidean distance.

    Raises ValueError for fewer than two networks, lengths that do not fit, features that are not finite or all alike,
    a perplexity that is not below N, or a k that is not below N / 2. Introduced in notebook 02.
    """

    def __init__(self, features: Mapping[str, Tensor], y: Tensor, images, classes: Sequence[str], *,
                 perplexities: Sequence[float] = (5, 15, 30), seed: int = 0, k: int = 10):
        from sklearn.manifold import TSNE, trustworthiness  # a second to import, and every lesson has widgets

        self.images, self.y, self.classes = gallery(images, y, classes)
        n, self.k = len(self.y), k
        self.features = {name: finite(f"the features of {name!r}", f, n) for name, f in features.items()}
        _check(self.features, n, len(self.classes), perplexities, k)
        self.reference = next(iter(self.features))
        self.near = {name: neighbours(f, k) for name, f in self.features.items()}
        self.agreement = {name: shared(self.near[self.reference], near).mean().item() / k
                          for name, near in self.near.items()}
        values = sorted(set(perplexities))
        method = "exact" if n <= 300 else "barnes_hut"  # the faster approximation is not the same after a rotation
        self.maps = {p: aligned({name: TSNE(perplexity=p, init="pca", random_state=seed, method=method)
                                 .fit_transform(f.numpy()) for name, f in self.features.items()}) for p in values}
        self.trust = {p: {name: trustworthiness(f.numpy(), self.maps[p][name].numpy(), n_neighbors=k)
                          for name, f in self.features.items()} for p in values}
        self.point = choice("Point", [(f"{i}: {self.classes[c]}", i) for i, c in enumerate(self.y)], 0)
        self.perplexity = choice("Perplexity", [(f"{p:g}", p) for p in values], values[len(values) // 2])
        self.slider = twin(self.point, "Point (slider)")
        super().__init__([[self.point, self.slider, self.perplexity]], **self._artists())

    def numbers(self, point: int, perplexity: float) -> dict[str, dict]:
        """For each network: `place` (x, y) of the point in its picture; `near`, the k nearest images in its features,
        `same`, how many of them have the point's label, and `shared`, how many are among the reference's k as well.
        For all points: `agreement`, the mean share of neighbours that are the reference's too; `trust`, scikit-learn's
        trustworthiness of the picture in [0, 1]; `disparity`, the squared distance left after alignment, in [0, 1]."""
        if perplexity not in self.maps:
            raise ValueError(f"perplexity {perplexity} is not stored; choose one of {', '.join(map(str, self.maps))}")
        maps, found = self.maps[perplexity], {}
        for name, near in self.near.items():
            row = near[point].tolist()
            found[name] = {
                "place": tuple(maps[name][point].tolist()), "near": row,
                "same": sum(self.y[i] == self.y[point] for i in row),
                "shared": len(set(row) & set(self.near[self.reference][point].tolist())),
                "agreement": self.agreement[name], "trust": self.trust[perplexity][name],
                "disparity": 1 - (maps[self.reference] * maps[name]).sum().item() ** 2,
            }
        return found

    def alt(self) -> str:
        return (f"t-SNE pictures of {len(self.y)} images by {len(self.near)} networks ({', '.join(self.near)}), "
                f"coloured by class, at perplexity {self.perplexity.value:g}; image {self.point.value} and its "
                f"{self.k} nearest neighbours are ringed in each, and the image is shown beside them.")

    def sentences(self) -> list[str]:
        point, k, n = self.point.value, self.k, len(self.y)
        now, label = self.numbers(point, self.perplexity.value), self.classes[self.y[point]]
        found = [f"Image {point} has the label “{label}”."]
        for name, its in now.items():
            also = "" if name == self.reference else f"; {its['shared']} of them are so for {self.reference} too"
            found.append(f"{name}: it lies {_where(*its['place'])}. Of its {k} nearest neighbours in the features "
                         f"{its['same']} are “{label}”{also}.")
        others = [f"{name} {percent(share)}" for name, share in self.agreement.items() if name != self.reference]
        found.append(f"Agreement with {self.reference} over all {n} images, in the original features and not in this "
                     f"picture: the share of the {k} nearest neighbours in common is {', '.join(others)}; by chance it "
                     f"would be {percent(k / (n - 1))}.")
        trust = ", ".join(f"{name} {its['trust']:.2f}" for name, its in now.items())
        found.append(f"How far neighbours in the picture, at perplexity {self.perplexity.value:g}, are neighbours in "
                     f"the features (trustworthiness, at most 1): {trust}. Sizes of clusters and distances between "
                     "them mean nothing in t-SNE.")
        return found

    def table(self) -> list[list[str]]:
        head = ["network", "x", "y", "neighbours of its class", f"neighbours shared with {self.reference}",
                "agreement over all images", "trustworthiness", "distance left after alignment"]
        return [head, *([name, *(f"{value:+z.3f}" for value in its["place"]), f"{its['same']} of {self.k}",
                         f"{its['shared']} of {self.k}", percent(its["agreement"]), f"{its['trust']:.2f}",
                         f"{its['disparity']:.2f}"]
                        for name, its in self.numbers(self.point.value, self.perplexity.value).items())]

    def __repr__(self) -> str:
        first, *others = [f"{short(name, 18)} {share:.1f}" for name, share in self.agreement.items()]
        text = f"EmbeddingExplorer({len(self.y)} images; agreement with {first[:-4]}: {', '.join(others)}"
        return short(text, 98) + ")"

    def _artists(self) -> dict:
        names = {c: short(self.classes[c]) for c in sorted(set(self.y))}
        width = 2.75 * len(self.near) + 1.6
        columns = min(10, int(100 * width // (7 * max(map(len, names.values())) + 60)))     # of the legend
        figure = canvas(width, 3.5 + 0.2 * math.ceil(len(names) / columns))
        *axes, photo = figure.subplots(1, len(self.near) + 1, width_ratios=[*[2.75] * len(self.near), 1.6])
        photo.axis("off")
        self.pixels = photo.imshow(self.images[0], cmap="gray_r", vmin=0, vmax=255)
        self.caption = photo.set_title("X\nX", fontsize=10, parse_math=False)
        self.note = photo.text(0.5, -0.08, "X", ha="center", va="top", transform=photo.transAxes)
        self.panels, black = {}, {"linestyle": "", "marker": "o", "color": "black", "markerfacecolor": "none"}
        for name, ax in zip(self.near, axes, strict=True):
            dots = {c: ax.plot([], [], linestyle="", markersize=6, markeredgecolor="black", markeredgewidth=0.3,
                               label=label, **look(c))[0] for c, label in names.items()}
            near, = ax.plot([], [], markersize=9, markeredgewidth=0.8, **black)
            mark, = ax.plot([], [], markersize=17, markeredgewidth=2.5, **black)
            ax.set(xticks=[], yticks=[])
            ax.set_title("X\nX\nX", fontsize=10, parse_math=False)
            self.panels[name] = ax, dots, near, mark
        figure.legend(handles=list(dots.values()), loc="outside lower center", frameon=False, fontsize=9, ncols=columns)
        moving = [artist for ax, _, *rings in self.panels.values() for artist in (ax.title, *rings)]
        return {"figure": figure, "moving": [self.pixels, self.caption, *moving]}

    def _draw(self) -> float:
        point, perplexity, labels = self.point.value, self.perplexity.value, torch.tensor(self.y)
        limit = 1.08 * max(places.abs().max().item() for places in self.maps[perplexity].values())
        for name, its in self.numbers(point, perplexity).items():
            places, (ax, dots, near, mark) = self.maps[perplexity][name], self.panels[name]
            unit = limit / min(ax.bbox.size)    # one scale for both directions
            x, y = unit * ax.bbox.size
            ax.set(xlim=(-x, x), ylim=(-y, y))
            for c, line in dots.items():
                line.set_data(*places[labels == c].T.numpy())
            near.set_data(*places[its["near"]].T.numpy())
            mark.set_data(*places[[point]].T.numpy())
            agreement = f"{percent(its['agreement'])} of neighbours shared"
            ax.title.set_text("\n".join([short(name, 24), "the reference" if name == self.reference else agreement,
                                         f"trustworthiness {its['trust']:.2f}"]))
        self.pixels.set_data(self.images[point])
        self.caption.set_text(f"image {point}:\n{short(self.classes[self.y[point]])}")
        self.note.set_text(f"perplexity {perplexity:g}")
        return perplexity


def shared(near_a: Tensor, near_b: Tensor) -> Tensor:
    """How many neighbours two networks have in common, image by image: (N, k), (N, k) -> (N,)."""
    return (near_a[:, :, None] == near_b[:, None, :]).double().sum(dim=(1, 2))


def aligned(maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Pictures (N, 2), centred, scaled to length 1, and turned or mirrored onto the first: orthogonal Procrustes.

    scipy.spatial.procrustes (orthogonal matrix: Schönemann 1966) without its last step, which shrinks a picture the
    more the less it fits.
    """
    found = {}
    for name, places in maps.items():
        places = torch.as_tensor(places).double()
        places = places - places.mean(dim=0)
        places = places / places.norm()
        first = next(iter(found.values()), places)
        u, _, v = torch.linalg.svd(places.T @ first)
        found[name] = places @ (u @ v)
    return found


def _check(features: Mapping[str, Tensor], n: int, classes: int, perplexities: Sequence[float], k: int) -> None:
    if len(features) < 2:
        raise ValueError(f"at least two networks are needed to compare; features are those of {list(features)}")
    if classes > CLASSES:
        raise ValueError(f"{classes} classes cannot be told apart in one picture: take the images of at most {CLASSES}")
    for name, f in features.items():
        if f.shape[1] < 2:
            raise ValueError(f"the features of {name!r}, {tuple(f.shape)}, need two numbers per image or more")
        if not (f != f[0]).any():
            raise ValueError(f"the features of {name!r} are the same for every image")
    if not 1 <= k < n / 2:
        raise ValueError(f"k = {k} neighbours need more than {2 * k} images, and at least one; there are {n} images")
    if not len(perplexities):
        raise ValueError("at least one perplexity is needed to choose from; `perplexities` is empty")
    for perplexity in perplexities:
        if not 0 < perplexity < n:
            raise ValueError(f"a perplexity lies between 0 and the number of images, {n}; {perplexity} does not")


def _where(x: float, y: float) -> str:
    """In words: left or right, above or below the centre."""
    return f"{'left' if x < 0 else 'right'} of the centre and {'below' if y < 0 else 'above'} it ({x:+.2f}, {y:+.2f})"
