"""Text out of HTML: a file that is a page, and pages inside other formats.

resiliparse is the default: 24 times as fast as trafilatura, and DataComp-LM (Li et al. 2024, section 4.2) trained
models as good on what it extracts. trafilatura (Barbaresi 2021) keeps less of menus and footers. The invariant: a
page gives one text or one reason, whatever its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from raytrain.corpus.readers import START_BYTES, Broken, Raw, record_of, whole_file

EXPANSION = 20  # bytes of markup a byte of text that are read
# Finding the main text looks at all ancestors of every element. Browsers nest no deeper than this; of a page that does,
# all of the text is taken.
DEEPEST = 512


class BadPage(Exception):
    """What an extractor could not do, in one line."""


def read_html(file: IO[bytes], path: str, longest: int, extractor: str) -> Iterator[Raw | Broken]:
    data = whole_file(file, path, EXPANSION * longest)
    if isinstance(data, Broken):
        yield data
    elif data.strip():
        try:
            yield record_of(0, text_of(data, extractor), {})
        except BadPage as error:
            yield Broken(0, "bad_html", str(error), data[:START_BYTES])


def text_of(page: bytes, extractor: str, charset: str | None = None, whole: bool = False) -> str:
    """A page's main text, or all of its text; `charset` is what the server said, else the page itself decides."""
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

    named = map_encoding_to_html5(charset, fallback_utf8=False) if charset else None
    encoding = named or detect_encoding(page, from_html_meta=True) or "utf-8"
    try:
        markup = bytes_to_str(page, encoding, errors="replace", fallback_encodings=())
        return _trafilatura(markup) if extractor == "trafilatura" and not whole else _resiliparse(markup, whole)
    except (ValueError, RuntimeError, LookupError, RecursionError) as error:
        raise BadPage(" ".join(str(error).split())[:300] or type(error).__name__) from None


def _resiliparse(markup: str, whole: bool) -> str:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(markup)
    deep = tree.document and tree.document.query_selector(" > ".join(["*"] * DEEPEST))
    return str(
        extract_plain_text(tree, main_content=not whole and deep is None, alt_texts=False, preserve_formatting=True)
    )


def _trafilatura(markup: str) -> str:
    """FineWeb's settings (Penedo et al. 2024, section 3.2): precision before recall, no comments."""
    from trafilatura import extract

    return extract(markup, favor_precision=True, include_comments=False, deduplicate=False) or ""
