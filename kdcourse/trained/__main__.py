"""`python -m kdcourse.trained NAME`: trains a network again by its recipe, or all of them without a name."""

import sys

from kdcourse import trained

for name in sys.argv[1:] or trained.RECIPES:
    print(trained.train_again(name), trained.measured(name))
