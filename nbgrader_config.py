"""How nbgrader works in this course: where things lie, and that submissions run in the sandbox and are judged outside.

`kdcourse grade` reads this file, and so do `nbgrader` and JupyterLab's formgrader when they are started in this folder.
"""

from pathlib import Path

from kdcourse.marking.grade import formgrader

root = Path(__file__).resolve().parent
c = get_config()  # noqa: F821 - nbgrader provides it

c.CourseDirectory.root = str(root)
c.CourseDirectory.source_directory = "solutions"  # solution_directory is something else: never set it
c.CourseDirectory.release_directory = "exercises"
c.CourseDirectory.submitted_directory = "grading/submitted"
c.CourseDirectory.autograded_directory = "grading/autograded"
c.CourseDirectory.feedback_directory = "grading/feedback"
c.CourseDirectory.db_url = f"sqlite:///{root / 'grading' / 'gradebook.db'}"

c.OverwriteCells.add_missing_cells = True  # else a deleted check waits for ever for somebody to mark it
c.Autograde.autograde_preprocessors = [
    "kdcourse.marking.grade.run_and_judge",  # instead of Execute, which would run a student's program with your rights
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
# what a student wrote is shown in a browser that is logged in to Jupyter: no script in it may run
c.HTMLExporter.filters = {"markdown2html": "kdcourse.marking.grade.safe_markdown"}
formgrader.confine()  # nor may anything be fetched that a student chose, or any file be served but the page itself
