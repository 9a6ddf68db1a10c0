"""What a network knows, as functions of its logits or features, and whether one method is better than another over
seeds.

`predict` runs the network once; everything else is computed from the logits it returns, or from features (N, D).
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from operator import index

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdcourse.asking import answers
from kdcourse.core import asked, device_of, dtype_of, generator

ROUNDED = 1e-4                    # how far from 1 probabilities may sum; in half precision 50 times as far
SOFTEST, HARDEST = 100.0, 0.01    # temperatures between which the best one is looked for


@torch.no_grad()
def predict(network: nn.Module, split, *, batch_size: int | None = None) -> Tensor:
    """Logits (N, K) of the network about every image of the split, in its order, float32 on the CPU.

    The network may be kept in half or in double precision. It is put in eval mode and left there. Without `batch_size`
    as many images at once as fit the memory, at most 500. Raises TypeError when what it returns are no logits, and
    ValueError when it is made for images of another shape.
    """
    split = _asked_about(network, split)
    [z] = answers(network, split, lambda batch: [asked(network, batch.x).cpu()], batch_size=batch_size)
    return z


@torch.no_grad()
def embeddings(network: nn.Module, split, *, batch_size: int | None = None) -> Tensor:
    """The pooled features (N, D), what the last layer sees, of every image of the split, in its order, float32 on the
    CPU. The network shows its `features` and `embed`, as those of `models` do; it is left in eval mode."""
    split, kept_in = _asked_about(network, split), dtype_of(network)

    def ask(batch) -> list[Tensor]:
        return [network.embed(network.features(batch.x.to(kept_in))[-1]).float().cpu()]

    [f] = answers(network, split, ask, batch_size=batch_size)
    return f


def saliency(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Gradient times input: how much each pixel adds to the logit of class `y`, if the network were linear around the
    image. Images (N, C, H, W) in [0, 1], classes (N,); maps of the images' shape, with a sign. Shrikumar et al. 2016,
    arXiv:1605.01713. The network is left in eval mode. Raises ValueError for images as bytes, and unless there is one
    class for each image. Introduced in notebook 08.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise ValueError("saliency asks for the gradient of images, floats in [0, 1]: x.float() / 255 of bytes")
    x = x.detach().clone().requires_grad_()
    z = network.eval()(x)
    gradient, = torch.autograd.grad(z.gather(1, _labels(z.detach(), torch.as_tensor(y))[:, None]).sum(), x)
    return (gradient * x).detach()


def map_correlation(a: Tensor, b: Tensor) -> float:
    """The mean over images of Pearson's correlation of two maps (N, ...), pixel by pixel; a map that does not vary
    correlates with nothing. In [-1, 1]. Introduced in notebook 08."""
    if a.shape != b.shape or a.ndim < 2:
        raise ValueError(f"two maps for each image are needed, of one shape, not {tuple(a.shape)} and {tuple(b.shape)}")
    a, b = (maps.double().flatten(1) - maps.double().flatten(1).mean(dim=1, keepdim=True) for maps in (a, b))
    return F.cosine_similarity(a, b, dim=1, eps=1e-12).mean().item()


def accuracy(z: Tensor, y: Tensor) -> float:
    """The share of images whose largest logit is the label's, in [0, 1]. Shapes (N, K), (N,).

    Raises ValueError, as every measure of logits here, when shapes do not fit, there are no images, a label is none of
    the K classes, or an image has no finite largest logit: a network that diverged has no accuracy.
    """
    y = _labels(z, y)
    return (z.argmax(dim=1) == y).sum().item() / len(y)


def nll(z: Tensor, y: Tensor) -> float:
    """Mean negative log-likelihood of the labels, in nats: the cross-entropy. Shapes (N, K), (N,).

    Raises ValueError, as every measure here that takes a softmax, when probabilities are given and not logits.
    """
    y = _labels(_no_probabilities(z), y).cpu()
    return F.cross_entropy(z.cpu().double(), y).item()


def ece(z: Tensor, y: Tensor, *, bins: int = 15) -> float:
    """Expected calibration error, in [0, 1]: the gap between confidence and accuracy, averaged over equal bins of
    confidence that count by their images. Guo et al. 2017, arXiv:1706.04599, equation 3. Shapes (N, K), (N,).

    >>> ece(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))  # 88 % sure, 50 % right
    0.38079...
    """
    return sum(row["share"] * abs(row["accuracy"] - row["confidence"]) for row in reliability(z, y, bins=bins))


def reliability(z: Tensor, y: Tensor, *, bins: int = 15) -> list[dict[str, float]]:
    """Is an answer given with 80 % confidence right 80 % of the time? A row for each of `bins` equal bins of confidence
    that holds images, from low to high: their mean "confidence" and "accuracy", and the "share" of all images they are,
    each in [0, 1]. Guo et al. 2017, arXiv:1706.04599, section 2. Shapes (N, K), (N,). Introduced in notebook 02.

    >>> reliability(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))
    [{'confidence': 0.88079..., 'accuracy': 0.5, 'share': 1.0}]
    """
    y = _labels(_no_probabilities(z), y).cpu()
    bins = _whole("bins", bins, "how many bins of confidence there are, 1 or more", least=1)
    confidence, guess = z.cpu().double().softmax(dim=1).max(dim=1)
    right = (guess == y).double()
    bin = (confidence * bins).ceil().long().clamp(1, bins)
    rows = [(bin == number).nonzero()[:, 0] for number in range(1, bins + 1)]
    return [{"confidence": confidence[row].mean().item(), "accuracy": right[row].mean().item(),
             "share": len(row) / len(y)} for row in rows if len(row)]


def ece_null(z: Tensor, *, bins: int = 15, draws: int = 200, seed: int = 0) -> tuple[float, float]:
    """What `ece` gives a network that answers with these confidences and is perfectly calibrated: its mean, and the
    value that 95 % of such networks stay below, over so many draws of right and wrong answers. Shape (N, K).

    It is not 0: in a bin of few images the share of right answers differs from the confidence by luck, and `ece` adds
    up distances. So an `ece` below the second number does not show that a network is badly calibrated. The null
    hypothesis of Vaicenavicius et al. 2019, arXiv:1902.06977, section 5. Introduced in notebook 08.

    >>> z = torch.tensor([[2.0, 0.0]]).expand(100, 2)   # 88 % sure of each of 100 images
    >>> print("{:.3f}, {:.3f}".format(*ece_null(z, draws=10_000)))
    0.026, 0.061
    """
    _check_logits(_no_probabilities(z))
    bins = _whole("bins", bins, "how many bins of confidence there are, 1 or more", least=1)
    draws = _whole("draws", draws, "how many networks are drawn, 1 or more", least=1)
    confidence = z.cpu().double().softmax(dim=1).amax(dim=1)
    bin = (confidence * bins).ceil().long().clamp(1, bins) - 1
    random, found = generator(seed), []
    for _ in range(draws):
        right = torch.rand(len(z), generator=random, dtype=torch.double) < confidence
        found.append(torch.zeros(bins).double().index_add(0, bin, right.double() - confidence).abs().sum() / len(z))
    found = torch.stack(found)
    return found.mean().item(), found.quantile(0.95).item()


def brier(z: Tensor, y: Tensor) -> float:
    """Mean squared distance of the probabilities from the one-hot label, summed over the classes: in [0, 2], and 0 for
    a network that is sure and right. Brier 1950, Monthly Weather Review 78(1), equation 2. Shapes (N, K), (N,).

    A proper score, as `nll`: nobody gains by stating other probabilities than those one believes. Introduced in
    notebook 08.

    >>> brier(torch.zeros(1, 2), torch.tensor([0]))     # half and half
    0.5
    """
    y = _labels(_no_probabilities(z), y).cpu()
    p = z.cpu().double().softmax(dim=1)
    return (p - F.one_hot(y, p.shape[1])).square().sum(dim=1).mean().item()


def best_temperature(z: Tensor, y: Tensor) -> float:
    """The temperature T at which z / T has the smallest `nll`: temperature scaling, Guo et al. 2017, arXiv:1706.04599,
    section 4.2. Take *validation* images: (N, K), (N,). It changes how sure a network is, and no prediction.

    The loss is convex in 1 / T, so there is one best value; it is looked for between 0.01 and 100. Raises ValueError
    where there is none: a network that is right about all these images would become sure without end, and one whose
    logits know no more of the label than a guess would not be sure at all. Introduced in notebook 08.
    """
    y = _labels(_no_probabilities(z), y)
    z, label = z.double(), z.double().gather(1, y[:, None])[:, 0]
    if not z.mean(dim=1).mean() < label.mean() < z.amax(dim=1).mean():      # the slopes at T = infinity and at T = 0
        raise ValueError(f"no temperature is best: of these {len(y)} images the network is right about "
                         f"{100 * accuracy(z, y):g} %; take more validation images")
    from scipy import optimize  # slow to import, here and below

    log_T = optimize.minimize_scalar(lambda log_T: nll(z / math.exp(log_T), y), method="bounded",
                                     bounds=(math.log(HARDEST), math.log(SOFTEST)), options={"xatol": 1e-6}).x
    return math.exp(log_T)


def agreement(z_a: Tensor, z_b: Tensor) -> float:
    """The share of images to which two networks give the same answer, right or wrong. Stanton et al. 2021,
    arXiv:2106.05945, equation 1 ("fidelity"). Shapes (N, K), (N, K)."""
    if z_a.shape != z_b.shape:
        raise ValueError(f"agreement needs logits of one shape, not {tuple(z_a.shape)} and {tuple(z_b.shape)}")
    _check_logits(z_a)
    _check_logits(z_b)
    return (z_a.argmax(dim=1) == z_b.argmax(dim=1).to(z_a.device)).sum().item() / len(z_a)


def chance_agreement(z_a: Tensor, z_b: Tensor, y: Tensor) -> float:
    """The `agreement` of two networks that know nothing of each other: each predicts every class as often as it does
    *for images of the same label*, and apart from that by chance. Shapes (N, K), (N, K), (N,).

    It is exactly the mean agreement after the second network's answers have been shuffled among the images of each
    label. What two networks have in common because both know the labels, and even because both confuse the same
    classes, is in it. Introduced in notebook 08.
    """
    agreement(z_a, z_b)
    counts_a, counts_b = confusion(z_a, y).double().cpu(), confusion(z_b, y).double().cpu()
    images = counts_a.sum(dim=1).clamp_min(1)
    return ((counts_a * counts_b).sum(dim=1) / images).sum().item() / len(y)


def corrected_agreement(z_a: Tensor, z_b: Tensor, y: Tensor) -> float:
    """`agreement` corrected for chance: (a - a0) / (1 - a0), where a0 is `chance_agreement`. 1 if the two always agree,
    0 if they agree as often as two networks that share nothing but the labels and the usual confusions. Shapes (N, K),
    (N, K), (N,). If all labels are alike it is Cohen's kappa (1960, Educational and Psychological Measurement 20).

    Raises ValueError when both predict one and the same class for each label: there chance alone explains everything.
    Introduced in notebook 08.
    """
    a, chance = agreement(z_a, z_b), chance_agreement(z_a, z_b, y)
    if chance > 1 - 1e-12:
        raise ValueError("both networks give all images of a label the same prediction, so that agreement says "
                         "nothing: take images about which they differ")
    return (a - chance) / (1 - chance)


def first_sure(answers: Sequence[Tensor], threshold: float) -> tuple[Tensor, Tensor]:
    """What each image is answered when it leaves a network at the first exit that is sure enough of it: logits (B, K),
    and the place of that exit (B,), counted from 0. `answers` are the logits (B, K) of every exit, the earliest first
    (`distillers.BYOT.answers`). An exit is sure when its largest softmax probability is at least `threshold`; the last
    one answers what no other did. With 0 every image leaves at the first, above 1 every image at the last.

    As Huang et al. 2018, arXiv:1703.09844, section 4; choose the threshold on validation images. All exits have been
    computed here: this tells what leaving early costs in accuracy, and saves no time.

    Raises ValueError without answers, for logits of several shapes, and for a threshold below 0 or NaN.
    """
    shapes = [tuple(z.shape) for z in answers]
    if len(set(shapes)) != 1 or len(shapes[0]) != 2:
        raise ValueError(f"answers are logits (images, classes) of one shape, a tensor for each exit; not {shapes}")
    if not threshold >= 0:
        raise ValueError(f"the threshold is a probability, at least 0; it is {threshold!r}")
    z = torch.stack(list(answers))
    sure = z.float().softmax(dim=2).amax(dim=2) >= threshold
    sure[-1] = True
    place = sure.int().argmax(dim=0)
    return z[place, torch.arange(z.shape[1], device=z.device)], place


def confusion(z: Tensor, y: Tensor) -> Tensor:
    """Counts (K, K): row the label, column the answer. Shapes (N, K), (N,)."""
    y, K = _labels(z, y), z.shape[-1]
    return torch.bincount(y * K + z.argmax(dim=1), minlength=K * K).reshape(K, K)


def linear_cka(f_a: Tensor, f_b: Tensor) -> float:
    """Similarity of two representations of the same images, features (N, D_a) and (N, D_b): linear centred kernel
    alignment with the *unbiased* estimate of HSIC (`unbiased_hsic`), at most 1. 1 if one is the other turned, mirrored
    or enlarged; about 0, on either side, if they have nothing in common. N must be at least 4.

    Kornblith et al. 2019, arXiv:1905.00414, section 3, whose own estimate (`biased_linear_cka`) is far above 0 for
    independent noise of many features; with Nguyen et al. 2021, arXiv:2010.15327, equation 3. Raises ValueError for
    features that are not finite or all alike. Introduced in notebook 08.
    """
    K, L = (f @ f.T for f in _features(f_a, f_b, least=4))
    return (unbiased_hsic(K, L) / (unbiased_hsic(K, K) * unbiased_hsic(L, L)).sqrt()).item()


def biased_linear_cka(f_a: Tensor, f_b: Tensor) -> float:
    """Linear CKA as it was published first, in [0, 1]: ||A^T B||^2 / (||A^T A|| ||B^T B||), Frobenius norms of centred
    features. Kornblith et al. 2019, arXiv:1905.00414, equation 5. Shapes (N, D_a), (N, D_b).

    Shown beside `linear_cka` as a warning: independent noise with more features than images is "similar" to 0.8 and
    more. Introduced in notebook 08.
    """
    a, b = _features(f_a, f_b, least=2)
    return ((a.T @ b).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm())).item()


def unbiased_hsic(K: Tensor, L: Tensor) -> Tensor:
    """Hilbert-Schmidt independence criterion of two Gram matrices (N, N), without the bias of their diagonals, which
    are set to 0 first: Song et al. 2012, JMLR 13, equation 5. N must be at least 4. Its mean over samples of
    independent representations is 0, so that a sample can be below. Introduced in notebook 08.
    """
    n = len(K)
    if K.shape != (n, n) or L.shape != (n, n) or n < 4:
        raise ValueError(f"two Gram matrices of the same 4 images or more are needed, not {tuple(K.shape)} and "
                         f"{tuple(L.shape)}")
    K, L = (G - G.diagonal().diag() for G in (K, L))
    pairs, all_pairs, rows = (K * L).sum(), K.sum() * L.sum(), K.sum(dim=0) @ L.sum(dim=0)
    return (pairs + all_pairs / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)) / (n * (n - 3))


def neighbours(f: Tensor, k: int) -> Tensor:
    """The k nearest other rows of every row of f (N, D) by Euclidean distance, nearest first: (N, k) indices."""
    distance = torch.cdist(f, f, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    return distance.argsort(dim=1, stable=True)[:, :k]


def neighbour_agreement(f_a: Tensor, f_b: Tensor, *, k: int = 10) -> float:
    """The mean share of each image's k nearest neighbours that two representations, features (N, D_a) and (N, D_b),
    have in common, in [0, 1]; k / (N - 1) would be chance. Raises ValueError unless 1 <= k < N / 2. Introduced in
    notebook 08."""
    a, b = _features(f_a, f_b, least=3)
    if not 1 <= _whole("k", k, "how many neighbours are compared") < len(a) / 2:
        raise ValueError(f"k = {k} neighbours need more than {2 * k} images, and at least one; there are {len(a)}")
    near_a, near_b = neighbours(a, k), neighbours(b, k)
    return (near_a[:, :, None] == near_b[:, None, :]).double().sum().item() / (k * len(a))


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and the ends of its 95 % confidence interval by Student's t, for at least two values, one for each seed.

    Raises TypeError when they are no list of numbers, and ValueError when one is not finite or there are too few.
    """
    x = _several(_numbers("values", values))
    return _ends(x, x.std().item())


@dataclass(frozen=True)
class Comparison:
    """The paired difference of two methods over seeds: `mean` with its 95 % interval [low, high], in accuracy.

    The interval speaks of other seeds, not of other test images: `images` is printed beside it. `margin` is how far
    from 0 still counts as equal, `p` the p value of the paired t test, and `holm` the same p value adjusted for the
    family that the comparison belongs to, if it came from `family`.
    """

    n: int
    images: int
    mean: float
    low: float
    high: float
    margin: float = 0.01
    p: float | None = None
    holm: float | None = None

    @property
    def verdict(self) -> str:
        """"better" or "worse" if the interval leaves 0 out and, in a family, Holm's p value is below 0.05 too;
        else "equal" if all of the interval lies within `margin` of 0; else "inconclusive"."""
        if self.holm is None or self.holm < 0.05:
            if self.low > 0:
                return "better"
            if self.high < 0:
                return "worse"
        return "equal" if max(-self.low, self.high) <= self.margin else "inconclusive"

    def __str__(self) -> str:
        digits = 1 if self.margin >= 0.01 else 2
        mean, low, high = (f"{100 * value:+.{digits}f}" for value in (self.mean, self.low, self.high))
        holm = "" if self.holm is None else f", Holm's p = {self.holm:.2g}"
        within = f" (within {100 * self.margin:g})" if self.verdict == "equal" and self.margin != 0.01 else ""
        return (f"{mean} points [{low}, {high}], n = {self.n} seeds, {self.images:,} test images{holm}: "
                f"{self.verdict}{within}")


def compare(ours: Sequence[float], baseline: Sequence[float], *, images: int, margin: float = 0.01) -> Comparison:
    """Is `ours` better than `baseline`? Accuracies in [0, 1]; entry i of both comes from the same seed, so that what
    they share (the initial weights, the order of the images) cancels. `images` is the size of the test set. Two methods
    are "equal" if the whole interval lies within `margin` of 0: a share as well, 0.01 is one point. Choose it before
    you look, much smaller than the effect that you ask about: 0.002 on MNIST.

    Accuracies are counts of images. Where all seeds differ by the same number of images, and not by 0, that may be
    luck, and their spread is not known to be 0: interval and p value are then those of the smallest other spread that
    counts can have, one seed an image away from the rest, 1 / (images sqrt(n)).

    Differences of accuracies, in [-1, 1], may be compared as well. Raises TypeError when one of both is no list of
    numbers (a dict of them has seeds in an order of its own), and ValueError when there are fewer than two pairs, the
    lengths differ, a number is not finite or was given in percent, or the margin is not a share from 0 to 0.1.

    >>> print(compare([0.97, 0.98, 0.99], [0.95, 0.97, 0.96], images=597))
    +2.0 points [-0.5, +4.5], n = 3 seeds, 597 test images: inconclusive
    >>> print(compare([0.92, 0.90], [0.90, 0.88], images=50))  # an image more, twice
    +2.0 points [-10.7, +14.7], n = 2 seeds, 50 test images: inconclusive
    """
    _check_order(ours, baseline)
    ours, baseline = _shares("ours", ours), _shares("baseline", baseline)
    if len(ours) != len(baseline):
        raise ValueError(f"pairs are needed, seed by seed; there are {len(ours)} results and {len(baseline)} baselines")
    if not 0 <= margin <= 0.1:
        raise ValueError(f"margin is a share from 0 to 0.1 (0.01 is one point, 0.002 a fifth of one); it is {margin}")
    images = _whole("images", images, "how many test images there are, len(source.test)")
    difference = _several(ours - baseline)
    spread = _spread(difference, images)
    return Comparison(len(ours), images, *_ends(difference, spread), margin, _p_value(difference, spread))


def family(
    pairs: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, images: int, margin: float = 0.01
) -> dict[str, Comparison]:
    """Several comparisons that are read together: `pairs` gives `(ours, baseline)` for each name, as for `compare`.

    Of twenty comparisons of methods that do not differ, one comes out "better" or "worse" by luck. Here that happens at
    all, in one of the verdicts or more, in at most 5 % of families: they take Holm's p values. The intervals stay those
    of each comparison alone, so one may leave 0 out beside a verdict of "inconclusive". "equal" is read off the
    interval, as in `compare`, and not corrected.

    S. Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6.
    Raises what `compare` raises.

    >>> baseline = [0.95, 0.97, 0.96]
    >>> for name, one in family({"KD": ([0.97, 0.99, 0.979], baseline), "DIST": ([0.96, 0.99, 0.99], baseline)},
    ...                         images=597).items():
    ...     print(name, one)
    KD +2.0 points [+1.8, +2.1], n = 3 seeds, 597 test images, Holm's p = 0.00057: better
    DIST +2.0 points [-0.5, +4.5], n = 3 seeds, 597 test images, Holm's p = 0.074: inconclusive
    """
    if not isinstance(pairs, Mapping) or not pairs:
        raise TypeError(f'a family is {{"KD": (ours, baseline), ...}}, at least one pair by name; it is {pairs!r:.100}')
    found = {}
    for name, pair in pairs.items():
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"{name!r} needs a pair of lists, (ours, baseline); it is {pair!r:.100}")
        found[name] = compare(*pair, images=images, margin=margin)
    adjusted = holm([one.p for one in found.values()])
    return {name: replace(one, holm=p) for (name, one), p in zip(found.items(), adjusted, strict=True)}


def holm(p: Sequence[float]) -> list[float]:
    """p values adjusted for how many they are, in their order. The smallest of m is multiplied by m, the next by m - 1,
    and so on; none may fall below one that came before it, or pass 1.

    >>> holm([0.01, 0.04, 0.03])  # 3 * 0.01; 2 * 0.03; 1 * 0.04, which is raised to the 0.06 before it
    [0.03, 0.06, 0.06]
    """
    p = _numbers("p", p).tolist()
    if p and not 0 <= min(p) <= max(p) <= 1:
        raise ValueError(f"p values lie in [0, 1]; these lie in [{min(p):g}, {max(p):g}]")
    adjusted, least = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        least = max(least, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = least
    return adjusted


def _several(x: Tensor) -> Tensor:
    if len(x) < 2:
        raise ValueError(f"an interval needs at least two values, and there are {len(x)}: train with more seeds")
    return x


def _ends(x: Tensor, spread: float) -> tuple[float, float, float]:
    """The mean and the ends of its 95 % interval by Student's t, where the values have this standard deviation."""
    from scipy import special

    half = special.stdtrit(len(x) - 1, 0.975).item() * spread / math.sqrt(len(x))
    return x.mean().item(), x.mean().item() - half, x.mean().item() + half


def _spread(difference: Tensor, images: int) -> float:
    """Standard deviation of the differences; where all are the same number of images but 0, as if one were an image
    away. Equal means equal up to rounding, here or to four digits by whoever kept them."""
    apart = (difference.max() - difference.min()).item()
    if images and apart < 2.01e-4 and apart * images < 0.5 <= difference.mean().abs().item() * images:
        return 1 / (images * math.sqrt(len(difference)))
    return difference.std().item()


def _p_value(difference: Tensor, spread: float) -> float:
    """Two-sided p value of Student's t test that the mean of the differences is 0."""
    n, mean, error = len(difference), difference.mean().item(), spread / math.sqrt(len(difference))
    if error == 0:
        return 0.0 if mean else 1.0
    from scipy import special

    return 2 * special.stdtr(n - 1, -abs(mean) / error).item()


def _numbers(name: str, values: Sequence[float]) -> Tensor:
    """One finite number for each seed, (n,) in double precision."""
    if isinstance(values, Mapping | Set | str | bytes) or hasattr(values, "columns"):
        raise TypeError(f"{name} must be a list of numbers in the order of the seeds, not {type(values).__name__}: "
                        "[found[seed] for seed in seeds] makes one of a dict, frame[column].tolist() of a table")
    try:
        found = torch.tensor([float(value) for value in values], dtype=torch.double)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be a list of numbers, one for each seed, such as [row['test'] for row in rows]; "
                        f"it is {values!r:.100}") from error
    if not found.isfinite().all():
        raise ValueError(f"{name} must be finite; they are {found.tolist()!r:.200}: leave out no seed, find its cause")
    return found


def _check_order(ours, baseline) -> None:
    """Raises ValueError for two columns of tables that have the same labels of rows in another order."""
    labels = (getattr(one, "index", None) for one in (ours, baseline))  # of a list it is a method
    names = [list(index) if hasattr(index, "__iter__") else [] for index in labels]
    if names[0] != names[1] and Counter(names[0]) == Counter(names[1]):
        raise ValueError("pairs are needed, seed by seed, and the rows of both have the same names in another order, "
                         f"{names[0]!r:.40} and {names[1]!r:.40}: sort both, ours.sort_index(), baseline.sort_index()")


def _shares(name: str, values: Sequence[float]) -> Tensor:
    found = _numbers(name, values)
    if len(found) and (most := found[found.abs().argmax()].item()) and abs(most) > 1:
        raise ValueError(f"{name} are accuracies in [0, 1], and one is {most:g}: divide percent by 100")
    return found


def _whole(name: str, n: int, meaning: str, least: int = 0) -> int:
    try:
        if index(n) >= least:
            return index(n)
    except TypeError:
        pass
    raise ValueError(f"{name} is {meaning}; it is {n!r}")


def _asked_about(network: nn.Module, split):
    """The split where the network is, which is put in eval mode. Raises TypeError, with what is meant, for what is no
    network or no split."""
    called = type(network).__name__
    if hasattr(network, "deployable"):
        raise TypeError(f"a {called} is a distiller, which turns a batch into a loss: give its network, "
                        "distiller.deployable()")
    if hasattr(network, "check_live") or (hasattr(network, "key") and hasattr(network, "network")):
        raise TypeError(f"a {called} answers batches of training images: give the network itself")
    if not isinstance(network, nn.Module):
        raise TypeError(f"a network is needed, and a {called} is none")
    if not hasattr(split, "batches"):
        which = "one of its three splits, source.test say" if hasattr(split, "test") else "a split, source.test say"
        raise TypeError(f"images are given as {which}, and not as a {type(split).__name__}")
    return split.to(device_of(network.eval()))


def _labels(z: Tensor, y: Tensor) -> Tensor:
    """The labels as int64 where the logits are, once both are checked."""
    if not isinstance(z, Tensor) or not isinstance(y, Tensor):
        raise TypeError(f"logits and labels must be tensors, not {type(z).__name__} and {type(y).__name__}; "
                        "torch.as_tensor makes one of an array or a list")
    if z.ndim != 2 or y.shape != z.shape[:1]:
        raise ValueError(f"logits (N, K) and labels (N,) are needed, not {tuple(z.shape)} and {tuple(y.shape)}")
    _check_logits(z)
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise ValueError(f"labels are whole numbers, one class for each image, not {y.dtype}: y.long() if they are")
    if not (0 <= y.min() and y.max() < z.shape[1]):
        raise ValueError(f"labels run from {y.min()} to {y.max()}, but {z.shape[1]} logits allow 0 to {z.shape[1] - 1}")
    return y.long().to(z.device)


def _no_probabilities(z: Tensor) -> Tensor:
    """`z`, unless its rows, two or more, are probabilities: a softmax of them is nearly the same for every class. Zeros
    and ones alone may be logits."""
    if isinstance(z, Tensor) and z.ndim == 2 and len(z) > 1 and z.shape[1] > 1 and not z.is_complex():
        near = 50 * ROUNDED if z.dtype in (torch.float16, torch.bfloat16) else ROUNDED
        to_one = (z.sum(dim=1, dtype=torch.float32) - 1).abs() <= near
        if not ((z < 0).any() | (~to_one).any() | (z % 1 == 0).all()):
            raise ValueError(f"logits are needed, and these are probabilities: all {len(z)} rows are numbers from 0 "
                             f"that sum to 1, the first {z[0].tolist()!r:.60}. Give z, before the softmax, or "
                             "p.clamp_min(1e-12).log(), which are logits of the same probabilities")
    return z


def _features(f_a: Tensor, f_b: Tensor, least: int) -> list[Tensor]:
    """Two representations of the same images, in double precision on the CPU, each feature with mean 0."""
    if any(f.ndim != 2 for f in (f_a, f_b)) or len(f_a) != len(f_b) or len(f_a) < least:
        raise ValueError(f"features (N, D) of the same {least} images or more are needed, not {tuple(f_a.shape)} and "
                         f"{tuple(f_b.shape)}: flatten maps, or pool them")
    found = []
    for f in (f_a.detach().cpu().double(), f_b.detach().cpu().double()):
        if not f.isfinite().all():
            raise ValueError("features must be finite; some of these are not: the network diverged")
        if not (f != f[0]).any():
            raise ValueError("these features are the same for every image: there is nothing to compare")
        found.append(f - f.mean(dim=0))
    return found


def _check_logits(z: Tensor) -> None:
    if z.ndim != 2 or 0 in z.shape:
        raise ValueError(f"logits (N, K) are needed, of at least one image and one class, not {tuple(z.shape)}")
    finite = z.amax(dim=1).isfinite()   # not with NaN, +inf, or nothing but -inf
    if not finite.all():
        wrong = (~finite).nonzero()[:, 0].tolist()
        raise ValueError(f"the logits of {len(wrong)} of {len(z)} images are not finite, first those of image "
                         f"{wrong[0]}: {z[wrong[0]].tolist()!r:.100}; the network diverged, or left the range of its "
                         "numbers")
