"""The judging half of the checks: is what an answer returned right, and if not, which misconception is it?

It never runs beside an answer that is graded. The reference is written here once more, from the definitions. A kind of
question (`loss`, `training`, `network`, `experiment`, `weights`, `hand_in`) makes judges; an exercise, `a01_...`, and a
lesson, `lesson_01`, give each check of the same name in `checks` its formula and its marks. The other modules hold what
several of them ask for, with its usual mistakes: `logits`, `intervals`, `costs`, ...
"""

from kdcourse.core import modules

ASSIGNMENTS = modules(__name__, r"a\d\d_\w+")
OF_LESSONS = modules(__name__, r"lesson_\d\d")
JUDGES = {name: judge for module in (*ASSIGNMENTS, *OF_LESSONS) for name, judge in vars(module).items()
          if callable(judge) and getattr(judge, "__qualname__", "").endswith(".judge")}
