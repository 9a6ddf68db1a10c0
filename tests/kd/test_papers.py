"""The papers' tables: transcribed by hand in the package, and once more by this program where the texts are."""

import re

import pandas as pd
import pytest

from kdcourse import papers
from kdcourse.metrics import interval

EVERY = [(paper, number) for paper, known in papers.PAPERS.items() for number in known.tables]
PAIRS = ["teacher", "student"]


@pytest.fixture(scope="module")
def texts(real_data) -> dict[str, list[str]]:
    """The lines of both papers' texts; skips where there are none."""
    folder = real_data.parent / "reference" / "sources"
    found = {paper: [*folder.glob(f"{place}_*.txt")] for paper, place in (("dist", "000"), ("slkd", "001"))}
    if not all(found.values()):
        pytest.skip(f"needs the papers' texts in {folder}")
    return {paper: path.read_text(encoding="utf-8").splitlines() for paper, (path,) in found.items()}


def number(cell: str):
    """A printed cell as a number if it is one: 79.42, +3.52, 5.0×10^{-6}."""
    if power := re.fullmatch(r"([\d.]+)×10\^\{(-\d+)\}", cell):
        return float(f"{power[1]}e{power[2]}")
    return float(cell) if re.fullmatch(r"\+?\d+(\.\d+)?", cell) else cell


def of_dist(lines: list[str], roman: str) -> list[list]:
    """The rows of a table of the first paper that hold numbers; an empty cell and a dash are the one above."""
    start = lines.index(f"TABLE {roman}")
    stop = next((i for i, line in enumerate(lines) if i > start and line.startswith("TABLE ")), start + 20)
    rows, above = [], []
    for line in lines[start:stop]:
        cells = line.split("\t")
        if len(cells) > 4 and re.search(r"\d\.\d|\d+\t\d", line):
            above = [above[i] if cell in ("", "—") else number(cell) for i, cell in enumerate(cells)]
            rows.append(above)
    return rows


def of_slkd(lines: list[str]) -> list[list[list[str]]]:
    """The second paper's tables, in order, each its rows of cells; a line of dashes stands below the first row."""
    starts = [i for i, line in enumerate(lines[1:]) if re.fullmatch(r"(---\|)+", line)]
    tables = []
    for i, after in zip(starts, [*starts[1:], len(lines)], strict=True):
        end = next(j for j in range(i, after + 1) if j == after or "|" not in lines[j])
        rows = [lines[j] for j in range(i, end) if j != i + 1]
        tables.append([[cell.strip() for cell in row.rstrip().removesuffix("|").split("|")] for row in rows])
    return tables


def by_pair(rows: list[list[str]]) -> list[list]:
    """A table with a column for each pair, turned: a row for each pair, of what is printed from top to bottom."""
    columns = len(rows[0]) - 1
    names = {"Teacher", "Student"}
    parts = [row[1:] if row[0] in names or not re.fullmatch(r"\+?\d+\.\d+", row[0]) else row for row in rows]
    return [[number(part[i]) for part in parts] for i in range(columns)]


def frame(paper: str, number: int) -> list[list]:
    return papers.table(paper, number).to_numpy().tolist()


@pytest.mark.parametrize("number, roman", [(1, "I"), (2, "II"), (3, "III"), (4, "IV")])
def test_every_cell_of_the_first_paper_is_what_a_program_reads_in_its_text(texts, number, roman):
    spelt = {"googlevit-base-patch16-224-in21k": "google/vit-base-patch16-224-in21k"}  # a slash was lost
    read = [[spelt.get(cell, cell) for cell in row] for row in of_dist(texts["dist"], roman)]
    assert read == frame("dist", number)


@pytest.mark.parametrize("number, place", [(1, 0), (2, 1), (5, 2), (6, 3), (8, 5), (9, 6)])
def test_every_cell_of_the_second_paper_is_what_a_program_reads_in_its_text(texts, number, place):
    read = by_pair(of_slkd(texts["slkd"])[place])
    assert [["ResNet32x4" if cell == "ReNet32x4" else cell for cell in row] for row in read] == frame("slkd", number)


def test_every_cell_of_table_7_of_the_second_paper_is_what_a_program_reads_in_its_text(texts):
    names, read = [], []
    for row in of_slkd(texts["slkd"])[4][1:]:
        cells = [cell for cell in row if cell]
        if len(cells) == 5:
            names = cells[:2]
        *marks, accuracy = cells[-3:]
        read.append([*names, *(mark == "✔" for mark in marks), float(accuracy)])
    assert read == frame("slkd", 7)


def test_rows_of_the_second_papers_tables_have_the_names_that_a_program_reads_in_its_text(texts):
    for number, place in ((1, 0), (2, 1), (5, 2), (6, 3), (8, 5), (9, 6)):
        first = [re.sub(r"\[\d+\]", "", row[0]) for row in of_slkd(texts["slkd"])[place]]
        methods = [name for name in first if name and name not in ("Teacher", "Student") and name[0].isalpha()]
        assert [name for name in papers.table("slkd", number) if name.lower() != name] == methods


def test_slkd_is_above_kd_by_2_14_points_over_all_eleven_pairs():
    every = pd.concat([papers.table("slkd", 1), papers.table("slkd", 2)])
    mean, low, high = interval([*(every.SLKD - every.KD)])
    assert len(every) == 11 and (round(mean, 2), round(low, 2), round(high, 2)) == (2.14, 1.61, 2.67)


def test_slkd_is_above_slkd_with_finished_learners_by_0_76_and_that_above_kd_by_1_38_points():
    one, two = (pd.concat([papers.table("slkd", number) for number in numbers]).set_index(PAIRS)
                for numbers in ((1, 2), (8, 9)))
    assert round((two["SLKD"] - two["SLKD*"]).mean(), 2) == 0.76
    assert round((two["SLKD*"] - one["KD"]).mean(), 2) == 1.38


def test_tables_8_and_9_repeat_what_tables_1_and_2_say():
    for first, second in ((1, 8), (2, 9)):
        shared = ["teacher", "teacher_top1", "student", "student_top1", "SLKD"]
        assert papers.table("slkd", first)[shared].equals(papers.table("slkd", second)[shared])


def test_the_printed_gains_of_slkd_are_its_differences_to_kd():
    for number in (1, 2):
        found = papers.table("slkd", number)
        assert ((found.SLKD - found.KD).round(2) == found.gain).all()


def test_the_mean_gains_of_dist_are_4_94_and_5_33_and_9_93_and_11_11_points():
    found = papers.table("dist", 4)
    gains = (found.distilled_top1 - found.alone_top1).groupby([found.dataset, found.teacher], sort=False).mean()
    assert [round(gain, 2) for gain in gains] == [4.94, 5.33, 9.93, 11.11]


def test_tables_2_and_4_of_the_first_paper_agree_but_for_the_misprint_that_the_notes_name():
    alone, found = papers.table("dist", 2).set_index("model"), papers.table("dist", 4)
    apart = set()
    for dataset, column in (("CIFAR-10", "cifar10"), ("CIFAR-100", "cifar100")):
        for row in found[found.dataset == dataset].itertuples():
            for top in ("top1", "top5"):
                assert alone.loc[row.teacher, f"{column}_{top}"] == getattr(row, f"teacher_{top}")
                pair = (float(alone.loc[row.student, f"{column}_{top}"]), float(getattr(row, f"alone_{top}")))
                apart |= {pair} if pair[0] != pair[1] else set()
    assert apart == {(82.96, 83.96)}
    for number in (2, 4):
        notes = " ".join(papers.about("dist", number).notes)
        assert "82.96" in notes and "83.96" in notes


def test_the_student_of_table_6_has_two_numbers_for_kd_as_the_notes_say():
    six, one = papers.table("slkd", 6).set_index("teacher"), papers.table("slkd", 1).set_index(PAIRS)
    assert six.SLKD["WRN_40_2"] == one.SLKD["WRN_40_2", "WRN_16_2"]
    assert (six.KD["WRN_40_2"], one.KD["WRN_40_2", "WRN_16_2"]) == (75.31, 74.92)


def test_with_the_teacher_alone_table_7_is_kd_of_tables_1_and_2():
    kd = pd.concat([papers.table("slkd", 1), papers.table("slkd", 2)]).set_index(PAIRS).KD
    seven = papers.table("slkd", 7)
    for row in seven[~seven.from_slt].itertuples():
        assert kd[row.teacher, row.student] == row.top1


@pytest.mark.parametrize("paper, number", EVERY)
def test_a_table_is_whole_says_its_units_and_is_one_run(paper, number):
    found, about = papers.table(paper, number), papers.about(paper, number)
    assert found.notna().all(axis=None) and about.title and about.units and about.runs == 1
    accuracies = found.select_dtypes("float").filter(regex="top|KD$|SLKD")
    assert ((accuracies > 50) & (accuracies <= 100)).all(axis=None)


def test_there_is_a_file_for_every_table_and_no_other():
    assert {path.name for path in papers.FOLDER.iterdir()} == {f"{paper}_{number}.csv" for paper, number in EVERY}


def test_changing_a_table_changes_no_later_one():
    found = papers.table("dist", 4)
    found.loc[:, "student"] = "?"
    assert "?" not in set(papers.table("dist", 4).student)


@pytest.mark.parametrize("paper, number, complaint", [
    ("dits", 1, "unknown paper 'dits'.*did you mean 'dist'"),
    ("dist", 5, "'dist' has no table 5; choose one of: 1, 2, 3, 4"),
    ("slkd", "1", "'slkd' has no table '1'"),
    ("slkd", 3, r"table 3 of 'slkd' \(ImageNet, one family\) lost its numbers.*there are 1, 2, 5, 6, 7, 8, 9"),
    ("slkd", 4, "table 4 of 'slkd'.*lost its numbers"),
])
def test_an_unknown_or_lost_table_is_refused_by_name(paper, number, complaint):
    with pytest.raises(ValueError, match=complaint):
        papers.table(paper, number)


def test_tables_3_and_4_of_the_second_paper_are_indeed_lost_in_its_text(texts):
    assert len(of_slkd(texts["slkd"])) == 9  # 1, 2, 5 to 9, and the settings of 10 and 11


