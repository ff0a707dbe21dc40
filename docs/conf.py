"""The documentation site: `make docs` builds it into docs/_build/html, without a network."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from mlpaper import __version__

project, author, release = "mlpaper", "The mlpaper developers", __version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "generated",
]
exclude_patterns = ["_build", "schema", "**.ipynb_checkpoints"]
nitpicky = True
default_role = "code"
highlight_language = "none"

myst_enable_extensions = ["deflist", "attrs_inline"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 60
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings give types with shapes
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_param = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = "mlpaper"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_theme_options = {"top_of_page_buttons": []}
copybutton_exclude = ".linenos, .gp, .go"
