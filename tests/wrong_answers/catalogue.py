"""All filed answers: WRONG and RIGHT of every module beside this one. Those to exercise 01 are filed by their kind
(`losses`, `loops`, ..., and `further`), those to any other in one module that is called as its exercise is
(`a02_soft_targets`)."""

from kdcourse.core import modules

_MODULES = modules("wrong_answers", r"(?!catalogue).*")
WRONG = [answer for module in _MODULES for answer in getattr(module, "WRONG", ())]
RIGHT = [answer for module in _MODULES for answer in getattr(module, "RIGHT", ())]
