"""A prediction is committed once, kept beside a worksheet, shown beside the measurement, and changes nothing else."""

import io
import json

import pytest
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from kdcourse.widgets import Prediction

QUESTION = "How many of 100 test images will student A get right?"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def press(prediction, value):
    """What is told when the button is clicked with this in the field: the page sends both in one message."""
    heard = prediction.front.heard
    prediction.front._handle_custom_msg({"answer": value}, [])
    assert prediction.front.heard == heard + 1  # by which the page knows that it was heard, whatever was told
    return prediction.front.told


def test_a_number_is_committed_by_its_button_and_can_then_not_be_changed():
    prediction = Prediction(QUESTION, unit="%")
    assert "Committed: 72.5 %." in press(prediction, " 72,5 % ")
    assert prediction.committed == 72.5 and prediction.front.committed == "72.5"
    with pytest.raises(ValueError, match=r"committed to 72\.5 %; a prediction is made once"):
        prediction.commit(90)
    assert prediction.committed == 72.5


@pytest.mark.parametrize("text", ["", "many", "nan", "inf", "1e999", "3 or 4"])
def test_what_is_no_number_is_told_and_not_committed(text):
    prediction = Prediction(QUESTION)
    assert "write a number" in press(prediction, text)
    assert prediction.committed is None and not prediction.front.committed


def test_a_choice_is_one_of_those_offered(capsys):
    prediction = Prediction("Which is first?", choices=["A", "B <b>"])
    assert press(prediction, "") == "choose one of: A; B <b>"
    press(prediction, "B <b>")
    prediction.beside("A")
    prediction.beside("B <b>")
    assert capsys.readouterr().out == ("You predicted: B <b>. Measured: A (not as predicted).\n"
                                       "You predicted: B <b>. Measured: B <b> (as predicted).\n")


def test_unanswered_it_prints_the_same_line_whatever_was_measured(capsys):
    prediction = Prediction(QUESTION, unit="%")
    prediction.beside(70.0)
    prediction.beside(71.3)
    first, second = capsys.readouterr().out.splitlines()
    assert first == second == f"No prediction was committed to: {QUESTION}"


def test_both_numbers_and_their_distance_are_shown_side_by_side(capsys):
    prediction = Prediction(QUESTION, unit="%")
    prediction.commit(60)
    prediction.beside(71.26)
    assert capsys.readouterr().out == "You predicted 60 %; measured 71.3 %, 11.3 points away.\n"


@pytest.mark.parametrize(("unit", "committed", "measured", "line"), [
    ("", "0.76", 0.8043, "You predicted 0.76; measured 0.8, 0.04 away."),
    ("", "0.8", 0.8449, "You predicted 0.8; measured 0.84, 0.04 away."),
    ("points", "0.25", -0.01, "You predicted 0.25 points; measured -0.01 points, 0.26 points away."),
    ("points", "\N{MINUS SIGN}0.5 points", -0.0, "You predicted -0.5 points; measured 0 points, 0.5 points away."),
    ("seeds", "5 seeds", 6, "You predicted 5 seeds; measured 6 seeds, 1 seeds away."),
    ("%", "100", 0, "You predicted 100 %; measured 0 %, 100 points away."),
])
def test_an_answer_may_have_its_unit_and_small_numbers_keep_their_digits(unit, committed, measured, line, capsys):
    prediction = Prediction(QUESTION, unit=unit)
    assert press(prediction, committed).startswith("Committed")
    prediction.beside(measured)
    assert capsys.readouterr().out == f"{line}\n"


@pytest.mark.parametrize(("unit", "text", "told"), [
    ("%", "725", "a percentage from 0 to 100; 725 is none"), ("%", "-5 %", "a percentage from 0 to 100"),
    ("points", "10 %", "a number of points is asked for, and not a share of a hundred: 10, say"),
    ("points", "5 seeds", "write a number"),
])
def test_a_number_that_cannot_be_meant_is_asked_about_before_it_stays(unit, text, told):
    prediction = Prediction(QUESTION, unit=unit)
    assert told in press(prediction, text) and prediction.committed is None


def test_what_is_committed_where_a_question_is_asked_once_more_counts_for_both(folder, capsys):
    (folder / "predictions.json").write_text("{}")
    first, second = Prediction(QUESTION, unit="%"), Prediction(QUESTION, unit="%")
    press(first, "12")
    assert "To begin again, delete predictions.json" in press(second, "15")
    second.beside(12)
    assert capsys.readouterr().out == "You predicted 12 %; measured 12 %, 0 points away.\n"


def test_beside_a_worksheet_it_is_there_again_after_the_kernel_was_started_anew(folder):
    (folder / "predictions.json").write_text("{}")
    Prediction(QUESTION, unit="%").commit(60)
    Prediction("Which?", choices=["A", "B"]).commit("A")
    assert json.loads((folder / "predictions.json").read_text()) == {QUESTION: 60.0, "Which?": "A"}
    again = Prediction(QUESTION, unit="%")
    assert again.committed == 60 and again.front.committed == "60"
    assert Prediction("Another question?").committed is None
    assert Prediction("Which?", choices=["B", "C"]).committed is None      # the choices have changed since


def test_elsewhere_nothing_is_written(folder):
    Prediction(QUESTION).commit(60)
    assert list(folder.iterdir()) == [] and Prediction(QUESTION).committed is None


@pytest.mark.parametrize("content", ["", "[]", "{", '"text"'])
def test_a_damaged_file_is_no_obstacle(folder, content):
    (folder / "predictions.json").write_text(content)
    prediction = Prediction(QUESTION)
    prediction.commit(3)
    assert json.loads((folder / "predictions.json").read_text()) == {QUESTION: 3.0}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252"])
def test_what_another_program_saved_in_another_encoding_is_kept(folder, encoding):
    kept = {"Où est-ce ?": 3.0, QUESTION: 60.0}
    (folder / "predictions.json").write_bytes(json.dumps(kept, ensure_ascii=False).encode(encoding))
    assert Prediction(QUESTION).committed == 60.0
    press(Prediction("Another?"), "5")
    assert json.loads((folder / "predictions.json").read_text(encoding="utf-8")) == {**kept, "Another?": 5.0}


def test_a_damaged_file_is_put_aside_and_not_written_over(folder):
    (folder / "predictions.json").write_text('{"Q1": 3.0, "Q2": ')
    press(Prediction(QUESTION), "5")
    assert (folder / "predictions.damaged.json").read_text() == '{"Q1": 3.0, "Q2": '
    assert json.loads((folder / "predictions.json").read_text()) == {QUESTION: 5.0}


def test_what_another_open_notebook_has_committed_stays(folder):
    (folder / "predictions.json").write_text("{}")
    one, other = Prediction(QUESTION, unit="%"), Prediction(QUESTION, unit="%")
    press(one, "60")
    assert "you have committed to 60 %" in press(other, "70") and other.committed is None
    assert "Committed: 60 %." in press(other, "60")
    assert json.loads((folder / "predictions.json").read_text()) == {QUESTION: 60.0}


def test_what_was_kept_for_other_choices_keeps_nobody_from_committing(folder):
    (folder / "predictions.json").write_text('{"Which?": "C"}')
    assert "Committed: A." in press(Prediction("Which?", choices=["A", "B"]), "A")
    assert json.loads((folder / "predictions.json").read_text()) == {"Which?": "A"}


def test_what_cannot_be_kept_is_not_committed_and_it_is_said(folder, monkeypatch):
    (folder / "predictions.json").write_text("{}")

    def full(*_):
        raise OSError(28, "No space left on device", "predictions.json")

    monkeypatch.setattr("kdcourse.files.os.replace", full)
    prediction = Prediction(QUESTION)
    assert "It could not be kept: " in press(prediction, "60") and "make room" in prediction.front.told
    assert prediction.committed is None and not prediction.front.committed


def test_a_number_that_can_be_read_in_two_ways_is_asked_about():
    prediction = Prediction(QUESTION)
    assert "Write 10000 or 10.000" in press(prediction, "10,000") and prediction.committed is None
    assert "Committed: 0.125." in press(prediction, "0,125")


def test_a_page_without_a_kernel_shows_the_question_as_a_picture_with_a_text():
    prediction = Prediction("What does $T$ cost?", choices=["$1", "$2"])
    bundle, metadata = DisplayFormatter().format(prediction)
    assert "What does $T$ cost?" in metadata["image/png"]["alt"] and "$1; $2" in metadata["image/png"]["alt"]
    assert "application/vnd.jupyter.widget-view+json" in bundle
    with Image.open(io.BytesIO(prediction.png)) as picture:
        assert picture.width > 500 and len(set(picture.convert("L").tobytes())) > 10


def test_the_same_notebook_shows_the_same_text_whoever_runs_it():
    assert repr(Prediction(QUESTION)) == f"Prediction({QUESTION!r}: open)"


@pytest.mark.parametrize(("question", "choices"), [("", ()), ("Q?", ["A"]), ("Q?", ["A", "A"])])
def test_a_question_that_cannot_be_asked_is_refused(question, choices):
    with pytest.raises(ValueError):
        Prediction(question, choices=choices)
