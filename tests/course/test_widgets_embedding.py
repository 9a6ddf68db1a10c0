"""The embedding explorer: neighbours against scikit-learn's, alignment against scipy's, the picture against both."""

import numpy as np
import pytest
import torch
from scipy.spatial import procrustes
from sklearn.manifold import TSNE, trustworthiness
from sklearn.neighbors import NearestNeighbors
from test_widgets import draws, pixels

from kdcourse.widgets import EmbeddingExplorer
from kdcourse.widgets.base import look
from kdcourse.widgets.embedding import aligned, neighbours, shared

N, K = 24, 3
Y = torch.arange(N) % K
TEACHER = 4 * draws(K, 5)[Y] + draws(N, 5, seed=1)
STUDENT = draws(N, 4)


def explorer(**given):
    settings = {"features": {"teacher": TEACHER, "student": STUDENT}, "y": Y, "images": pixels(N, 1, 6, 6),
                "classes": ("a", "b", "c"), "perplexities": (3, 6), "k": 4}
    return EmbeddingExplorer(**settings | given)


@pytest.fixture(scope="module")
def made():
    return explorer()


@pytest.fixture
def one(made):
    yield made
    made.point.value, made.perplexity.value = 0, 6


def rotation(D, seed=0):
    return torch.linalg.qr(draws(D, D, seed=seed).double())[0]


def by_sklearn(f, k):
    found = NearestNeighbors(n_neighbors=k).fit(f.numpy()).kneighbors(return_distance=False)
    return torch.from_numpy(found)


def test_neighbours_are_scikit_learns():
    f = draws(50, 7).double()
    assert (neighbours(f, 10) == by_sklearn(f, 10)).all()


def test_agreement_is_the_share_of_neighbours_in_the_features_that_two_networks_have_in_common(one):
    near_t, near_s = by_sklearn(TEACHER, 4).tolist(), by_sklearn(STUDENT, 4).tolist()
    common = [len(set(a) & set(b)) for a, b in zip(near_t, near_s, strict=True)]
    for perplexity in (3, 6):
        now = one.numbers(5, perplexity)
        assert now["student"]["agreement"] == pytest.approx(np.mean(common) / 4)
        assert now["student"]["shared"] == common[5] and now["teacher"]["shared"] == 4
        assert sorted(now["teacher"]["near"]) == sorted(near_t[5])
        assert now["student"]["same"] == sum(Y[i] == Y[5] for i in near_s[5])


def test_agreement_is_1_for_the_same_features_however_turned_scaled_and_moved():
    same = 3 * TEACHER.double() @ rotation(5) + 7
    now = explorer(features={"teacher": TEACHER, "turned": same}, perplexities=(3,)).numbers(0, 3)
    assert now["turned"]["agreement"] == 1 and now["turned"]["shared"] == 4


def test_agreement_of_unrelated_features_is_near_chance():
    a, b = neighbours(draws(300, 8), 10), neighbours(draws(300, 8, seed=1), 10)
    assert shared(a, b).mean().item() / 10 == pytest.approx(10 / 299, abs=0.015)
    assert shared(a, a).tolist() == [10.0] * 300


def test_alignment_is_scipys_but_for_the_size():
    a, b = draws(40, 2).double(), draws(40, 2, seed=1).double()
    found = aligned({"a": a, "b": b})
    ours, theirs, disparity = procrustes(a.numpy(), b.numpy())
    assert found["a"].numpy() == pytest.approx(ours)
    assert found["b"].numpy() == pytest.approx(theirs / np.linalg.norm(theirs))
    assert 1 - (found["a"] * found["b"]).sum().item() ** 2 == pytest.approx(disparity)


@pytest.mark.parametrize("turn", [rotation(2), rotation(2) @ torch.diag(torch.tensor([1.0, -1.0])).double()])
def test_a_picture_that_is_turned_mirrored_scaled_or_moved_is_aligned_to_the_same(turn):
    a, b = draws(40, 2).double(), draws(40, 2, seed=1).double()
    changed = aligned({"a": a, "b": 5 * b @ turn + torch.tensor([3.0, -4.0])})
    torch.testing.assert_close(changed["b"], aligned({"a": a, "b": b})["b"])


def test_the_first_picture_is_not_turned():
    a = draws(40, 2).double()
    centred = a - a.mean(dim=0)
    torch.testing.assert_close(aligned({"a": a})["a"], centred / centred.norm())


def test_turning_the_students_features_leaves_the_aligned_picture(one):
    turned = explorer(features={"teacher": TEACHER, "student": STUDENT.double() @ rotation(4)})
    for perplexity in (3, 6):
        torch.testing.assert_close(turned.maps[perplexity]["student"], one.maps[perplexity]["student"],
                                   rtol=0, atol=1e-3)


def test_a_picture_is_scikit_learns_tsne_of_the_features(one):
    places = TSNE(perplexity=3, init="pca", random_state=0, method="exact").fit_transform(STUDENT.double().numpy())
    assert 1 - procrustes(places, one.maps[3]["student"].numpy())[2] == pytest.approx(1, abs=1e-4)
    assert procrustes(places, one.maps[6]["student"].numpy())[2] > 0.01


def test_trust_and_disparity_are_about_the_picture(one):
    for perplexity in (3, 6):
        now, maps = one.numbers(0, perplexity), one.maps[perplexity]
        for name, f in (("teacher", TEACHER), ("student", STUDENT)):
            assert now[name]["trust"] == pytest.approx(trustworthiness(f.numpy(), maps[name].numpy(), n_neighbors=4))
        expected = procrustes(maps["teacher"].numpy(), maps["student"].numpy())[2]
        assert (now["student"]["disparity"], now["teacher"]["disparity"]) == pytest.approx((expected, 0))


def test_the_chosen_point_its_neighbours_and_its_image_are_where_the_numbers_say(one):
    for point, perplexity in ((7, 3), (23, 6)):
        one.point.value, one.perplexity.value = point, perplexity
        now = one.numbers(point, perplexity)
        for name, (ax, dots, near, mark) in one.panels.items():
            places = one.maps[perplexity][name].numpy()
            assert mark.get_xydata() == pytest.approx(places[[point]])
            assert now[name]["place"] == pytest.approx(tuple(places[point]))
            assert near.get_xydata() == pytest.approx(places[now[name]["near"]])
            for c, line in dots.items():
                assert line.get_xydata() == pytest.approx(places[(Y == c).numpy()])
            assert name in ax.get_title() and f"{now[name]['trust']:.2f}" in ax.get_title()
        assert f"{100 * now['student']['agreement']:.1f} %" in one.panels["student"][0].get_title()
        assert (one.pixels.get_array() == one.images[point]).all() and f"image {point}" in one.caption.get_text()


def test_every_panel_has_one_scale_in_both_directions_that_holds_all_points(one):
    for perplexity in (3, 6):
        one.perplexity.value = perplexity
        limits = {(*ax.get_xlim(), *ax.get_ylim()) for ax, *_ in one.panels.values()}
        assert len({tuple(round(end, 9) for end in each) for each in limits}) == 1
        (x, y), ax = one.maps[perplexity]["student"].abs().amax(dim=0), one.panels["student"][0]
        assert x < ax.get_xlim()[1] and y < ax.get_ylim()[1]
        unit = [end / side for end, side in zip((ax.get_xlim()[1], ax.get_ylim()[1]), ax.bbox.size, strict=True)]
        assert unit[0] == pytest.approx(unit[1])


def test_the_words_tell_the_features_from_the_picture(one):
    one.point.value = 7
    said, now = " ".join(one.sentences()), one.numbers(7, 6)
    for words in ("Image 7 has the label “b”", "in the original features and not in this picture",
                  f"student {100 * now['student']['agreement']:.1f} %", f"by chance it would be {100 * 4 / 23:.1f} %",
                  f"{now['student']['shared']} of them are so for teacher too",
                  f"student {now['student']['trust']:.2f}",
                  "mean nothing in t-SNE"):
        assert words in said
    x, y = now["student"]["place"]
    assert f"{'left' if x < 0 else 'right'} of the centre and {'below' if y < 0 else 'above'} it" in said
    assert f"student {now['student']['agreement']:.1f}" in repr(one)


def test_a_long_name_does_not_make_the_repr_long(one):
    made = explorer(features={"t" * 90: TEACHER, "s" * 90: STUDENT, "u" * 90: TEACHER}, perplexities=(3,))
    assert len(repr(made)) < 100 and repr(made).endswith(")")


def test_numbers_of_a_perplexity_that_is_not_stored_are_refused(one):
    with pytest.raises(ValueError, match="perplexity 4 is not stored; choose one of 3, 6"):
        one.numbers(0, 4)


def test_sixty_four_classes_differ_in_colour_or_marker_and_the_first_eight_in_both():
    looks = [tuple(look(k).values()) for k in range(64)]
    assert len(set(looks)) == 64
    assert len({colour for colour, _ in looks[:8]}) == len({marker for _, marker in looks[:8]}) == 8


def test_each_class_is_drawn_in_its_look_in_every_panel_and_in_the_legend(one):
    for _, dots, *_ in one.panels.values():
        assert [(line.get_color(), line.get_marker()) for line in dots.values()] == [
            tuple(look(k).values()) for k in range(K)]
    legend, = one.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "c"]


@pytest.mark.parametrize("given, message", [
    ({"features": {"teacher": TEACHER}}, r"at least two networks.*\['teacher'\]"),
    ({"features": {}}, "at least two networks"),
    ({"features": {"teacher": TEACHER, "student": STUDENT[:20]}}, r"'student' .*24 images, but \(20, 4\)"),
    ({"features": {"teacher": draws(N, 5, 2, 2), "student": STUDENT}}, r"'teacher' .*\(24, 5, 2, 2\)"),
    ({"features": {"teacher": TEACHER, "student": torch.full((N, 4), float("nan"))}}, "'student' are not finite"),
    ({"features": {"teacher": TEACHER, "student": torch.ones(N, 4)}}, "'student' are the same for every image"),
    ({"features": {"teacher": TEACHER, "student": draws(N, 1)}}, r"\(24, 1\), need two numbers"),
    ({"perplexities": (3, 24)}, "number of images, 24; 24 does not"),
    ({"perplexities": (0,)}, "number of images, 24; 0 does not"),
    ({"perplexities": np.array([])}, "at least one perplexity"),
    ({"k": 12}, "k = 12 neighbours need more than 24 images"),
    ({"k": 0}, "k = 0"),
    ({"y": Y[:20]}, r"24 images, but torch.int64 of \(20,\)"),
    ({"classes": ("a", "b")}, "labels run from 0 to 2, but there are 2 class names"),
    ({"classes": [str(k) for k in range(65)]}, "65 classes cannot be told apart"),
    ({"images": pixels(N, 6, 6)}, r"\(24, 6, 6\)"),
])
def test_what_does_not_fit_is_refused_in_words(given, message):
    with pytest.raises(ValueError, match=message):
        explorer(**given)
