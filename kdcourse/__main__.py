"""`python -m kdcourse` is the command `kdcourse`."""

import sys

from kdcourse.cli import main

sys.exit(main())
