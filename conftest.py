"""Settings of every pytest run, `pytest --nbval notebooks/` included: nobody is watching, and the profile is quick."""

import os

os.environ["KDCOURSE_QUIET"] = "1"
os.environ["KDCOURSE_PROFILE"] = "quick"
