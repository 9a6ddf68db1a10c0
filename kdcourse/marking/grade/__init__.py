"""`kdcourse grade`: collects submissions, runs each in a sandbox, judges outside it, and fills nbgrader's gradebook.

The sandbox computes, the outside judges: a submission is somebody's program, and whatever runs beside it can be read
and forged by it. So a check only records there, and `marking.checks.judge` compares the recording with the truth here.
"""

import concurrent.futures
import functools
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from tqdm import tqdm

from kdcourse.files import meant, write
from kdcourse.marking import notebook as notebooks
from kdcourse.marking import sandbox
from kdcourse.marking.grade import gradebook, progress, roster, similar, variants, verdicts
from kdcourse.marking.grade.base import GradingError as GradingError
from kdcourse.marking.grade.base import Place, digest, fingerprint, graded, number, shown
from kdcourse.marking.grade.collect import Submission, collect, opened
from kdcourse.marking.grade.runs import PACKAGE, Grading
from kdcourse.marking.grade.safe_html import safe_markdown as safe_markdown
from kdcourse.marking.grade.table import table
from kdcourse.marking.record import Verdict
from kdcourse.marking.sandbox import Limits

INTERRUPTED = 130  # the exit status of a program that Ctrl-C has ended
UNSAFE = """\
--unsafe: every submission now runs as a program of yours, with nothing around it. It can read and change your files,
the solutions, the other submissions and the gradebook, and it can use the network. Only its time is limited. Use it
for submissions that you have read, or on a machine that holds nothing else."""


def run_and_judge(notebook, resources):
    """For nbgrader's own commands (nbgrader_config.py): what `kdcourse grade` does with a submission."""
    from kdcourse.marking import checks

    if why := sandbox.unavailable():
        raise GradingError(why)
    gradebook = Path(resources["nbgrader"]["db_url"].removeprefix("sqlite:///"))
    place = Place(gradebook.parents[1], resources["nbgrader"]["assignment"])
    return verdicts.run_and_judge(notebook, resources, grading=Grading(place, checks))


def hand_out(assignment: str, people: Path, course: Path) -> Path:
    """Write a copy of an exercise for each student of a roster, with settings of their own; returns the folder. Raises
    ValueError where there is no roster, or the exercise has no variants."""
    place, known = Place(course.resolve(), assignment), roster.read(people)
    released = json.loads((course / "exercises" / assignment / f"{assignment}.ipynb").read_text(encoding="utf-8"))
    variants.hand_out(place, released, {person.student: person.name for person in known.people})
    return place.variant("").parent


def grade(assignment: str, submissions: Path, *, course: Path, jobs: int | None = None, student: str | None = None,
          unsafe: bool = False, limits: Limits | None = None, checks: ModuleType | None = None,
          package: Path = PACKAGE, people: Path | None = None, question: str = "",
          alike: bool = False) -> int:  # fmt: skip
    """Grade a folder or zip of submissions, or one `student` of it once more, or one `question` alone. Returns 0, 1 if
    one could not be graded, 130 if interrupted.

    What is done is not done again, and marks and comments given by hand stay. Everything is written below
    `course/grading`: the gradebook, the feedback, `ASSIGNMENT.csv`, the marks that changed, with a roster of `people`
    the table that its LMS imports, and if asked which hand-ins are `alike`. `checks` and `package` are those of the
    course unless a test brings its own. Raises ValueError, or GradingError, if it cannot begin.
    """
    if checks is None:
        from kdcourse.marking import checks
    assignment = meant(assignment, list(checks.ASSIGNMENTS), "assignment")
    if question and question not in checks.ASSIGNMENTS[assignment]:
        known = ", ".join(checks.ASSIGNMENTS[assignment])
        raise ValueError(f"{assignment} has no check {question!r}; choose one of: {known}")
    grading = Grading(Place(course.resolve(), assignment), checks, limits or Limits(), unsafe, package.resolve())
    _guarded(grading, course)
    known = roster.read(people) if people else None
    grading.people = tuple(person.student for person in known.people) if known else ()
    try:
        with progress.alone(grading.place):
            released = _prepared(grading)
            gradebook.free(grading.place)
            with opened(submissions.resolve(), grading.place.scratch) as (folder, left_out):
                for note in left_out:
                    print(note, file=sys.stderr)
                found = collect(folder, assignment, released, roster=known, scratch=grading.place.scratch)
                found = _wanted(found, student, submissions)
                before = gradebook.marks(grading.place)
                status = _grade(grading, found, released, jobs, again=student is not None, question=question)
            if status != INTERRUPTED:
                _told(grading, before, released, known, alike)
            return status
    except OSError as error:
        raise GradingError(f"grading cannot go on: {error}. What is done is kept; run the command again") from error


def _wanted(found: list[Submission], student: str | None, submissions: Path) -> list[Submission]:
    """All submissions, or those of one student."""
    chosen = [one for one in found if student is None or student in (one.student, *one.entries)]
    if not chosen:
        everybody = ", ".join(one.student for one in found)
        raise ValueError(f"no {student!r} in {submissions}; choose one of: {everybody}")
    return chosen


def _guarded(grading: Grading, course: Path) -> None:
    """Say what --unsafe means; without it, raise GradingError where there is no sandbox."""
    if grading.unsafe:
        print(UNSAFE, file=sys.stderr)
    elif why := sandbox.unavailable():
        raise GradingError(f"{why}\nWithout it there is only --unsafe, which runs submissions as programs of yours.")
    elif sandbox.seen(grading.place.course):
        raise GradingError(f"{course} lies in the Python environment, which submissions can see: move the course")


def _prepared(grading: Grading) -> dict:
    """The released notebook; the assignment is entered into the gradebook if it changed since."""
    place = grading.place
    if not place.source.is_dir():
        raise GradingError(f"{place.source} is not there: run this in the folder of the course")
    source = digest(fingerprint(place.source), fingerprint(place.course, (gradebook.CONFIGURATION,)))
    if progress.remembered(place, ".").get("source") != source or not place.notebook("release").exists():
        gradebook.prepare(place)
    released = json.loads(place.notebook("release").read_text(encoding="utf-8"))
    cells = {notebooks.mark(cell)["grade_id"] for cell in released["cells"] if notebooks.is_check(cell)}
    if cells != set(grading.names):
        differing = ", ".join(sorted(cells ^ set(grading.names)))
        raise GradingError(f"cells and checks of {place.assignment} differ: {differing}")
    progress.remember(place, ".", source=source)
    return released


def _grade(grading: Grading, found: list[Submission], released: dict, jobs: int | None, *, again: bool,
           question: str) -> int:  # fmt: skip
    place, failed = grading.place, {}
    wanted = _submitted(grading, found, released, failed, again=again)
    before = {name: progress.remembered(place, name) for name in wanted}
    same = {name for name in wanted if before[name].get("handed") == wanted[name]["handed"]}
    if question:  # the other marks of these stay as they are, and are not said to be those of the present checks
        grading.stay.update({name: _verdicts(place, name, question) for name in same})
    todo = [name for name in wanted if before[name].get("key") != wanted[name]["key"] or name in grading.stay]
    quiet = bool(os.environ.get("KDCOURSE_QUIET")) or not todo
    bar = tqdm(total=len(todo), desc=place.assignment, unit="student", disable=quiet)
    pool, done = concurrent.futures.ThreadPoolExecutor(jobs or os.cpu_count() or 1), 0
    try:
        waiting = {pool.submit(grading.execution, name): name for name in todo}
        for future in concurrent.futures.as_completed(waiting):
            name = waiting[future]
            try:
                future.result()
                step = functools.partial(verdicts.run_and_judge, grading=grading)
                if before[name] and name not in grading.stay:  # whoever is cut off in between is graded again
                    progress.remember(place, name, key="", handed="")
                gradebook.autograde(place, name, step, keep=name in same)
                if name not in grading.stay:
                    progress.remember(place, name, **wanted[name])
            except Exception as error:  # one that cannot be graded, by no fault of the student, keeps no other from it
                failed[name] = str(error) or type(error).__name__
            done += 1
            bar.update()
        _report(grading, failed)
        return 1 if failed else 0
    except KeyboardInterrupt:
        print(f"interrupted: {done} of {len(todo)} are done; the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    finally:
        grading.stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        bar.close()


def _verdicts(place: Place, student: str, question: str) -> dict[str, Verdict]:
    """The verdicts about a graded submission but for that on one question."""
    return {name: Verdict(one["points"] / one["max"] if one["max"] else 0.0, one["message"])
            for name, one in graded(place, student).get("verdicts", {}).items() if name != question}  # fmt: skip


def _submitted(grading: Grading, found: list[Submission], released: dict, failed: dict[str, str], *,
               again: bool) -> dict[str, dict[str, str]]:  # fmt: skip
    """Put all submissions where nbgrader looks for them; returns what is to be remembered of each once it is graded."""
    place, wanted = grading.place, {}
    code = digest(fingerprint(grading.package), progress.remembered(place, ".")["source"], repr(grading.limits))
    for one in found:
        try:
            _check_number(place, one)
            handed = _submit(place, one, released)
        except Exception as error:  # a file that may not be read, for example: it is one student's alone
            failed[one.student] = str(error) or type(error).__name__
            continue
        wanted[one.student] = {"handed": handed, "key": digest(handed, code, str(grading.unsafe))}
        wanted[one.student] |= {"moodle": one.moodle} if one.moodle else {}
        if again:
            grading.kept(one.student).forget()
            progress.remember(place, one.student, key="")
    return wanted


def _check_number(place: Place, one: Submission) -> None:
    """Raise ValueError when Moodle gave a student another number than in an earlier download of this assignment."""
    before = progress.remembered(place, one.student).get("moodle", "")
    if one.moodle and before and one.moodle != before:
        raise ValueError(f"Moodle's number of {one.student} was {before} and is {one.moodle}: are these two people of "
                         "one name? Give a --roster that says who is who, the grading worksheet, say")


def _submit(place: Place, one: Submission, released: dict) -> str:
    """Put a submission, mended, where nbgrader looks for it; returns a digest of what lies there."""
    released, said = variants.own(place, one.student, released, one.notebook)
    notebook, notes = notebooks.mend(one.notebook or released, released)
    when, seen = 0.0, ""
    if one.notebook is not None:
        when, seen, dated = progress.time_of(place, one.student, one.notebook, one.extras, one.time)
        said += dated
    noticed = [f"nothing could be graded: {one.rejected}"] if one.rejected else []
    notebook["metadata"]["kdcourse"] = {
        "name": ", ".join(one.entries), "notes": [*noticed, *one.notes, *said, *notes],
        "rejected": one.rejected, "seen": seen,
    }  # fmt: skip
    return progress.submit(place, one.student, notebook, one.extras, when)


def _report(grading: Grading, failed: dict[str, str]) -> None:
    """Feedback for those whose marks changed, the CSV of all, and a few lines about what was noticed."""
    place, rows = grading.place, []
    for student, row in gradebook.marks(place).items():
        about = graded(place, student)
        if not about:
            continue
        rows.append({"seen": "", **row, **about, "student": student})
        print_ = digest(json.dumps(row), json.dumps(about), progress.remembered(place, student).get("key", ""))
        page = place.step("feedback", student) / f"{place.assignment}.html"
        if progress.remembered(place, student).get("feedback") != print_ or not page.exists():
            try:
                gradebook.feedback(place, student)
                progress.remember(place, student, feedback=print_)
            except GradingError as error:
                failed[student] = str(error)
    done, path = len(rows), place.grading / f"{place.assignment}.csv"
    rows += _absent(grading, {row["student"] for row in rows} | set(failed))
    write(path, table(sorted(rows, key=lambda row: row["student"]), grading.names))
    for row in rows[:done]:
        for note in row["notes"]:
            print(shown(f"{row['student']}: {note}"))
    for student, why in failed.items():
        print(f"{student} could not be graded, run the command again: {_lines(why)}", file=sys.stderr)
    print(f"{done} graded: {path}; feedback in {place.grading / 'feedback'}")


def _absent(grading: Grading, there: set[str]) -> list[dict]:
    """The rows of those who are known to the gradebook or the roster and have handed in nothing."""
    known, most = gradebook.everybody(grading.place)
    nothing = {"name": "", "late": None, "seen": "", "verdicts": {}, "cells": {}, "total": 0.0, "max": most,
               "notes": ["nothing was handed in"]}  # fmt: skip
    return [{**nothing, "student": student} for student in sorted({*known, *grading.people} - there)
            if not grading.place.notebook("submitted", student).exists()]  # fmt: skip


def _told(grading: Grading, before: dict, released: dict, known: roster.Roster | None, alike: bool) -> None:
    """Write what was asked for beside the marks: which of them changed, what the LMS imports, who wrote alike."""
    place, after = grading.place, gradebook.marks(grading.place)
    _changes(place, before, after)
    if known is not None:
        totals = {student: row["total"] for student, row in after.items() if graded(place, student)}
        try:
            if made := known.export(place.assignment, totals, gradebook.everybody(place)[1]):
                write(place.grading / made[0], made[1])
                print(f"for import: {place.grading / made[0]}")
        except ValueError as error:
            print(shown(str(error)), file=sys.stderr)
    if alike:
        paths = {student: place.notebook("submitted", student) for student in after}
        handed = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}
        path = place.grading / f"{place.assignment}.similar.csv"
        write(path, similar.report(pairs := similar.similar(handed, released)))
        print(f"{len(pairs)} pairs to look at: {path}")


def _changes(place: Place, before: dict, after: dict) -> None:
    """Add the marks that are others now than before to the list of all that ever changed."""
    changed = []
    for student in sorted(before.keys() & after.keys()):
        new = after[student]["cells"]
        changed += [f"{student},{name},{number(cell['score'])},{number(new[name]['score'])}\n"
                    for name, cell in before[student]["cells"].items()
                    if name in new and new[name]["score"] != cell["score"]]  # fmt: skip
    if changed:
        path, now = place.grading / f"{place.assignment}.changes.csv", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        lines = path.read_text(encoding="utf-8") if path.exists() else "when (UTC),student,question,before,after\n"
        write(path, lines + "".join(f"{now},{line}" for line in changed))
        print(f"{len(changed)} marks changed: {path}")


def _lines(text: str) -> str:
    return "\n".join(shown(line) for line in text.splitlines())
