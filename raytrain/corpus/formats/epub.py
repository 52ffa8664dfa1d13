"""EPUB books: the chapters in the order of the spine, one document a book.

The invariant: no member of the archive is read further than a book may be long, whatever its headers say.
"""

from __future__ import annotations

import io
import lzma
import posixpath
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO
from urllib.parse import unquote
from xml.etree import ElementTree

from raytrain.corpus.formats.html import EXPANSION, BadPage, text_of
from raytrain.corpus.readers import Broken, Raw, record_of, whole_file
from raytrain.corpus.streams import LARGEST_RATIO, RATIO_FROM

CONTAINER = "META-INF/container.xml"
CHAPTERS = ("application/xhtml+xml", "text/html")
DECLARATIONS = 4 << 20  # bytes of the container's and package's XML
ARCHIVE = 20  # times the text that a book's file may be large: pictures are passed over


class _BadBook(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def read_epub(file: IO[bytes], path: str, longest: int) -> Iterator[Raw | Broken]:
    data = whole_file(file, path, ARCHIVE * longest)
    if isinstance(data, Broken):
        yield data
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as book:
            yield _book(book, len(data), longest)
    except _BadBook as error:
        yield Broken(0, error.reason, str(error))
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, struct.error) as error:  # OSError: bzip2
        yield Broken(0, "broken_stream", str(error)[:300])
    except (LookupError, ValueError, RuntimeError, NotImplementedError, ElementTree.ParseError) as error:
        yield Broken(0, "bad_epub", " ".join(str(error).split())[:300])


def _book(book: zipfile.ZipFile, size: int, longest: int) -> Raw | Broken:
    left = min(EXPANSION * longest, max(RATIO_FROM, LARGEST_RATIO * size))
    root = _element(ElementTree.fromstring(_member(book, CONTAINER, DECLARATIONS)), "rootfile").get("full-path", "")
    package = ElementTree.fromstring(_member(book, root, DECLARATIONS))
    places = {
        item.get("id"): posixpath.normpath(posixpath.join(posixpath.dirname(root), unquote(item.get("href", ""))))
        for item in package.iter()
        if _name(item) == "item" and item.get("media-type") in CHAPTERS
    }
    texts = []
    for reference in package.iter():
        place = places.get(reference.get("idref")) if _name(reference) == "itemref" else None
        if place is not None:
            page = _member(book, place, left)
            left -= len(page)
            try:
                texts.append(text_of(page, "resiliparse", whole=True))
            except BadPage as error:
                raise _BadBook("bad_html", f"{place}: {error}") from None
    told = {_name(e): (e.text or "").strip() for e in package.iter() if _name(e) in ("identifier", "date")}
    fields = {"id": told.get("identifier"), "date": told.get("date")}
    return record_of(0, "\n\n".join(text for text in texts if text.strip()), fields)


def _member(book: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """A member's bytes; sizes that the archive claims are not believed."""
    with book.open(name) as member:
        data = member.read(limit + 1)
    if len(data) > limit:
        raise _BadBook("zip_bomb", f"{name} grows beyond {limit} bytes")
    return data


def _element(tree: ElementTree.Element, name: str) -> ElementTree.Element:
    for element in tree.iter():
        if _name(element) == name:
            return element
    raise ValueError(f"no <{name}>")


def _name(element: ElementTree.Element) -> str:
    """A tag without its namespace; comments have none."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
