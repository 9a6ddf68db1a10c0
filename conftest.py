"""Settings of every pytest run, `pytest --nbval notebooks/` included, and of the kernels that it starts."""

import os

os.environ["KDCOURSE_QUIET"] = "1"        # nobody is watching: no progress bars
os.environ["KDCOURSE_PROFILE"] = "quick"  # what the stored outputs were made with
# a warning in a notebook is a defect; the one that is ignored is ipykernel's own, when it shuts down
os.environ["PYTHONWARNINGS"] = "error,ignore::PendingDeprecationWarning"
