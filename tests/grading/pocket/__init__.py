"""A course in a pocket: two checks, made as those of the course are, so that grading can be tested in seconds."""
