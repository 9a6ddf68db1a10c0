"""The package behind the course: its rooms are its vocabulary, and reading them is part of the lessons.

From the ground up; a module imports only from lower floors.

- `core`, `profiles`, `files`: the words of the course (`Batch`, `Term`, ...); quick or full; where data lies;
  `compiler`: torch's, imported by whoever compiles
- `losses`: what a student is asked to minimise, as pure functions; `models`: the networks; `data`: the images;
  `papers`: the tables of two papers; `asking`: a network's answers about many images
- `teachers`: frozen or recorded; `metrics`: what logits know; `cost`: what a network costs
- `distillers`: one class per method, `METHODS` by name; `viz`: the pictures
- `train`: the loop
- `sweep`: grids of settings; `procedures`: what takes several trainings; `widgets`: the explorers; `trained`: networks
  kept with their recipes; `worksheets`: lessons to be filled in
- `study`: a comparison that a lesson trains in seconds, and the recorded ones; `studies`: the papers' tables and their
  controls, which train for days; `ship`: a network as files that run without torch
- `marking`: what no lesson imports but for its checks: recording, checking, judging, the sandbox, grading
- `plan`: a comparison of the reader's own: what it cannot answer, its run, its report, its marks
- `cli`: the command `kdcourse`

Nothing is imported here, so that `import kdcourse` is instant.
"""

__version__ = "0.2.0"
