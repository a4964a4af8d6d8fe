"""Clips in the cells of notebooks."""

import base64

from avlib.widgets.cell_output import video


def test_a_clip_is_embedded_with_controls_and_no_wider_than_its_cell(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"frames")
    html = video(tmp_path / "a.mp4")._repr_html_()
    assert '<video controls style="max-width: 100%"' in html and base64.b64encode(b"frames").decode() in html
