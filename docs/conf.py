"""How the documentation is built: make docs."""

project = "lastlayer"
author = "the lastlayer authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = "lastlayer"
exclude_patterns = ["_build"]
autodoc_typehints = "none"  # shapes stand in the docstrings; the annotations repeat them in code
autodoc_member_order = "bysource"
myst_enable_extensions = ["dollarmath"]
napoleon_custom_sections = ["Source"]
nitpicky = False
