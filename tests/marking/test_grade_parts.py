"""The steps of grading by themselves: names, mending, verdicts, tables and pages. No sandbox, no nbgrader."""

import base64
import csv
import io
import json
import os
import random
import string
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from grading.course import DOUBLE, answered, cell, own, solved, write

from kdcourse.marking.grade import base, verdicts
from kdcourse.marking.grade.collect import EXTRAS, Submission, collect, identifier
from kdcourse.marking.grade.safe_html import safe_html, safe_markdown
from kdcourse.marking.grade.similar import similar
from kdcourse.marking.grade.table import table
from kdcourse.marking.notebook import mark, mend
from kdcourse.marking.sandbox import Execution

RELEASED = solved()


# -- who handed in


@pytest.mark.parametrize("names", [
    ("jdoe", "jdoe.ipynb", "jdoe_01_vanilla_kd.ipynb", "01_vanilla_kd-jdoe", "01_Vanilla_KD jdoe", "jdoe.ipynb.txt"),
    ("Anna Müller", "Anna  Mu\u0308ller", "Anna Müller - 01_vanilla_kd"),
    ("Zoë_123456_assignsubmission_file_", "Zoë_98_assignsubmission_file_My work.ipynb", "Zoë",
     "Zoë_98_assignsubmission_onlinetext"),
    ("doejane_12345_678901_kd.ipynb", "doejane_LATE_12345_678999_kd-1.ipynb", "doejane_12345_text.html"),
    ("HW 1_s123_attempt_2024-05-02-12-30-00_kd.ipynb", "Two_s123_attempt_2024-06-02-12-30-00.txt", "s123"),
])  # fmt: skip
def test_one_student_has_one_identifier_under_all_these_names(names):
    assert len({identifier(name, "01_vanilla_kd") for name in names}) == 1


def test_different_students_have_different_identifiers():
    names = [
        "Zoe",
        "Zoë",
        "Zoé",
        "zo e",
        "zo-e",
        "zo_e",
        "王伟",
        "王芳",
        "Ωmega",
        "a" * 50,
        "a" * 51,
        "anna (1)",
        "anna (2)",
        "anna",
    ]
    names += [
        "Kim Lee_111111_assignsubmission_file_",
        "kim_111111_222222_kd.ipynb",
        "kim_111112_222222_kd.ipynb",
        "Lee",
        "lee",
        "LEE",
        "john.smith",
        "john",
        "Аnna",
        "zoe-2752",
        identifier("Zoe"),
        identifier(identifier("Zoe")),
        "🎓",
        "../x",
        "x",
        "...",
        "01_vanilla_kd",
    ]
    assert len({identifier(name, "01_vanilla_kd") for name in names}) == len(names)


def test_an_identifier_is_safe_as_the_name_of_a_folder():
    draw = random.Random(0)
    for _ in range(300):
        name = "".join(draw.choices(string.printable + "äß/\\..*?[]{}%\x00王🎓", k=draw.randrange(1, 60)))
        found = identifier(name)
        assert set(found) <= set(string.ascii_lowercase + string.digits + "-") and 0 < len(found) <= 45


# -- what they handed in


def hand_in(folder: Path, **names) -> dict[str, Submission]:
    for name, content in names.items():
        write(folder / "in" / name.replace("__", "/").replace("DOT", "."), content)
    return {one.student: one for one in collect(folder / "in", "tiny", RELEASED)}


def test_files_and_folders_are_collected_and_system_files_are_not(tmp_path):
    found = hand_in(tmp_path, annaDOTipynb=RELEASED, ben__x__workDOTipynb=RELEASED, DOTDS_Store="x", __MACOSX__x="x",
                    ben__dataDOTcsv="1", ben__x__helpDOTpy="y", ben__x__kdcourse__trainDOTpy="no")  # fmt: skip
    assert list(found) == ["anna", "ben"]
    assert list(found["ben"].extras) == ["help.py"] and not found["ben"].rejected


def test_a_notebook_with_another_ending_is_found_if_there_is_no_other(tmp_path):
    assert hand_in(tmp_path, annaDOTipynbDOTtxt=RELEASED)["anna"].notebook


@pytest.mark.parametrize("content, why", [
    ("", "empty"), ("{}", "not a notebook"), ("[1]", "not a notebook"), ('{"nbformat": 4}', "not a notebook"),
    ("{" * 9000, "not a notebook"), ('{"nbformat": 4, "cells": 3}', "not a notebook"), ("PK\x03\x04", "not a notebook"),
    ('{"nbformat": 4, "cells": []}', "another notebook"), ('{"nbformat": 2, "worksheets": [3]}', "not a notebook"),
    ("[" * 2_000_001, "larger than"), ('{"nbformat": NaN, "cells": []}', "not a notebook"),
])  # fmt: skip
def test_what_is_no_notebook_is_rejected_with_the_reason(content, why, tmp_path):
    submission = hand_in(tmp_path, annaDOTipynb=content)["anna"]
    assert submission.notebook is None and why in submission.rejected


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a system with links and pipes")
def test_links_and_pipes_are_not_followed(tmp_path):
    secret = tmp_path / "secret.ipynb"
    write(secret, RELEASED)
    folder = tmp_path / "in" / "anna"
    folder.mkdir(parents=True)
    (folder / "link.ipynb").symlink_to(secret)
    (folder / "data").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.ipynb")
    (tmp_path / "in" / "ben.ipynb").symlink_to(secret)
    found = {one.student: one for one in collect(tmp_path / "in", "tiny", RELEASED)}
    assert [one.notebook for one in found.values()] == [None] * len(found) and all(
        one.rejected for one in found.values()
    )


def test_another_notebook_is_none_whatever_stands_in_it(tmp_path):
    cells = [own("1 + 1"), {"cell_type": "markdown", "metadata": {}, "source": "An essay."}]
    submission = hand_in(tmp_path, annaDOTipynb={**RELEASED, "cells": cells})["anna"]
    assert submission.notebook is None and "another notebook" in submission.rejected


ROOT = Path(__file__).parents[2]


def given_out(folder: str, number: str) -> dict:
    return json.loads(next((ROOT / folder).rglob(f"{number}_*.ipynb")).read_text(encoding="utf-8"))


@pytest.mark.parametrize("folder, number", [
    ("exercises", "02"), ("exercises", "05"), ("exercises", "08"), ("exercises", "11"), ("notebooks", "00"),
    ("notebooks", "01"), ("notebooks", "08"),
])  # fmt: skip
def test_another_exercise_or_a_lesson_is_another_notebook_and_does_not_count_for_the_newest(folder, number, tmp_path):
    released = given_out("exercises", "01")
    answer = next(cell for cell in released["cells"] if mark(cell).get("solution"))
    answer["source"] = "# mine"
    write(tmp_path / "in" / "anna" / "mine.ipynb", released)
    write(tmp_path / "in" / "anna" / "newer.ipynb", given_out(folder, number))
    write(tmp_path / "in" / "ben.ipynb", given_out(folder, number))
    os.utime(tmp_path / "in" / "anna" / "mine.ipynb", (1_700_000_000, 1_700_000_000))
    anna, ben = collect(tmp_path / "in", "01_vanilla_kd", given_out("exercises", "01"))
    assert "# mine" in json.dumps(anna.notebook) and not anna.rejected
    assert ben.notebook is None and "another notebook" in ben.rejected


@pytest.mark.parametrize("spoil", [
    lambda cells: cells[: len(cells) // 3], lambda cells: [one for one in cells if mark(one).get("solution")],
    lambda cells: [{**one, "metadata": {}} for one in cells],
    lambda cells: [{**one, "source": "".join(one["source"]).replace("\n", "\r\n")} for one in cells],
    lambda cells: [{**one, "source": "mine"} if n % 2 else one for n, one in enumerate(cells)],
])  # fmt: skip
def test_an_exercise_that_its_student_has_cut_or_changed_is_the_exercise_still(spoil, tmp_path):
    released = given_out("exercises", "08")
    write(tmp_path / "in" / "anna.ipynb", {**released, "cells": spoil(released["cells"])})
    [one] = collect(tmp_path / "in", "08_what_was_learned", released)
    assert one.notebook and not one.rejected


def test_too_many_other_files_are_left_out_and_it_is_said(tmp_path):
    for number in range(EXTRAS + 1):
        write(tmp_path / "in" / "anna" / f"{number}.txt", "x")
    submission = hand_in(tmp_path, anna__workDOTipynb=RELEASED)["anna"]
    assert submission.extras == {} and "left out" in submission.notes[0]


# -- mending


def test_an_untouched_notebook_needs_no_mending_and_an_answered_one_keeps_its_answers():
    for notebook in (RELEASED, answered(RELEASED, why="Mine.", before="x = 1")):
        mended, notes = mend(notebook, RELEASED)
        assert notes == []
        assert [text(one) for one in mended["cells"]] == [text(one) for one in notebook["cells"]]
        nbformat.validate(nbformat.from_dict(mended))


def text(one: dict) -> str:
    return "".join(one["source"])


def test_mending_twice_is_mending_once():
    broken = {**RELEASED, "cells": [own("1"), *RELEASED["cells"][3:], RELEASED["cells"][3], own("2")]}
    once, notes = mend(broken, RELEASED)
    assert notes and mend(once, RELEASED) == (once, [])


@pytest.mark.parametrize("seed", range(30))
def test_however_cells_are_deleted_copied_and_moved_each_of_the_assignments_is_there_once(seed):
    draw = random.Random(seed)
    cells = [*draw.choices(answered(RELEASED)["cells"], k=draw.randrange(14)), own("x")]
    mended, _ = mend({**RELEASED, "cells": json.loads(json.dumps(cells))}, RELEASED)
    marks = [one["metadata"]["nbgrader"] for one in mended["cells"] if "nbgrader" in one["metadata"]]
    names = [mark["grade_id"] for mark in marks]
    assert len(names) == len(set(names)) and {"setup", "double", "norm", "why", "goodbye"} <= set(names)
    assert marks == [cell(RELEASED, name)["metadata"]["nbgrader"] for name in names]
    assert all(
        text(cell(mended, name)) == text(cell(RELEASED, name)) for name in ("setup", "double", "norm", "goodbye")
    )
    assert len({one["id"] for one in mended["cells"]}) == len(mended["cells"])
    nbformat.validate(nbformat.from_dict(mended))


def test_a_check_that_was_deleted_comes_back_after_the_answer_wherever_that_went():
    cells = [one for one in answered(RELEASED)["cells"] if one["id"] not in ("double-answer", "double")]
    mended, _ = mend({**RELEASED, "cells": [cells[0], cells[1], own(DOUBLE), *cells[2:]]}, RELEASED)
    sources = [text(one) for one in mended["cells"]]
    assert sources.index(DOUBLE) < sources.index("checks.double(double)") < sources.index("checks.norm(norm)")


def test_the_parts_of_a_written_answer_are_joined_and_an_untouched_copy_is_none():
    why = cell(RELEASED, "why")
    parts = [{**why, "source": source} for source in ("One.", why["source"], "Two.")]
    mended, notes = mend({**RELEASED, "cells": [*RELEASED["cells"][:6], *parts]}, RELEASED)
    assert text(cell(mended, "why")) == "One.\n\nTwo." and "the parts were joined" in notes[0]


def test_pictures_in_an_answer_are_kept_and_nothing_else_that_is_attached():
    attached = {
        "a.png": {"image/png": "iVBORw0KGgo="},
        "b.svg": {"image/svg+xml": "PHN2Zz4="},
        "c": {"image/png": "<script>"},
        "d": 3,
    }
    notebook = answered(RELEASED)
    cell(notebook, "why")["attachments"] = attached
    kept = cell(mend(notebook, RELEASED)[0], "why")["attachments"]
    assert kept == {"a.png": attached["a.png"]}


def test_a_picture_of_the_exercises_own_is_no_change_and_takes_no_room():
    picture = base64.b64encode(bytes(9_000_000)).decode()
    given = json.loads(json.dumps(RELEASED))
    cell(given, "goodbye")["source"] = f"![](data:image/png;base64,{picture})"
    mended, notes = mend(answered(given, why=f"Mine: ![](data:image/png;base64,{picture[:4_000_000]})"), given)
    assert notes == []
    assert [len(data["image/png"]) for data in cell(mended, "why")["attachments"].values()] == [4_000_000]


def test_two_pictures_of_one_name_in_a_split_answer_are_both_kept():
    why, pictures = cell(RELEASED, "why"), [base64.b64encode(bytes([n] * 6)).decode() for n in (1, 2)]
    parts = [{**why, "source": f"{n} ![](attachment:image.png)", "attachments": {"image.png": {"image/png": one}}}
             for n, one in enumerate(pictures)]  # fmt: skip
    found = cell(mend({**RELEASED, "cells": [*RELEASED["cells"][:6], *parts]}, RELEASED)[0], "why")
    assert {name: data["image/png"] for name, data in found["attachments"].items()} == {
        "image.png": pictures[0], "1-image.png": pictures[1]}  # fmt: skip
    assert text(found) == "0 ![](attachment:image.png)\n\n1 ![](attachment:1-image.png)"


@pytest.mark.parametrize("junk", [
    None, 3, "x", {}, {"cell_type": "code"}, {"cell_type": "code", "source": {}, "metadata": []},
    {"cell_type": "markdown", "source": ["a", 1], "metadata": {"nbgrader": []}},
    {"cell_type": "code", "id": [], "source": "\ud800", "metadata": {"nbgrader": {"grade_id": {}}}},
])  # fmt: skip
def test_a_cell_that_is_none_harms_no_other(junk):
    mended, _ = mend({**RELEASED, "cells": [junk, *RELEASED["cells"]]}, RELEASED)
    assert [text(one) for one in mended["cells"]][-8:] == [text(one) for one in RELEASED["cells"]]
    json.dumps(mended).encode()


# -- verdicts


def verdict(share, message="because"):
    return lambda name, path: SimpleNamespace(share=share, message=message)


def scored(share, outputs=(), folder=None, rejected="", recorded=True):
    notebook = mend(answered(RELEASED), RELEASED)[0]
    index = notebook["cells"].index(cell(notebook, "double"))
    execution = Execution({index: list(outputs)})
    if recorded:
        (folder / "double.safetensors").write_bytes(b"x")
    verdicts.enter(notebook, execution)
    given = verdicts.score(notebook, execution, verdict(share), folder, rejected)
    return given["double"], cell(notebook, "double")["outputs"]


@pytest.mark.parametrize("share, points", [
    (1, 2), (0, 0), (0.5, 1), (2, 2), (1000.0, 2), (-1, 0), (float("nan"), 0), (float("inf"), 2), (True, 2), (False, 0),
])  # fmt: skip
def test_the_points_are_a_plain_number_between_none_and_all(share, points, tmp_path):
    from nbgrader.utils import determine_grade

    found, outputs = scored(share, folder=tmp_path)
    one = nbformat.from_dict({**cell(RELEASED, "double"), "outputs": outputs})
    assert (found["points"], determine_grade(one)) == (points, (points, 2))


@pytest.mark.parametrize("output", [
    {"output_type": "execute_result", "data": {"text/plain": "2"}, "metadata": {}, "execution_count": 1},
    {"output_type": "execute_result", "data": {"text/plain": "False"}, "metadata": {}, "execution_count": 1},
    {"output_type": "stream", "name": "stderr", "text": "a warning"},
    {"output_type": "error", "ename": "E", "evalue": "", "traceback": []},
])  # fmt: skip
def test_nothing_that_the_cell_shows_changes_its_score(output, tmp_path):
    assert scored(0.5, [output] * 3, tmp_path) == scored(0.5, [], tmp_path)


def test_what_was_not_recorded_or_not_accepted_scores_nothing_and_says_why(tmp_path):
    error = {"output_type": "error", "ename": "NameError", "evalue": "name \x1b[31m'f'\x1b[0m", "traceback": []}
    assert (
        scored(1, [error], tmp_path, recorded=False)[0]["message"]
        == "nothing was recorded to judge: NameError: name 'f'"
    )
    found = scored(1, folder=tmp_path, rejected="it is an essay")[0]
    assert (found["points"], found["message"]) == (0, "it is an essay")


def test_a_note_is_shown_as_it_is_and_not_as_markdown():
    notebook = {"cells": []}
    verdicts.announce(notebook, ["a <b>bold</b> *star* [link](javascript:x) `code`"])
    html = safe_markdown({}, notebook["cells"][0]["source"])
    assert "a &lt;b&gt;bold&lt;/b&gt; *star* [link](javascript:x) `code`" in html


# -- pages and tables


@pytest.mark.parametrize("source", [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[x](javascript:alert(1))", "[x](JaVa&#115;cript:x())",
    "[x](data:text/html;base64,PHNjcmlwdD4=)", "<iframe src='//x'></iframe>", "<a href=' java\nscript:alert(1)'>x</a>",
    "<form action=//x><input></form>", "<style>body{}</style>", "<svg onload=alert(1)>",
    "<math><a xlink:href=javascript:x>", "$\\href{javascript:alert(1)}{x}$",
    "$$\\require{html}\\style{color:red}{x}$$", "<p style='position:fixed'>x</p>",
    "<base href=//x>", "<meta http-equiv=refresh content=0>", "<object data=x>", "![x](data:text/html;base64,xx)",
    "[a]: javascript:alert(1)\n\n[a]", "<div><script>", "`<script>`", "```\n<script>alert(1)</script>\n```",
])  # fmt: skip
def test_no_markup_of_a_students_can_act(source):
    import bs4

    soup = bs4.BeautifulSoup(safe_markdown({}, source), "html.parser")
    names = {tag.name for tag in soup.find_all(True)}
    assert not names & {"script", "style", "iframe", "form", "input", "svg", "math", "base", "meta", "object"}
    for tag in soup.find_all(True):
        assert not [key for key in tag.attrs if key.startswith("on") or key == "style"]
        for value in (tag.get("href", ""), tag.get("src", "")):
            assert not "".join(value.split()).lower().startswith(("javascript", "data:text", "//"))
    assert not any(command in soup.text for command in ("\\href", "\\require", "\\style"))


def test_what_an_answer_needs_is_shown():
    source = "**bold** and $a < b$, `x < y`\n\n| a |\n|---|\n| 1 |\n\n![plot](attachment:p.png) ![gone](attachment:no.png)\n\n[doc](https://x.org)"
    html = safe_markdown({"cell": {"attachments": {"p.png": {"image/png": "iVBORw0KGgo="}}}}, source)
    for part in (
        "<strong>bold</strong>",
        "$a &lt; b$",
        "<td>1</td>",
        'src="data:image/png;base64,iVBORw0KGgo="',
        'href="https://x.org"',
    ):
        assert part in html
    assert safe_html("<b>x</b>") == "<b>x</b>"


def test_the_table_is_sorted_complete_and_free_of_formulas():
    cells = {"double": score(2), "why": score(None, needs=True), "essay": score(0, manual=3.5)}
    row = {"student": "anna", "name": "=cmd()", "late": 9000, "cells": cells,
           "verdicts": {"double": {"message": "-1\nand more"}}, "total": 5.5, "max": 10.0,
           "notes": ["one", "@two"], "seen": "2024-05-02 12:00 UTC"}  # fmt: skip
    lines = list(csv.reader(io.StringIO(table([row], ("double",)))))
    assert dict(zip(*lines, strict=True)) == {
        "student": "anna", "handed in as": "'=cmd()", "double points": "2", "double message": "'-1 and more",
        "essay points": "3.5", "why points": "", "automatic": "2", "by hand": "3.5", "total": "5.5",
        "maximum": "10", "to mark by hand": "why",
        "hours late": "2.5", "first seen": "2024-05-02 12:00 UTC", "notes": "one; '@two",
    }  # fmt: skip


def score(auto, *, manual=None, needs=False) -> dict:
    return {
        "auto": auto,
        "manual": manual,
        "max": 5.0,
        "open": needs,
        "score": manual if manual is not None else auto or 0,
    }


def test_a_digest_tells_apart_what_is_cut_differently():
    assert len({base.digest("ab", "c"), base.digest("a", "bc"), base.digest("abc"), base.digest("ab", b"c", "")}) == 4
    assert base.digest("a") == base.digest(b"a")


def test_all_threads_of_the_first_call_draw_from_one_secret(tmp_path, monkeypatch):
    place, together, made = base.Place(tmp_path, "tiny"), threading.Barrier(4), []

    def slowly(n):
        made.append(n)
        time.sleep(0.05)
        return os.urandom(n)

    monkeypatch.setattr(base.secrets, "token_bytes", slowly)
    with ThreadPoolExecutor(4) as pool:
        drawn = {*pool.map(lambda _: (together.wait(), place.secret())[1], range(4))}
    assert drawn == {(tmp_path / "grading" / "secret").read_bytes()} and made == [32]


# -- who wrote alike


def essay(seed: int, words: int = 120) -> str:
    draw = random.Random(seed)
    return " ".join("".join(draw.choices(string.ascii_lowercase, k=draw.randrange(3, 9))) for _ in range(words))


def test_pairs_that_wrote_alike_are_listed_and_others_are_not():
    copied = essay(1).upper().replace(" ", "\n", 20) + " " + essay(9, 40)
    long = "def norm(x):\n" + "\n".join(f"    y{n} = x.abs().sum() * {n} + {n * n} - x[{n}]" for n in range(9))
    renamed = long.replace("y", "total").replace("    total0", "    # mine\n    total0")
    hand_ins = {
        "anna": answered(RELEASED, why=essay(1), norm=long), "ben": answered(RELEASED, why=copied),
        "carl": answered(RELEASED, why=essay(2), norm=renamed), "dora": answered(RELEASED, why=essay(3)),
    }  # fmt: skip
    found = {(one, other, kind) for _, _, one, other, kind in similar(hand_ins, RELEASED)}
    assert found == {("anna", "ben", "text"), ("anna", "carl", "code")}
    alone = {name: hand_ins[name] for name in ("ben", "carl", "dora")}
    assert similar(alone, RELEASED) == []


def test_what_the_exercise_gave_and_what_many_wrote_makes_nobody_alike():
    given = json.loads(json.dumps(RELEASED))
    cell(given, "why")["source"] = essay(4)
    assert similar({name: answered(given, why=essay(4)) for name in "ab"}, given) == []
    assert similar({name: answered(RELEASED, why=essay(5)) for name in "abcdef"}, RELEASED) == []
    assert len(similar({name: answered(RELEASED, why=essay(5)) for name in "ab"}, RELEASED)) == 1


# -- what every table keeps text


@pytest.mark.parametrize("value", [
    "=1+1", "  =1", "+1;x", "@a", "-1+2", "Bob;=HYPERLINK(1)", "Bob; \"=x", "a\t=1", "x;-1", "\n=1", "\ufeff=1", "＝1",
    "a|=1", "b;'=1",
])  # fmt: skip
def test_no_cell_is_a_formula_whichever_separator_a_spreadsheet_takes(value):
    found = base.safe(value)
    for separator in ";\t|,":
        for part in found.split(separator):
            assert not part.strip(" \"").startswith(("=", "+", "@", "-", "＝"))


@pytest.mark.parametrize("value", ["2.5", "-1", "anna", "a=b", "loss is 0.5, -1 was expected", "x - y"])
def test_a_cell_that_is_harmless_stays_as_it_is(value):
    assert base.safe(value) == value


def test_a_name_is_shown_without_what_steers_a_terminal_or_turns_the_writing():
    assert base.shown("Zo\u00eb 王伟") == "Zo\u00eb 王伟"
    assert base.shown("a\x1b[31m\u202eb\udcff\n") == "a\\x1b[31m\\u202eb\\udcff\\n"
