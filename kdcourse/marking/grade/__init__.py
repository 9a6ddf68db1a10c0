"""`kdcourse grade`: collects submissions, runs each in a sandbox, judges outside it, and fills nbgrader's gradebook.

The sandbox computes, the outside judges: a submission is somebody's program, and whatever runs beside it can be read
and forged by it. So a check only records there, and `marking.checks.judge` compares the recording with the truth here.
"""

import concurrent.futures
import functools
import json
import os
import sys
from pathlib import Path
from types import ModuleType

from tqdm import tqdm

from kdcourse.marking import sandbox
from kdcourse.marking.grade import gradebook, progress, verdicts
from kdcourse.marking.grade.base import GradingError as GradingError
from kdcourse.marking.grade.base import Place, digest, fingerprint, write
from kdcourse.marking.grade.collect import Submission, collect, grade_ids
from kdcourse.marking.grade.mend import mend
from kdcourse.marking.grade.runs import PACKAGE, Grading
from kdcourse.marking.grade.safe_html import safe_markdown as safe_markdown
from kdcourse.marking.grade.table import table
from kdcourse.marking.sandbox import Limits

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


def grade(assignment: str, submissions: Path, *, course: Path, jobs: int | None = None, student: str | None = None,
          unsafe: bool = False, limits: Limits | None = None, checks: ModuleType | None = None,
          package: Path = PACKAGE) -> int:  # fmt: skip
    """Grade a folder of submissions, or one `student` of it once more. Returns 0, 1 if one could not be graded, 130 if
    interrupted.

    What is done is not done again, and marks and comments given by hand stay. Everything is written below
    `course/grading`: the gradebook, the feedback, and `ASSIGNMENT.csv`. `checks` and `package` are those of the course
    unless a test brings its own. Raises ValueError, or GradingError, if it cannot begin.
    """
    if checks is None:
        from kdcourse.marking import checks
    if assignment not in checks.ASSIGNMENTS:
        raise ValueError(f"there is no assignment {assignment!r}; choose one of: {', '.join(checks.ASSIGNMENTS)}")
    grading = Grading(Place(course.resolve(), assignment), checks, limits or Limits(), unsafe, package.resolve())
    if unsafe:
        print(UNSAFE, file=sys.stderr)
    elif why := sandbox.unavailable():
        raise GradingError(f"{why}\nWithout it there is only --unsafe, which runs submissions as programs of yours.")
    elif sandbox.seen(grading.place.course):
        raise GradingError(f"{course} lies in the Python environment, which submissions can see: move the course")
    with progress.alone(grading.place):
        released = _prepared(grading)
        found = collect(submissions.resolve(), assignment, grade_ids(released))
        if student is not None and not (chosen := [one for one in found if student in (one.student, *one.entries)]):
            everybody = ", ".join(one.student for one in found)
            raise ValueError(f"no {student!r} in {submissions}; choose one of: {everybody}")
        return _grade(grading, found if student is None else chosen, released, jobs, again=student is not None)


def _prepared(grading: Grading) -> dict:
    """The released notebook; the assignment is entered into the gradebook if it changed since."""
    place = grading.place
    if not place.source.is_dir():
        raise GradingError(f"{place.source} is not there: run this in the folder of the course")
    source = digest(fingerprint(place.source), fingerprint(place.course, (gradebook.CONFIGURATION,)))
    if progress.remembered(place, ".").get("source") != source or not place.notebook("release").exists():
        gradebook.prepare(place)
    released = json.loads(place.notebook("release").read_text(encoding="utf-8"))
    cells = {cell["metadata"]["nbgrader"]["grade_id"] for cell in released["cells"] if verdicts.automatic(cell)}
    if cells != set(grading.names):
        differing = ", ".join(sorted(cells ^ set(grading.names)))
        raise GradingError(f"cells and checks of {place.assignment} differ: {differing}")
    progress.remember(place, ".", source=source)
    return released


def _grade(grading: Grading, found: list[Submission], released: dict, jobs: int | None, *, again: bool) -> int:
    place, failed, wanted = grading.place, {}, {}
    code = digest(fingerprint(grading.package), progress.remembered(place, ".")["source"], repr(grading.limits))
    for one in found:
        try:
            handed = _submit(place, one, released)
        except OSError as error:  # a file that may not be read, for example
            failed[one.student] = str(error)
            continue
        wanted[one.student] = {"handed": handed, "key": digest(handed, code, str(grading.unsafe))}
        if again:
            grading.kept(one.student).forget()
            progress.remember(place, one.student, key="")
    before = {name: progress.remembered(place, name) for name in wanted}
    todo = [name for name in wanted if before[name].get("key") != wanted[name]["key"]]
    quiet = bool(os.environ.get("KDCOURSE_QUIET")) or not todo
    bar = tqdm(total=len(todo), desc=place.assignment, unit="student", disable=quiet)
    pool, done = concurrent.futures.ThreadPoolExecutor(jobs or os.cpu_count() or 1), 0
    try:
        waiting = {pool.submit(grading.execution, name): name for name in todo}
        for future in concurrent.futures.as_completed(waiting):
            name = waiting[future]
            try:
                future.result()
                same = before[name].get("handed") == wanted[name]["handed"]
                step = functools.partial(verdicts.run_and_judge, grading=grading)
                gradebook.autograde(place, name, step, keep=same)
                progress.remember(place, name, **wanted[name])
            except Exception as error:  # one that cannot be graded, by no fault of the student, keeps no other from it
                failed[name] = str(error) or type(error).__name__
            done += 1
            bar.update()
        _report(grading, failed)
        return 1 if failed else 0
    except KeyboardInterrupt:
        print(f"interrupted: {done} of {len(todo)} are done; the same command goes on from there", file=sys.stderr)
        return 130
    finally:
        grading.stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        bar.close()


def _submit(place: Place, one: Submission, released: dict) -> str:
    """Put a submission, mended, where nbgrader looks for it; returns a digest of what lies there."""
    notebook, notes = mend(one.notebook or released, released)
    noticed = [f"nothing could be graded: {one.rejected}"] if one.rejected else []
    about = {"name": ", ".join(one.entries), "notes": [*noticed, *one.notes, *notes], "rejected": one.rejected}
    notebook["metadata"]["kdcourse"] = about
    return progress.submit(place, one.student, notebook, one.extras, one.time)


def _report(grading: Grading, failed: dict[str, str]) -> None:
    """Feedback for those whose marks changed, the CSV of all, and a few lines about what was noticed."""
    place, rows = grading.place, []
    for student, row in gradebook.marks(place).items():
        about = progress.graded(place, student)
        if not about:
            continue
        rows.append({**row, **about, "student": student})
        print_ = digest(json.dumps(row), json.dumps(about), progress.remembered(place, student).get("key", ""))
        page = place.step("feedback", student) / f"{place.assignment}.html"
        if progress.remembered(place, student).get("feedback") != print_ or not page.exists():
            try:
                gradebook.feedback(place, student)
                progress.remember(place, student, feedback=print_)
            except GradingError as error:
                failed[student] = str(error)
    path = place.grading / f"{place.assignment}.csv"
    write(path, table(rows, grading.names))
    for row in rows:
        for note in row["notes"]:
            print(f"{row['student']}: {note}")
    for student, why in failed.items():
        print(f"{student} could not be graded, run the command again: {why}", file=sys.stderr)
    print(f"{len(rows)} graded: {path}; feedback in {place.grading / 'feedback'}")
