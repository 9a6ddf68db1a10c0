"""Settings of every pytest run, `pytest --nbval notebooks/` included, and of the kernels that it starts."""

import os
import sys

os.environ["OMP_NUM_THREADS"] = "1"       # one worker a core: threads would only wait for each other
sys.modules.setdefault("rfc3987_syntax", None)  # see kdcourse/cli.py
os.environ["KDCOURSE_QUIET"] = "1"        # nobody is watching: no progress bars
os.environ["KDCOURSE_PROFILE"] = "quick"  # what the stored outputs were made with
# a warning in a notebook is a defect; the one that is ignored is ipykernel's own, when it shuts down
os.environ["PYTHONWARNINGS"] = "error,ignore::PendingDeprecationWarning"
