"""How the documentation is built: make docs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "lastlayer"
author = "the lastlayer authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "traces"]
html_theme = "furo"
html_title = "lastlayer"
exclude_patterns = ["_build", "_ext"]
autodoc_typehints = "none"  # shapes stand in the docstrings; the annotations repeat them in code
autodoc_member_order = "bysource"
myst_enable_extensions = ["dollarmath", "deflist"]
napoleon_custom_sections = ["Source"]
nitpicky = False
suppress_warnings = ["ref.python"]  # a shape such as " classes" is no name, though Python parses it as one
