"""The latency explorer's ratios against the seconds, and its picture and words against its ratios."""

import time

import ipywidgets
import pytest

from kdcourse.widgets import LatencyExplorer

SECONDS = {("A", "big", "torch"): 8.0, ("A", "big", "onnx"): 4.0, ("A", "small", "torch"): 2.0,
           ("A", "small", "onnx"): 0.4, ("B", "other", "torch"): 1.0}


def rows(**changed):
    found = []
    for (family, network, runtime), seconds in SECONDS.items():
        for batch in (1, 32):
            for threads in (1, 2):
                for number in range(3):     # rounds of one measurement, the middle one counts
                    median = seconds * batch / threads * (1 + 0.1 * (number - 1))
                    found.append({"family": family, "network": network, "runtime": runtime, "batch": batch,
                                  "threads": threads, "p10": 0.9 * median, "median": median, "p90": 1.5 * median}
                                 | changed)
    return found


BIG = ("A", "big", "torch")


def test_times_are_multiples_of_the_median_of_the_chosen_network():
    explorer = LatencyExplorer(rows())
    now = explorer.numbers(BIG, 1, 1)
    assert now[BIG] == pytest.approx({"p10": 0.9, "median": 1, "p90": 1.5})
    assert now["A", "small", "onnx"]["median"] == pytest.approx(0.05)
    assert explorer.numbers(("A", "small", "onnx"), 1, 1)[BIG]["median"] == pytest.approx(20)


def test_only_networks_of_one_family_are_compared():
    explorer = LatencyExplorer(rows())
    assert {entry[0] for entry in explorer.numbers(BIG, 32, 2)} == {"A"}
    assert list(explorer.numbers(("B", "other", "torch"), 1, 1)) == [("B", "other", "torch")]


def test_batch_and_threads_choose_the_rows():
    found = rows()
    for row in found:
        if row["batch"] == 32 and row["network"] == "small":
            row |= {part: row[part] / 2 for part in ("p10", "median", "p90")}
    explorer = LatencyExplorer(found)
    small = ("A", "small", "torch")
    assert explorer.numbers(BIG, 1, 1)[small]["median"] == pytest.approx(0.25)
    assert explorer.numbers(BIG, 32, 1)[small]["median"] == pytest.approx(0.125)


def test_a_round_on_a_busy_machine_does_not_count():
    found = rows()
    for row in found[2::3]:
        row |= {part: 50 * row[part] for part in ("p10", "median", "p90")}
    assert LatencyExplorer(found).numbers(BIG, 1, 1)[("A", "small", "torch")]["median"] == pytest.approx(0.25)


def test_the_picture_shows_the_ratios_and_hides_the_rows_of_other_families():
    explorer = LatencyExplorer(rows())
    explorer.beside.value, explorer.batch.value = ("A", "small", "torch"), 32
    now = list(explorer.numbers(("A", "small", "torch"), 32, 1).values())
    assert [dot.get_xdata()[0] for dot in explorer.dots] == pytest.approx([each["median"] for each in now])
    assert [list(line.get_xdata()) for line in explorer.lines] == [[each["p10"], each["p90"]] for each in now]
    assert explorer.names[2].get_text() == "small, torch" and explorer.names[2].get_fontweight() == "bold"
    explorer.beside.value = ("B", "other", "torch")
    assert [dot.get_visible() for dot in explorer.dots] == [True, False, False, False]


def test_the_axis_fits_what_is_chosen():
    explorer = LatencyExplorer(rows())
    for beside in (BIG, ("A", "small", "onnx")):
        explorer.beside.value = beside
        now = explorer.numbers(beside, 1, 1).values()
        low, high = explorer.ax.get_xlim()
        assert 0.5 < low / min(each["p10"] for each in now) < 1 < high / max(each["p90"] for each in now) < 2


def test_words_and_table_give_the_ratios():
    explorer = LatencyExplorer(rows())
    words = " ".join(explorer.sentences())
    assert "the quickest is small in onnx, with 0.05 times the time of big in torch." in words
    assert "the slowest is big in torch itself." in words
    assert "less than 0.90, and a tenth more than 1.50" in words and "one image on one thread" in words
    assert [row[2] for row in explorer.table()[1:]] == ["1.000", "0.500", "0.250", "0.050"]
    assert repr(explorer) == "LatencyExplorer(beside big in torch: batch 1, one thread)"


def test_all_controls_are_ones_that_a_keyboard_reaches_and_each_has_a_label():
    boxes = [box for box in LatencyExplorer(rows()).children if isinstance(box, ipywidgets.HBox)]
    labels = [control.description for box in boxes for control in box.children
              if not isinstance(control, ipywidgets.HTML)]
    assert labels == ["Compared with", "Images at once", "Threads", "Numbers as a table"]


def test_without_their_observer_the_controls_change_nothing():
    explorer = LatencyExplorer(rows())
    for control in (explorer.beside, explorer.batch, explorer.threads):
        control.unobserve(explorer._show, "value")      # raises where it was not observed
    before = explorer.png, explorer.readout.value
    explorer.beside.value, explorer.threads.value = ("A", "small", "onnx"), 2
    assert (explorer.png, explorer.readout.value) == before


@pytest.mark.timed
def test_a_change_is_shown_within_a_tenth_of_a_second():
    explorer, times = LatencyExplorer(rows()), []
    for k in range(10):
        start = time.process_time()
        explorer.batch.value = (32, 1)[k % 2]
        times.append(time.process_time() - start)
    assert sorted(times)[5] < 0.1


@pytest.mark.parametrize(("found", "message"), [
    ([], "no rows"),
    (rows(median=0.0), "times are positive"),
    (rows()[3:], "A · big · torch was not timed with a batch of 1 on 1 threads"),
    ([{"family": "A"}], "a row lacks 'network'"),
])
def test_what_does_not_fit_is_refused(found, message):
    with pytest.raises(ValueError, match=message):
        LatencyExplorer(found)
