"""Marking: everything that no lesson imports. How an exercise is made, asked, checked at home, graded and returned.

`record` is what both halves of a check share, `notebook` reads and mends what was handed in, and `runner` runs it cell
by cell. `checks` asks, beside the submission; `judges` judges, and is never there. `student` starts and checks an
exercise, `release` makes it from its solution, `sandbox` keeps a submission apart, and `grade` collects, runs, judges,
and writes the table.
"""
