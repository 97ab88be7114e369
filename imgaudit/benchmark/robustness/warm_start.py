"""Does when it is imported what every command would do again: the server of `processes` imports it once, for all.

The templates of all pages are compiled, and all of Pillow's readers are loaded.
"""

from PIL import Image

from imgaudit.report.pages import page_environment

Image.init()
for name in page_environment().list_templates(extensions=["jinja"]):
    page_environment().get_template(name)
