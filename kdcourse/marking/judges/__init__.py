"""The judging half of the checks: is what an answer returned right, and if not, which misconception is it?

It never runs beside an answer that is graded. The reference is written here once more, from the definitions. A kind of
question (`loss`, `training`, `network`, `experiment`, `weights`) makes judges; an assignment, `a...`, gives each check
of the same name in `checks` its formula and its marks.
"""

from kdcourse.marking.judges import a01_vanilla_kd, lesson_03, lesson_05, lesson_06, lesson_07, lesson_08, lessons

ASSIGNMENTS = (a01_vanilla_kd,)
OF_LESSONS = (lessons, lesson_03, lesson_05, lesson_06, lesson_07, lesson_08)
JUDGES = {name: judge for module in (*ASSIGNMENTS, *OF_LESSONS) for name, judge in vars(module).items()
          if callable(judge) and getattr(judge, "__qualname__", "").endswith(".judge")}
