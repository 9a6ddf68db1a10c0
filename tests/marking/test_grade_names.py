"""Who handed in: names as people have them, in the files that Moodle, Canvas and Blackboard make of them; rosters."""

import csv
import os
import re
import sys
import unicodedata
import zipfile
from pathlib import Path

import pytest
from grading.course import answered, solved, write

from kdcourse.marking import notebook
from kdcourse.marking.grade import roster
from kdcourse.marking.grade.collect import collect, identifier, opened, understood

RELEASED = solved()
# given name, family name; what is easily taken for one another
PAIRS = {
    "Beijing, another character": (("伟", "王"), ("薇", "王")),
    "Beijing, one name": (("芳", "李"), ("芳", "李")),
    "Beijing, in pinyin": (("Xi'an", "Li"), ("Xian", "Li")),
    "Beijing, given and family name exchanged": (("Lin", "Jiang"), ("Jiang", "Lin")),
    "Cairo, with and without a hamza": (("أحمد", "حسن"), ("احمد", "حسن")),
    "Cairo, the article": (("Mona", "El-Sayed"), ("Mona", "Elsayed")),
    "Athens, with and without an accent": (("Γιώργος", "Παπάς"), ("Γιωργος", "Παπας")),
    "Athens, another alphabet": (("Anna", "Makri"), ("Αnna", "Μakri")),
    "Zürich, an umlaut": (("Jürg", "Müller"), ("Jurg", "Muller")),
    "Zürich, another case": (("Lea", "von Arx"), ("Lea", "Von Arx")),
}


def moodle(given: str, family: str, number: int, kind: str = "file") -> str:
    """The folder of mod/assign/locallib.php, download_submissions, whose clean_filename drops some characters."""
    name = re.sub(r"""[&<>"`'|:\\/*?]""", "", f"{given} {family}".replace("_", " "))
    return f"{name}_{number}_assignsubmission_{kind}"


def canvas(given: str, family: str, number: int, attachment: int, file: str, late: bool = False) -> str:
    """The file of lib/content_zipper.rb: the sortable name, of which only letters, marks, digits and _ stay."""
    word = [c for c in f"{family}, {given}".lower() if c.isalnum() or c == "_" or unicodedata.category(c)[0] == "M"]
    name = "".join(word)
    return f"{name}{'_LATE' if late else ''}_{number}_{attachment}_{file}"


def zipped(path: Path, files: dict[str, str | bytes], date: tuple = (2024, 5, 2, 12, 0, 0)) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, date), content)
    return path


def text(name: str) -> str:
    """A hand-in whose written answer says whose it is."""
    import json

    return json.dumps(answered(RELEASED, why=f"By {name}."))


def by(one) -> str:
    """Whose answer a submission holds."""
    return next("".join(cell["source"]) for cell in one.notebook["cells"] if cell["id"] == "why")


def collected(path: Path, scratch: Path, known=None) -> list:
    with opened(path, scratch) as (folder, left_out):
        assert left_out == []
        return collect(folder, "tiny", RELEASED, roster=known, scratch=scratch)


@pytest.mark.parametrize("pair", PAIRS)
def test_a_canvas_export_is_graded_to_the_right_person(pair, tmp_path):
    files = {canvas(*name, 4100 + n, 900_000 + n, "tiny.ipynb", late=n == 1): text(f"number {n}")
             for n, name in enumerate(PAIRS[pair])}  # fmt: skip
    known = roster.read(gradebook_of_canvas(tmp_path, PAIRS[pair]))
    for people in (None, known):
        found = collected(zipped(tmp_path / "submissions.zip", files), tmp_path / f"scratch{people is None}", people)
        assert len({one.student for one in found}) == 2
        for one in found:
            n = int(by(one)[-2])
            if people is None:
                assert one.student == identifier(list(files)[n]) and f"{4100 + n}-" in one.student
            else:
                assert one.student == f"login{n}"


@pytest.mark.parametrize("pair", PAIRS)
def test_a_moodle_export_is_graded_to_the_right_person_or_refused(pair, tmp_path):
    names = PAIRS[pair]
    files = {f"{moodle(*name, 70_000 + n)}/tiny.ipynb": text(f"number {n}") for n, name in enumerate(names)}
    path = zipped(tmp_path / "submissions.zip", files)
    if moodle(*names[0], 0) == moodle(*names[1], 0):  # nothing in the export tells them apart that will last
        with pytest.raises(ValueError, match=r"whose are these\?.* and .*--roster"):
            collected(path, tmp_path / "scratch")
    else:
        found = collected(path, tmp_path / "scratch")
        assert {one.student: by(one) for one in found} == {
            identifier(moodle(*name, 1)): f"By number {n}." for n, name in enumerate(names)}  # fmt: skip
    worksheet = worksheet_of_moodle(tmp_path, names)
    found = collected(path, tmp_path / "scratch2", roster.read(worksheet))
    assert {one.student: by(one) for one in found} == {
        identifier(f"student{n}@uni.example"): f"By number {n}." for n in range(2)}  # fmt: skip


def gradebook_of_canvas(folder: Path, names, column: str = "") -> Path:
    path = folder / "canvas.csv"
    head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *([column] if column else []), "Final Score"]
    lines = [head, ["    Points Possible", "", "", "", "", *(["10"] if column else []), "(read only)"]]
    for n, (given, family) in enumerate(names):
        lines.append([f"{family}, {given}", 4100 + n, f"S{n}", f"login{n}", "A", *(["5"] if column else []), "50"])
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows(lines)
    return path


def worksheet_of_moodle(folder: Path, names, delimiter: str = ",") -> Path:
    path = folder / "worksheet.csv"
    head = ["Identifier", "Full name", "Email address", "Status", "Grade", "Maximum Grade", "Feedback comments"]
    lines = [head]
    for n, (given, family) in enumerate(names):
        lines.append([f"Participant {70_000 + n}", f"{given} {family}", f"student{n}@uni.example", "Submitted", "",
                      "10.00", ""])  # fmt: skip
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(lines)
    return path


def test_moodles_number_is_another_in_the_next_assignment_and_the_identifier_is_not():
    assert identifier("Anna Schmidt_123456_assignsubmission_file_", "01_vanilla_kd") == identifier(
        "Anna Schmidt_987654_assignsubmission_file", "02_soft_targets")  # fmt: skip


def test_moodles_files_and_its_online_texts_of_one_student_are_one(tmp_path):
    files = {f"{moodle('Mona', 'Adel', 7)}/tiny.ipynb": text("Mona"),
             f"{moodle('Mona', 'Adel', 7, 'onlinetext')}/onlinetext.html": "<p>see the file</p>"}  # fmt: skip
    assert [by(one) for one in collected(zipped(tmp_path / "x.zip", files), tmp_path / "s")] == ["By Mona."]


def test_blind_marking_needs_the_worksheet(tmp_path):
    files = {f"Participant_{70_000 + n}_assignsubmission_file/tiny.ipynb": text(f"number {n}") for n in range(2)}
    path = zipped(tmp_path / "x.zip", files)
    with pytest.raises(ValueError, match="Participant_70000"):
        collected(path, tmp_path / "s")
    known = roster.read(worksheet_of_moodle(tmp_path, [("A", "B"), ("C", "D")], ";"))
    assert [(one.student, by(one)) for one in collected(path, tmp_path / "s2", known)] == sorted(
        (identifier(f"student{n}@uni.example"), f"By number {n}.") for n in range(2))  # fmt: skip


def test_a_worksheet_of_another_assignment_is_refused_and_not_read_by_names(tmp_path):
    known = roster.read(worksheet_of_moodle(tmp_path, [("Ann", "A"), ("Ben", "B")]))
    write(tmp_path / "in" / "Ann A_99999_assignsubmission_file" / "tiny.ipynb", solved())
    with pytest.raises(ValueError, match=r"worksheet\.csv is the worksheet of another assignment.*Ann A_99999"):
        collect(tmp_path / "in", "tiny", RELEASED, roster=known)


def test_a_worksheet_of_a_moodle_in_german_is_a_roster(tmp_path):
    path = tmp_path / "Bewertungen.csv"
    head = "ID;Vollständiger Name;E-Mail-Adresse;Status;Bewertung"
    path.write_text(f"{head}\nTeilnehmer/in70001;Jürg Müller;j@uzh.example;;\n", encoding="utf-8")
    known = roster.read(path)
    write(tmp_path / "in" / "Jürg Müller_70001_assignsubmission_file" / "tiny.ipynb", solved())
    [one] = collect(tmp_path / "in", "tiny", RELEASED, roster=known)
    assert one.student == identifier("j@uzh.example") and not one.notes
    lines = table(known.export("tiny", {one.student: 4.5}, 10))
    assert (lines[1][0], dict(zip(*lines, strict=True))["Bewertung"]) == ("Teilnehmer/in70001", "4.5")


def test_several_files_of_one_canvas_user_lie_beside_each_other_again(tmp_path):
    files = {canvas("Jane", "Doe", 4100, 900_000, "tiny.ipynb"): text("Jane"),
             canvas("Jane", "Doe", 4100, 900_001, "helper.py"): "x = 1"}  # fmt: skip
    found = collected(zipped(tmp_path / "x.zip", files), tmp_path / "s")
    assert len(found) == 1 and list(found[0].extras) == ["helper.py"] and by(found[0]) == "By Jane."


def test_of_blackboards_attempts_the_newest_counts(tmp_path):
    title = "Assignment_1_"
    files = {
        f"{title}jdoe_attempt_2024-05-03-09-00-00_tiny.ipynb": text("the second"),
        f"{title}jdoe_attempt_2024-05-03-09-00-00_data.csv": "1",
        f"{title}jdoe_attempt_2024-05-03-09-00-00.txt": "Name: Jane Doe (jdoe)",
        f"{title}jdoe_attempt_2024-05-02-09-00-00_tiny.ipynb": text("the first"),
        f"{title}jdoe_attempt_2024-05-02-09-00-00_old.csv": "0",
        f"{title}s_ida_attempt_2024-05-02-10-00-00_tiny.ipynb": text("Ida"),
    }  # fmt: skip
    found = {one.student: one for one in collected(zipped(tmp_path / "x.zip", files), tmp_path / "s")}
    assert list(found) == ["ida", "jdoe"] and list(found["jdoe"].extras) == ["data.csv"]
    assert by(found["jdoe"]) == "By the second." and "handed in 2 times" in found["jdoe"].notes[0]
    import datetime

    assert datetime.datetime.fromtimestamp(found["jdoe"].time) == datetime.datetime(2024, 5, 3, 9)


@pytest.mark.parametrize("names", [
    ("anna.ipynb", "anna/tiny.ipynb"), ("jdoe.ipynb", "jdoe_tiny.ipynb"), ("Zoe\u0308.ipynb", "Zoë.ipynb"),
    ("Kim_1_assignsubmission_file/tiny.ipynb", "Kim_2_assignsubmission_file/tiny.ipynb"),
    ("Kim_1_assignsubmission_file/tiny.ipynb", "Kim.ipynb"), ("a_x_attempt_2024-05-02-09-00-00_k.ipynb",
     "b_x_attempt_2024-05-02-09-00-00_k.ipynb"), ("group_101_2024_ben.ipynb", "group_101_2024_carl.ipynb"),
])  # fmt: skip
def test_what_cannot_be_told_apart_is_refused_by_name_before_anything_runs(names, tmp_path):
    for name in (*names, "other.ipynb"):
        write(tmp_path / "in" / name, solved())
    with pytest.raises(ValueError, match="whose are these") as told:
        collect(tmp_path / "in", "tiny", RELEASED)
    for name in names:
        assert name.split("/")[0] in str(told.value)
    assert "other" not in str(told.value).split(":")[0]


def test_names_that_only_look_alike_are_two_students_and_both_are_told(tmp_path):
    for name in ("Lee", "lee", "l.e.e"):
        write(tmp_path / "in" / f"{name}.ipynb", solved())
    found = collect(tmp_path / "in", "tiny", RELEASED)
    assert len({one.student for one in found}) == 3
    assert all("looks like that of another student" in one.notes[0] for one in found)


def test_an_identifier_cannot_be_had_by_calling_a_file_like_it():
    names = {"Zoë", "Lee", "王伟", "jdoe_41_900_x.ipynb"}
    for name in list(names):
        names |= {identifier(name), identifier(identifier(name))}
    assert len({identifier(name) for name in names}) == len(names)


# -- rosters


def test_a_roster_of_ones_own_says_who_is_who(tmp_path):
    people = "student\tname\tusername\nanna\tAnna Li\tali\nben\tBen Ott\tbott\n"
    (tmp_path / "class.csv").write_text(people, encoding="utf-16")
    known = roster.read(tmp_path / "class.csv")
    attempt = "x_bott_attempt_2024-05-02-09-00-00_k.ipynb"
    for name in ("Anna Li_5_assignsubmission_file/tiny.ipynb", attempt, "zed.ipynb"):
        write(tmp_path / "in" / name, solved())
    found = {one.student: one for one in collect(tmp_path / "in", "tiny", RELEASED, roster=known)}
    assert list(found) == ["anna", "ben", "zed"]
    assert found["zed"].notes == ["the roster does not name this student"] and not found["anna"].notes


def test_two_of_the_roster_with_one_name_are_not_guessed(tmp_path):
    (tmp_path / "class.csv").write_text("student,name\nli1,李芳\nli2,李芳\n", encoding="utf-8")
    write(tmp_path / "in" / "李芳.ipynb", solved())
    with pytest.raises(ValueError, match=r"whose is '李芳.ipynb'\? class.csv has 2 of this name: li1, li2"):
        collect(tmp_path / "in", "tiny", RELEASED, roster=roster.read(tmp_path / "class.csv"))


@pytest.mark.parametrize("content, why", [
    ("a,b\n1,2\n", "no column 'student'"), ("", "no column 'student'"),
    ("student\nx\nx\n", "calls two people the same: x"),
])  # fmt: skip
def test_what_is_no_roster_is_refused(content, why, tmp_path):
    (tmp_path / "class.csv").write_text(content)
    with pytest.raises(ValueError, match=why):
        roster.read(tmp_path / "class.csv")
    with pytest.raises(ValueError, match="cannot be read"):
        roster.read(tmp_path / "none.csv")


def table(made) -> list[list[str]]:
    return list(csv.reader(made[1].splitlines()))


def test_canvas_gets_its_own_columns_and_the_changed_rows_only(tmp_path):
    names = [("Ann", "A"), ("Ben", "B"), ("Cem", "C")]
    known = roster.read(gradebook_of_canvas(tmp_path, names, "tiny (991)"))
    made = known.export("tiny", {"login0": 5.0, "login1": 7.25}, 10)
    assert made[0].name == "tiny.canvas.csv" and table(made) == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "tiny (991)"],
        ["    Points Possible", "", "", "", "", "10"],
        ["B, Ben", "4101", "S1", "login1", "A", "7.25"],
    ]  # fmt: skip


def test_moodle_gets_its_worksheet_back_with_the_grades_of_who_handed_in(tmp_path):
    known = roster.read(worksheet_of_moodle(tmp_path, [("Ann", "A"), ("Ben", "B")], ";"))
    made = known.export("tiny", {known.people[1].student: 7.25}, 10)
    lines = table(made)
    assert made[0].name == "tiny.moodle.csv" and len(lines) == 2
    about = dict(zip(*lines, strict=True))
    assert (about["Identifier"], about["Email address"]) == ("Participant 70001", "student1@uni.example")
    assert about["Grade"] == "7.25"


def test_a_roster_of_no_lms_has_no_table_for_import(tmp_path):
    (tmp_path / "class.csv").write_text("student\nx\n")
    assert roster.read(tmp_path / "class.csv").export("tiny", {"x": 1.0}, 10) is None


# -- zips


def test_a_zip_of_a_student_is_unpacked_and_its_times_are_kept(tmp_path):
    inside = {"work/tiny.ipynb": text("Ida"), "work/data.csv": "1"}
    inner = zipped(tmp_path / "inner.zip", inside, (2024, 4, 1, 8, 0, 0))
    files = {"ida/all.zip": inner.read_bytes(), "ben.ipynb": text("Ben")}
    found = {one.student: one for one in collected(zipped(tmp_path / "x.zip", files), tmp_path / "s")}
    assert by(found["ida"]) == "By Ida." and list(found["ida"].extras) == ["data.csv"]
    assert found["ida"].time < found["ben"].time


def test_what_leads_out_of_a_zip_and_what_is_a_link_in_it_is_left_out(tmp_path):
    link = zipfile.ZipInfo("copier/tiny.ipynb")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("../out.txt", "x")
        archive.writestr("ben.ipynb", text("Ben"))
    with opened(tmp_path / "x.zip", tmp_path / "s") as (folder, left_out):
        assert [path.name for path in folder.iterdir()] == ["ben.ipynb"] and len(left_out) == 2
    assert not (tmp_path / "out.txt").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("files, why", [
    ([("a.ipynb", "1"), ("a.ipynb", "2")], "two files of the name a.ipynb"), (None, "is no zip that can be unpacked"),
])  # fmt: skip
def test_a_zip_that_cannot_be_trusted_is_refused(files, why, tmp_path):
    path = tmp_path / "x.zip"
    path.write_bytes(b"PK\x03\x04 no")
    if files:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files:
                archive.writestr(name, content)
    with pytest.raises(ValueError, match=why), opened(path, tmp_path / "s"):
        pass


def test_a_name_in_a_zip_that_does_not_say_that_it_is_utf8_is_read_as_that(tmp_path):
    files = {"Zoë_5_assignsubmission_file/tiny.ipynb": text("Zoë")}
    path = zipped(tmp_path / "x.zip", files)
    path.write_bytes(path.read_bytes().replace(b"\x00\x08\x00\x00", b"\x00\x00\x00\x00"))  # the flag
    assert [one.student for one in collected(path, tmp_path / "s")] == [identifier("Zoë")]


def test_a_name_that_no_encoding_can_write_is_a_name(tmp_path):
    name = os.fsdecode(b"\xff\xfe.ipynb")
    assert understood(Path(name)).student == identifier(name) != identifier(os.fsdecode(b"\xff\xfd.ipynb"))
    write(tmp_path / "in" / name, solved())
    [one] = collect(tmp_path / "in", "tiny", RELEASED)
    assert one.entries == ["\\udcff\\udcfe.ipynb"] and one.notebook


def test_a_zip_for_the_class_with_one_folder_around_it_is_that_folder(tmp_path):
    """macOS makes such a zip of a folder that was unpacked."""
    files = {f"submissions/{moodle(name, 'X', n)}/tiny.ipynb": text(name) for n, name in enumerate(("Ann", "Ben"), 7)}
    found = collected(zipped(tmp_path / "x.zip", files), tmp_path / "s")
    assert sorted(map(by, found)) == ["By Ann.", "By Ben."]


def test_a_folder_that_may_be_a_class_or_a_student_is_not_guessed(tmp_path):
    for name in ("ann", "ben"):
        write(tmp_path / "in" / "group A" / f"{name}.ipynb", text(name))
    with pytest.raises(ValueError, match=r"whose are these\? ann.ipynb and ben.ipynb lie in one folder, group A"):
        collect(tmp_path / "in", "tiny", RELEASED)
    assert len(collect(tmp_path / "in" / "group A", "tiny", RELEASED)) == 2
    write(tmp_path / "in" / "zed.ipynb", text("zed"))    # beside others it is a student's, who handed in twice
    assert len(collect(tmp_path / "in", "tiny", RELEASED)) == 2
    write(tmp_path / "in" / "more" / moodle("Ann", "X", 7) / "tiny.ipynb", text("Ann"))
    with pytest.raises(ValueError, match="more holds what is handed out for a class"):
        collect(tmp_path / "in", "tiny", RELEASED)


@pytest.mark.parametrize("names", [
    ("kd_01_3301234_anna.ipynb", "kd_01_3305678_ben.ipynb"), ("hw_2024_01_anna.ipynb", "hw_2024_01_ben.ipynb"),
])  # fmt: skip
def test_numbers_in_names_of_ones_own_are_not_canvas(names, tmp_path):
    for name in names:
        write(tmp_path / "in" / name, text(name))
    assert len(collect(tmp_path / "in", "tiny", RELEASED)) == 2


def test_two_notebooks_under_short_numbers_may_be_two_students_and_are_not_merged(tmp_path):
    for name in ("group_12_101_anna.ipynb", "group_12_102_ben.ipynb"):
        write(tmp_path / "in" / name, text(name))
    with pytest.raises(ValueError, match=r"whose are these\? group_12_101_anna.ipynb and group_12_102_ben.ipynb"):
        collect(tmp_path / "in", "tiny", RELEASED)


def test_of_two_attachments_the_one_with_the_larger_number_is_the_newest(tmp_path):
    for number, words in ((99_998, "old"), (100_003, "new")):
        path = tmp_path / "in" / canvas("Jane", "Doe", 4100, number, "tiny.ipynb")
        write(path, text(words))
        os.utime(path, (1_700_000_000 - number, 1_700_000_000 - number))    # as written by another program
    [one] = collect(tmp_path / "in", "tiny", RELEASED)
    assert by(one) == "By new." and "100003_tiny.ipynb is the newest and counts" in one.notes[0]


def test_of_two_notebooks_of_one_date_it_is_said_that_the_name_decided(tmp_path):
    files = {f"{moodle('Anna', 'A', 7)}/tiny{more}.ipynb": text(f"version{more}") for more in ("", " (1)")}
    [one] = collected(zipped(tmp_path / "x.zip", files), tmp_path / "s")
    assert "counts, the last by its name of those with one date" in one.notes[0]


@pytest.mark.parametrize("name", [
    canvas("Jane", "Doe", 4100, 900_000, "tiny.ipynb"), f"{moodle('Jane', 'Doe', 7)}/tiny.ipynb",
])  # fmt: skip
def test_a_download_does_not_date_what_is_in_it(name, tmp_path):
    [one] = collected(zipped(tmp_path / "x.zip", {name: text("Jane")}), tmp_path / "s")
    assert one.time is None and one.notes == []


@pytest.mark.parametrize("late", ["LATE_anon_abc12_992_tiny.ipynb", "anon_LATE_abc12_992_tiny.ipynb"])
def test_late_and_on_time_are_one_anonymous_student_and_late_is_said(late, tmp_path):
    assert identifier("anon_abc12_991_tiny.ipynb") == identifier(late)
    write(tmp_path / "in" / late, text("anon"))
    [one] = collect(tmp_path / "in", "tiny", RELEASED)
    assert one.notes == ["Canvas says that it was late"]


def test_a_login_with_a_line_in_it_is_not_taken_for_its_last_part(tmp_path):
    (tmp_path / "class.csv").write_text("username,name\njane_doe,Jane\ndoe,Dan\njohn_doe,John\n")
    for login in ("jane_doe", "john_doe", "doe"):
        write(tmp_path / "in" / f"HW 1_{login}_attempt_2024-05-03-09-00-00_tiny.ipynb", text(login))
    found = collect(tmp_path / "in", "tiny", RELEASED, roster=roster.read(tmp_path / "class.csv"))
    assert {one.student: by(one) for one in found} == {
        identifier(login): f"By {login}." for login in ("jane_doe", "john_doe", "doe")}


def test_a_number_of_moodle_beside_another_name_is_refused(tmp_path):
    """Of teams Moodle names the folder by the team and its number, which is a participant's, too."""
    known = roster.read(worksheet_of_moodle(tmp_path, [("Anna", "B"), ("Ben", "A")]))
    write(tmp_path / "in" / "Team A_70000_assignsubmission_file" / "tiny.ipynb", text("a team"))
    with pytest.raises(ValueError, match="has its number for Anna B, whose name is another"):
        collect(tmp_path / "in", "tiny", RELEASED, roster=known)


@pytest.mark.parametrize("header, chosen", [
    (["tiny quiz (990)", "tiny (991)"], "tiny (991)"), (["tiny_survey (990)", "Tiny (991)"], "Tiny (991)"),
    (["tiny quiz (990)"], "tiny"),
])  # fmt: skip
def test_marks_go_into_the_column_of_the_assignment_and_no_other(header, chosen, tmp_path):
    path = tmp_path / "canvas.csv"
    path.write_text(f"Student,ID,SIS Login ID,Section,{','.join(header)}\n\"Li, Ann\",4100,ann,A{',' * len(header)}\n")
    assert table(roster.read(path).export("tiny", {"ann": 7.5}, 10))[0][-1] == chosen
    path.write_text("Student,ID,SIS Login ID,Section,tiny (1),Tiny (2)\n\"Li, Ann\",4100,ann,A,,\n")
    with pytest.raises(ValueError, match="2 columns are called like tiny"):
        roster.read(path).export("tiny", {"ann": 7.5}, 10)


def test_whoever_is_excused_stays_so(tmp_path):
    path = gradebook_of_canvas(tmp_path, [("Ann", "A")], "tiny (991)")
    path.write_text(path.read_text(encoding="utf-8-sig").replace(",5,50", ",EX,50"), encoding="utf-8")
    assert len(table(roster.read(path).export("tiny", {"login0": 7.0}, 10))) == 2    # the head and the points possible


@pytest.mark.parametrize("make", [
    lambda folder: worksheet_of_moodle(folder, [("Ann", "A")]),
    lambda folder: gradebook_of_canvas(folder, [("Ann", "A")], "tiny (991)"),
])  # fmt: skip
def test_marks_of_another_scale_make_no_table(make, tmp_path):
    known = roster.read(make(tmp_path))
    with pytest.raises(ValueError, match=r"says that 10(\.00)? points are possible, and the assignment has 16"):
        known.export("tiny", {known.people[0].student: 16.0}, 16)


def test_the_worksheet_of_blind_marking_is_a_roster(tmp_path):
    path = tmp_path / "worksheet.csv"
    path.write_text("Identifier,Status,Grade,Maximum Grade\nParticipant 70001,Submitted,,10.00\n")
    write(tmp_path / "in" / "Participant_70001_assignsubmission_file" / "tiny.ipynb", text("somebody"))
    [one] = collect(tmp_path / "in", "tiny", RELEASED, roster=(known := roster.read(path)))
    assert one.student == known.people[0].student and one.notes == []
    assert dict(zip(*table(known.export("tiny", {one.student: 9.0}, 10)), strict=True))["Grade"] == "9"


def test_a_gradebook_of_canvas_with_names_in_two_columns_is_canvas(tmp_path):
    path = tmp_path / "canvas.csv"
    path.write_text("LastName,FirstName,ID,SIS User ID,SIS Login ID,Section,tiny (991)\n"
                    "Points Possible,,,,,,10\nDoe,Jane,4100,S1,jane,A,\n")
    known = roster.read(path)
    write(tmp_path / "in" / canvas("Jane", "Doe", 4100, 900_000, "tiny.ipynb"), text("Jane"))
    [one] = collect(tmp_path / "in", "tiny", RELEASED, roster=known)
    assert one.student == "jane" and table(known.export("tiny", {"jane": 9.0}, 10))[1:] == [
        ["Points Possible", "", "", "", "", "", "10"], ["Doe", "Jane", "4100", "S1", "jane", "A", "9"]]


def test_a_roster_from_excel_keeps_its_names(tmp_path, capsys):
    (tmp_path / "class.csv").write_bytes("student;name\njm;Jürg Müller\n".encode("cp1252"))
    assert "Jürg Müller" in roster.read(tmp_path / "class.csv").people[0].names
    assert "class.csv is not in UTF-8: it was read as Windows-1252" in capsys.readouterr().err


def test_a_number_in_a_roster_of_ones_own_is_nobodys_identifier(tmp_path):
    (tmp_path / "class.csv").write_text("student,id,name\njdoe,4711,Jane Doe\n")
    known = roster.read(tmp_path / "class.csv")
    assert known.people[0].student == "jdoe" and {"Jane Doe", "jdoe"} <= known.people[0].names
    assert known.export("tiny", {"jdoe": 5.0}, 10) is None


def test_what_is_odd_about_a_zip_takes_nothing_from_the_notebook_beside_it(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("a.csv", "1")
        archive.writestr("a.csv", "2")
    files = {"anna/tiny.ipynb": text("Anna"), "anna/data.zip": (tmp_path / "data.zip").read_bytes()}
    found = {one.student: one for one in collected(zipped(tmp_path / "x.zip", {**files, "b.ipynb": text("B")}),
                                                   tmp_path / "s")}
    assert by(found["anna"]) == "By Anna." and "two files of the name a.csv" in found["anna"].notes[0]


@pytest.mark.parametrize("names", [
    ("anna/tiny.ipynb", "anna/data.zip"), ("anna/work/tiny.ipynb", "anna/work/data.zip"),
    (canvas("Anna", "Li", 4100, 900_000, "tiny.ipynb"), canvas("Anna", "Li", 4100, 900_001, "data.zip")),
    (f"{moodle('Anna', 'Li', 7)}/tiny.ipynb", f"{moodle('Anna', 'Li', 7)}/data.zip"),
])  # fmt: skip
def test_what_is_in_a_zip_lies_beside_the_notebook_that_the_zip_lies_beside(names, tmp_path):
    inner = zipped(tmp_path / "inner.zip", {"data.csv": "1", "more/helper.py": "x = 1", "__MACOSX/._data.csv": "x"})
    files = {names[0]: text("Anna"), names[1]: inner.read_bytes(), "ben.ipynb": text("Ben")}
    found = collected(zipped(tmp_path / "x.zip", files), tmp_path / "s")
    [one] = [one for one in found if by(one) == "By Anna."]
    assert {name: path.read_text() for name, path in one.extras.items()} == {"data.csv": "1", "more/helper.py": "x = 1"}


def test_the_zips_of_a_student_have_one_limit_together(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[collect.__module__], "EXTRA", 1000)
    monkeypatch.setattr(notebook, "LARGEST", 30_000)
    inner = zipped(tmp_path / "inner.zip", {"zeros": b"0" * 40_000}).read_bytes()
    files = {"anna/tiny.ipynb": text("Anna"), "anna/1.zip": inner, "anna/2.zip": inner, "ben.ipynb": text("Ben")}
    found = collected(zipped(tmp_path / "x.zip", files), tmp_path / "s")
    [one] = [one for one in found if by(one) == "By Anna."]
    assert sum("holds more than" in note for note in one.notes) == 1
