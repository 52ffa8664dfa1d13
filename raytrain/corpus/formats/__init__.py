"""Formats beside the line-wise and columnar ones of readers.py: a module each, that yields `Raw` and `Broken`.

Nothing here decides about quality. The invariant is the readers': every record comes out or is counted, and the
generator ends without an exception.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from raytrain.corpus.inventory import Format
from raytrain.corpus.readers import Broken, Raw


def read_format(
    file: IO[bytes], path: str, form: Format, text_field: str, longest: int, extractor: str
) -> Iterator[Raw | Broken]:
    """The records of an open file; `extractor` makes text of HTML, on its own or in an archive."""
    if form == "csv":
        from raytrain.corpus.formats.csv import read_csv

        return read_csv(file, path, text_field, longest)
    if form == "pdf":
        from raytrain.corpus.formats.pdf import read_pdf

        return read_pdf(file, path, longest)
    if form == "warc":
        from raytrain.corpus.formats.warc import read_warc

        return read_warc(file, path, longest, extractor)
    if form == "epub":
        from raytrain.corpus.formats.epub import read_epub

        return read_epub(file, path, longest)
    from raytrain.corpus.formats.html import read_html

    return read_html(file, path, longest, extractor)
