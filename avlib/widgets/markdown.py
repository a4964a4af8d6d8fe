"""Markdown in notebooks, whose words may come from anybody's files."""

from IPython import display


class Markdown(display.Markdown):
    """Text with tables, in which nothing that data say becomes markup.

    A subject may have the name of an HTML element, and Jupyter runs the scripts in what a cell shows. The kit's own
    texts have neither HTML nor links.
    """

    data: str

    def __init__(self, text: str):
        super().__init__(text.replace("<", "&lt;").replace("](", "]\\("))
