"""The course as pages for a browser. `python -m book` builds them from what is committed, and executes nothing.

`gather` collects the sources, `reference` writes the pages of the package from its docstrings, `conf.py` is Sphinx's,
and `python -m book.explorer` makes the data of the explorer that needs no kernel. The pages beside this file are
written by hand.
"""
