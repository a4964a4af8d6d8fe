"""Texts and clips in the cells of notebooks."""

from pathlib import Path

from IPython import display


class Markdown(display.Markdown):
    """Text with tables, in which nothing that data say becomes markup.

    A subject may have the name of an HTML element, and Jupyter runs the scripts in what a cell shows. The kit's own
    texts have neither HTML nor links.
    """

    data: str

    def __init__(self, text: str):
        super().__init__(text.replace("<", "&lt;").replace("](", "]\\("))


def video(clip: str | Path) -> display.Video:
    """A clip with its controls, embedded, and no wider than its cell."""
    return display.Video(str(clip), embed=True, html_attributes='controls style="max-width: 100%"')
