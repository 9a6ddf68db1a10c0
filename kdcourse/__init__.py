"""The package behind the course: its submodules are its vocabulary, and reading them is part of the lessons.

From the bottom up: `core`, `profiles`, `files`; `losses`, `models`, `data`; `teachers`, `metrics`, `cost`;
`distillers`, `viz`; `train`; `sweep`, `procedures`, `widgets`, `once`; `marking`, which no lesson imports but for its
checks; `cli`. A module imports only from lower floors. Nothing is imported here, so that `import kdcourse` is instant.
"""

__version__ = "0.1.0"
