"""Identities of the losses on how images lie to each other, each a function of a namespace of losses."""

import math
import warnings
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import ortho_group
from test_losses import TEMPERATURES, close, gradient

from kdcourse.losses import relations

ZERO = torch.zeros((), dtype=torch.double)


def rows(B=6, D_s=5, D_t=8, *, seed=0):
    """Features of a student and of a wider teacher, in float64."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(B, D, generator=generator, dtype=torch.double) for D in (D_s, D_t)]


def rotated(f):
    return f @ torch.as_tensor(ortho_group.rvs(f.shape[1], random_state=0))


def huber(x):
    return 0.5 * x**2 if abs(x) < 1 else abs(x) - 0.5


def unchanged(loss, change, f_s, f_t):
    """Neither side's change is seen, and a changed copy of oneself costs nothing."""
    close(loss(change(f_s), f_t), loss(f_s, f_t), 1e-9)
    close(loss(f_s, change(f_t)), loss(f_s, f_t), 1e-9)
    close(loss(change(f_s), f_s), ZERO, 1e-9)


def similarity_loss_is_the_definition_pair_by_pair(losses):
    f_s, f_t = rows()
    total = 0.0
    for i in range(6):
        g_s, g_t = ([f[i] @ f[j] for j in range(6)] for f in (f_s.numpy(), f_t.numpy()))
        total += sum((a / np.linalg.norm(g_s) - b / np.linalg.norm(g_t)) ** 2 for a, b in zip(g_s, g_t, strict=True))
    close(losses.similarity_loss(f_s, f_t), total / 6**2, 1e-9)


def similarity_sees_neither_rotation_nor_one_scale_but_that_of_an_image(losses):
    f_s, f_t = rows()
    unchanged(losses.similarity_loss, rotated, f_s, f_t)
    unchanged(losses.similarity_loss, lambda f: 0.01 * f, f_s, f_t)
    longer = f_s * torch.tensor([1.0, 1.0, 4.0, 1.0, 1.0, 1.0], dtype=torch.double)[:, None]
    assert losses.similarity_loss(longer, f_s) > 0.01
    assert losses.similarity_loss(f_s + 1, f_s) > 0.01


def distances_are_the_definition_pair_by_pair(losses):
    f_s, f_t = rows()
    f_s[0] *= 30  # far enough for the straight part of Huber's loss
    pairs = list(permutations(range(6), 2))
    d_s, d_t = (np.array([math.dist(f[i], f[j]) for i, j in pairs]) for f in (f_s.numpy(), f_t.numpy()))
    gaps = d_s / d_s.mean() - d_t / d_t.mean()
    assert abs(gaps).max() > 1
    close(losses.rkd_distance_loss(f_s, f_t), np.mean([huber(gap) for gap in gaps]), 1e-9)


def angles_are_the_definition_triplet_by_triplet(losses):
    f_s, f_t = rows()
    def cosines(f):
        f = f.numpy()
        units = {(i, j): (f[i] - f[j]) / max(math.dist(f[i], f[j]), 1e-300) for i, j in permutations(range(6), 2)}
        return [units[i, j] @ units[k, j] for i, j, k in permutations(range(6), 3)]
    gaps = np.array(cosines(f_s)) - np.array(cosines(f_t))
    assert abs(gaps).max() > 1
    close(losses.rkd_angle_loss(f_s, f_t), np.mean([huber(gap) for gap in gaps]), 1e-9)
    f_s[3] = f_s[1]  # two images that the student does not tell apart: no angle at one towards the other
    gaps = np.array(cosines(f_s)) - np.array(cosines(f_t))
    close(losses.rkd_angle_loss(f_s, f_t), np.mean([huber(gap) for gap in gaps]), 1e-9)


def moving_rotating_and_scaling_are_not_seen_by_distances_and_angles(losses):
    f_s, f_t = rows()
    for loss in (losses.rkd_distance_loss, losses.rkd_angle_loss):
        for change in (rotated, lambda f: f + 7, lambda f: 0.01 * f, lambda f: 100 * f):
            unchanged(loss, change, f_s, f_t)
        assert loss(f_s * torch.tensor([1.0, 1.0, 1.0, 1.0, 9.0]), f_s) > 0.001


def distances_survive_a_large_offset_in_single_precision(losses):
    f_s, f_t = rows()
    for loss in (losses.rkd_distance_loss, losses.rkd_angle_loss):
        close(loss((f_s + 2000).float(), f_t.float()).double(), loss(f_s, f_t), 1e-3)


def features_that_all_coincide_have_distances_and_angles_of_zero(losses):
    f_s, f_t = rows()
    for same in (torch.zeros_like(f_s), f_s[:1].expand(6, 5)):
        for loss in (losses.rkd_distance_loss, losses.rkd_angle_loss):
            assert loss(same, same) == 0
            assert gradient(lambda f: loss(f, f_t), same).abs().max() == 0  # noqa: B023, used at once
    d_t = torch.pdist(f_t)
    close(losses.rkd_distance_loss(f_s[:1].expand(6, 5), f_t), np.mean([huber(d) for d in d_t / d_t.mean()]), 1e-9)


def too_few_images_for_a_relation_give_zero(losses):
    for loss, B in ((losses.similarity_loss, 1), (losses.rkd_distance_loss, 1), (losses.rkd_distance_loss, 2),
                    (losses.rkd_angle_loss, 1), (losses.rkd_angle_loss, 2), (losses.contrastive_loss, 1)):
        f_s, f_t = rows(B=B, D_t=5)
        close(loss(f_s, f_t), ZERO, 1e-12)
        close(gradient(lambda f: loss(f, f_t), f_s), torch.zeros_like(f_s), 1e-12)  # noqa: B023, used at once


def maps_are_flattened_and_may_differ_in_size(losses):
    f_s, f_t = (torch.randn(6, C, H, H, dtype=torch.double) for C, H in ((3, 2), (2, 4)))
    for loss in (losses.similarity_loss, losses.rkd_distance_loss, losses.rkd_angle_loss):
        close(loss(f_s, f_t), loss(f_s.flatten(1), f_t.flatten(1)), 1e-12)
    close(losses.contrastive_loss(f_s, f_s + 1), losses.contrastive_loss(f_s.flatten(1), f_s.flatten(1) + 1), 1e-12)


def contrastive_loss_is_the_cross_entropy_of_finding_ones_own_image(losses):
    e_s, e_t = rows(D_t=5)
    a, b = (e.numpy() for e in (e_s, e_t))
    for T in (0.07, 0.5, 4.0):
        cosines = [[a[i] @ b[j] / np.linalg.norm(a[i]) / np.linalg.norm(b[j]) / T for j in range(6)] for i in range(6)]
        total = 0.0
        for i in range(6):  # its own image is the answer, and every other one, once, a wrong one
            from_the_student = [cosines[i][j] for j in range(6) if j != i]
            from_the_teacher = [cosines[j][i] for j in range(6) if j != i]
            for wrong in (from_the_student, from_the_teacher):
                total += logsumexp([cosines[i][i], *wrong]) - cosines[i][i]
        close(losses.contrastive_loss(e_s, e_t, T=T), total / 12, 1e-9)
    close(losses.contrastive_loss(e_s, e_t), losses.contrastive_loss(e_s, e_t, T=0.07), 0)


def student_and_teacher_may_change_places_in_the_contrastive_loss(losses):
    e_s, e_t = rows(D_t=5)
    close(losses.contrastive_loss(e_s, e_t, T=0.5), losses.contrastive_loss(e_t, e_s, T=0.5), 1e-12)


def length_of_an_embedding_does_not_matter(losses):
    e_s, e_t = rows(D_t=5)
    factor = torch.logspace(-3, 3, 6, dtype=torch.double)[:, None]
    close(losses.contrastive_loss(factor * e_s, e_t), losses.contrastive_loss(e_s, e_t), 1e-9)
    close(losses.contrastive_loss(e_s, factor * e_t), losses.contrastive_loss(e_s, e_t), 1e-9)


def embeddings_that_know_nothing_of_the_image_cost_log_B(losses):
    for B in (2, 6, 64):
        same = torch.ones(B, 5, dtype=torch.double)
        assert math.isclose(losses.contrastive_loss(same, same).item(), math.log(B), rel_tol=1e-12)
        assert math.isclose(losses.contrastive_loss(0 * same, rows(B=B, D_t=5)[1]).item(), math.log(B), rel_tol=1e-12)
    apart = 20 * torch.eye(6, dtype=torch.double)
    close(losses.contrastive_loss(apart, apart, T=0.05), ZERO, 1e-6)


def contrastive_temperatures_must_be_positive_and_may_be_batched(losses):
    e_s, e_t = rows(D_t=5)
    for T in (0, -4.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"T is {T}"):
            losses.contrastive_loss(e_s, e_t, T=T)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = torch.func.vmap(lambda T: losses.contrastive_loss(e_s, e_t, T=T))(torch.tensor(TEMPERATURES))
    assert not caught, [str(warning.message) for warning in caught]
    close(found, torch.stack([losses.contrastive_loss(e_s, e_t, T=T) for T in TEMPERATURES]), 1e-9)


IDENTITIES = [
    similarity_loss_is_the_definition_pair_by_pair,
    similarity_sees_neither_rotation_nor_one_scale_but_that_of_an_image,
    distances_are_the_definition_pair_by_pair,
    angles_are_the_definition_triplet_by_triplet,
    moving_rotating_and_scaling_are_not_seen_by_distances_and_angles,
    distances_survive_a_large_offset_in_single_precision,
    features_that_all_coincide_have_distances_and_angles_of_zero,
    too_few_images_for_a_relation_give_zero,
    maps_are_flattened_and_may_differ_in_size,
    contrastive_loss_is_the_cross_entropy_of_finding_ones_own_image,
    student_and_teacher_may_change_places_in_the_contrastive_loss,
    length_of_an_embedding_does_not_matter,
    embeddings_that_know_nothing_of_the_image_cost_log_B,
    contrastive_temperatures_must_be_positive_and_may_be_batched,
]


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: identity.__name__)
def test_losses_of_relations(identity):
    identity(relations)
