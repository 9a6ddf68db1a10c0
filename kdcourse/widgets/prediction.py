"""`Prediction`: a number or a choice that the reader commits to before an experiment, shown beside what comes out."""

import base64
import io
import json
import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

import anywidget
import ipywidgets
import traitlets
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kdcourse import files

THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")  # or three decimals, where a comma is written for a point
KEPT = Path("predictions.json")  # beside a worksheet; where it is not there, a prediction lives as long as the kernel


class Front(anywidget.AnyWidget):
    """What a reader sees. A click sends `{"answer": text}`; then `heard` counts it, `told` says what became of it, and
    `committed` is the answer that stays, as text, or nothing."""

    _esm = Path(__file__).with_name("prediction.js")
    _css = Path(__file__).with_name("prediction.css")
    question = traitlets.Unicode().tag(sync=True)
    choices = traitlets.List(traitlets.Unicode()).tag(sync=True)
    unit = traitlets.Unicode().tag(sync=True)
    told = traitlets.Unicode().tag(sync=True)
    committed = traitlets.Unicode().tag(sync=True)
    heard = traitlets.Int(0).tag(sync=True)


class Prediction(ipywidgets.VBox):
    """Asks `question`; what the reader commits stays as it is, and `beside(measured)` shows both.

    `choices` are the answers to choose from; without them the answer is a number with a `unit` ("%", "points", ...).
    Nothing depends on the answer: a notebook runs the same without one. In a folder that holds a file
    `predictions.json`, as that of a worksheet does, a committed prediction is kept there under its question, and is
    there again when the kernel is started anew.

    Raises ValueError for an empty question, for one choice or two equal ones. Introduced in notebook 00.
    """

    def __init__(self, question: str, *, choices: Sequence[str] = (), unit: str = ""):
        if not question.strip():
            raise ValueError("a prediction needs a question")
        if choices and (len(choices) < 2 or len(set(choices)) < len(choices)):
            raise ValueError(f"a choice needs at least two different answers; given: {', '.join(map(str, choices))}")
        self.question, self.choices, self.unit = question, [str(choice) for choice in choices], unit
        self.png = _still(question, self.choices, unit)
        self.front = Front(question=question, choices=self.choices, unit=unit)
        self.front.on_msg(self._hear)
        super().__init__([self.front])
        self.committed: float | str | None = None
        if question in (kept := _kept() or {}):
            self._hold(kept[question])

    def commit(self, answer: float | str) -> None:
        """Commit to an answer, once; what the button does. Raises ValueError for one that is no number or no choice,
        and when another was committed before, in this notebook or in another that is open: a prediction that changes
        afterwards predicts nothing. Raises OSError, and commits to nothing, where it cannot be kept."""
        found, kept = self._understood(answer), _kept()
        before = self._before(kept or {})
        if before is not None and found != before:
            where = f". To begin again, delete {files.shown(KEPT)}, and with it all predictions here" * KEPT.is_file()
            raise ValueError(f"you have committed to {self._said(before)}; a prediction is made once{where}")
        if KEPT.is_file():
            if kept is None:  # damaged by hand, or by another program: what it holds may still be read
                KEPT.replace(KEPT.with_suffix(".damaged.json"))
            files.write(KEPT, json.dumps((kept or {}) | {self.question: found}, indent=1, ensure_ascii=False) + "\n")
        self._hold(found)

    def _before(self, kept: dict) -> float | str | None:
        """What was committed, here or in another notebook; not what was kept of a question with other choices."""
        if self.committed is not None or self.question not in kept:
            return self.committed
        try:
            return self._understood(kept[self.question])
        except ValueError:
            return None

    def beside(self, measured: float | str) -> None:
        """Print the prediction beside what was measured: one line. Without a prediction the line says only so."""
        if self.committed is None and self.question in (kept := _kept() or {}):
            self._hold(kept[self.question])  # it was committed meanwhile, where the question is asked once more
        if self.committed is None:
            print(f"No prediction was committed to: {self.question}")
        elif self.choices:
            same = "as predicted" if self.committed == str(measured) else "not as predicted"
            print(f"You predicted: {self.committed}. Measured: {measured} ({same}).")
        else:
            found, unit = _rounded(float(measured)), "points" if self.unit == "%" else self.unit
            gap = _rounded(abs(found - self.committed))
            print(f"You predicted {self._said(self.committed)}; measured {self._said(found)}, "
                  f"{_short(gap)}{unit and f' {unit}'} away.")

    def _hear(self, front, content, buffers) -> None:
        try:
            self.commit(content.get("answer", ""))
        except ValueError as error:
            self._tell(str(error))
        except OSError as error:
            self._tell(f"It could not be kept: {files.in_words(error)}")

    def _understood(self, answer) -> float | str:
        if self.choices:
            if answer not in self.choices:
                raise ValueError(f"choose one of: {'; '.join(self.choices)}")
            return answer
        text = str(answer).replace("\N{MINUS SIGN}", "-").strip()
        if self.unit != "%" and text.endswith("%"):
            raise ValueError(f"a number {f'of {self.unit} ' * bool(self.unit)}is asked for, and not a share of a "
                             f"hundred: {text.removesuffix('%').strip()}, say")
        text = text.removesuffix(self.unit).strip()
        if THOUSANDS.fullmatch(text):
            raise ValueError(f"is {text} a number of thousands, or has it a fraction? Write {text.replace(',', '')} or "
                             f"{text.replace(',', '.')}")
        try:
            number = float(text.replace(",", "."))
        except ValueError:
            number = float("nan")
        if not abs(number) < float("inf"):
            raise ValueError(f"write a number, 72.5 for example, not {str(answer)!r}")
        if self.unit == "%" and not 0 <= number <= 100:
            raise ValueError(f"write a percentage from 0 to 100; {number:g} is none")
        return number

    def _hold(self, answer: float | str) -> None:
        try:
            self.committed = self._understood(answer)
        except ValueError:  # kept for a question that had other choices then
            return
        self.front.committed = self.committed if self.choices else _short(self.committed)
        self._tell(f"Committed: {self._said(self.committed)}.")

    def _said(self, answer: float | str) -> str:
        return answer if self.choices else f"{_short(answer)}{self.unit and f' {self.unit}'}"

    def _tell(self, sentence: str) -> None:
        self.front.told = sentence
        self.front.heard += 1

    def __repr__(self) -> str:
        return f"Prediction({self.question!r}: {'open' if self.committed is None else self._said(self.committed)})"

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs) | {"image/png": base64.b64encode(self.png).decode()}
        offered = f" Choose one of: {'; '.join(self.choices)}" if self.choices else ""
        return bundle, {"image/png": {"alt": f"A prediction is asked for. {self.question}{offered}"}}


def _rounded(number: float) -> float:
    """With one decimal, or with two significant digits where that is more: a correlation of 0.84 as it is."""
    digits = 1 if abs(number) >= 1 or number == 0 else 1 - math.floor(math.log10(abs(number)))
    return round(number, max(1, digits)) + 0.0  # and no -0


def _short(number: float) -> str:
    return f"{number:.9g}"


def _kept() -> dict[str, float | str] | None:
    """What was committed before in this folder, by question, in whatever encoding another program saved it; None if
    there is no file, or none that can be read."""
    try:
        kept = json.loads(files.decoded(KEPT.read_bytes())[0])
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, dict) else None


def _still(question: str, choices: Sequence[str], unit: str) -> bytes:
    """The question as a picture, for a page without a kernel. A dollar sign in it stays a dollar sign."""
    answers = [f"○  {choice}" for choice in choices] or [f"▢  your number, {unit}".rstrip(", ")]
    asked = textwrap.wrap(question, 80)
    lines = [*asked, *answers]
    figure = Figure(figsize=(7.2, 0.3 + 0.26 * len(lines)), dpi=100)
    FigureCanvasAgg(figure)
    for i, line in enumerate(lines):
        figure.text(0.01, 1 - (i + 0.75) / (len(lines) + 0.5), line, fontsize=10, parse_math=False,
                    weight="bold" if i < len(asked) else "normal")
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
