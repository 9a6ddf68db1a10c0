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
    prediction.answer.value = value
    prediction.button.click()
    return prediction.words.value


def test_a_number_is_committed_by_its_button_and_can_then_not_be_changed():
    prediction = Prediction(QUESTION, unit="%")
    assert "Committed: 72.5 %." in press(prediction, " 72,5 % ")
    assert prediction.committed == 72.5 and prediction.answer.disabled and prediction.button.disabled
    with pytest.raises(ValueError, match=r"committed to 72\.5 %; a prediction is made once"):
        prediction.commit(90)
    assert prediction.committed == 72.5


@pytest.mark.parametrize("text", ["", "many", "nan", "inf", "1e999", "3 or 4"])
def test_what_is_no_number_is_told_and_not_committed(text):
    prediction = Prediction(QUESTION)
    assert "write a number" in press(prediction, text)
    assert prediction.committed is None and not prediction.answer.disabled


def test_a_choice_is_one_of_those_offered(capsys):
    prediction = Prediction("Which is first?", choices=["A", "B <b>"])
    prediction.button.click()
    assert "choose one of: A, B &lt;b&gt;" in prediction.words.value
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


def test_beside_a_worksheet_it_is_there_again_after_the_kernel_was_started_anew(folder):
    (folder / "predictions.json").write_text("{}")
    Prediction(QUESTION, unit="%").commit(60)
    Prediction("Which?", choices=["A", "B"]).commit("A")
    assert json.loads((folder / "predictions.json").read_text()) == {QUESTION: 60.0, "Which?": "A"}
    again = Prediction(QUESTION, unit="%")
    assert again.committed == 60 and again.button.disabled
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


def test_a_page_without_a_kernel_shows_the_question_as_a_picture_with_a_text():
    prediction = Prediction("What does $T$ cost?", choices=["$1", "$2"])
    bundle, metadata = DisplayFormatter().format(prediction)
    assert "What does $T$ cost?" in metadata["image/png"]["alt"] and "$1, $2" in metadata["image/png"]["alt"]
    assert "application/vnd.jupyter.widget-view+json" in bundle
    with Image.open(io.BytesIO(prediction.png)) as picture:
        assert picture.width > 500 and len(set(picture.convert("L").tobytes())) > 10


def test_the_same_notebook_shows_the_same_text_whoever_runs_it():
    assert repr(Prediction(QUESTION)) == f"Prediction({QUESTION!r}: open)"


@pytest.mark.parametrize(("question", "choices"), [("", ()), ("Q?", ["A"]), ("Q?", ["A", "A"])])
def test_a_question_that_cannot_be_asked_is_refused(question, choices):
    with pytest.raises(ValueError):
        Prediction(question, choices=choices)
