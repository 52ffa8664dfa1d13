"""The one form in which text is kept: what a document's identity is computed from.

Pure and total: any string without lone surrogates has a normal form. The invariant: normalising twice changes
nothing, so that a text taken from our own output keeps its identity.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.kernels.buffers import Bytes, Offsets

Flags = NDArray[np.bool_]
VERSION = 2
C0 = bytes([*range(9), *range(14, 32), 127])  # control characters: single bytes in UTF-8, and parts of no other
PAGES = bytes.maketrans(b"\v\f", b"\n\n")
BREAKS = re.compile("[\x85\u2028\u2029]")  # other ways to end a line
C1 = re.compile("[\x80-\x9f\ufeff\ufffe\uffff]")
BLANK_LINES = re.compile("\n{4,}")
EDGES = " \t\n\u00a0\u200b\u200c\u200d\u2060"
GUTENBERG_START = re.compile(
    r"^\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG EBOOK(?:[^*\n]*\n){0,2}?[^*\n]*\*\*\*[^\n]*\n", re.M
)
GUTENBERG_END = re.compile(r"^\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG EBOOK", re.M)


def normalise(text: str, options: Mapping[str, Any]) -> tuple[str, bool]:
    """The normal form of a text, and whether its encoding was repaired. `options`: a dumped NormaliseSection."""
    # Through bytes and by plain searches first: patterns over every character cost ten times as much.
    text = text.encode("utf-8").translate(PAGES, C0).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    repaired = False
    if not text.isascii():
        if options["repair_mojibake"]:  # before anything touches C1 control characters: mojibake is made of them
            text, repaired = repair_mojibake(text)
        text = C1.sub("", BREAKS.sub("\n", text))
        if options["form"] != "none" and not unicodedata.is_normalized(options["form"], text):
            text = unicodedata.normalize(options["form"], text)
    framed = options["strip_gutenberg"] and "PROJECT GUTENBERG EBOOK" in text
    if framed:
        text = strip_gutenberg(text)
    if " \n" in text or "\t\n" in text:
        # By line: a pattern that looks for blanks before a line's end is quadratic in a run of them.
        text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    if "\n\n\n\n" in text:
        text = BLANK_LINES.sub("\n\n", text)
    text = text.strip(EDGES)
    if options["repair_mojibake"] and repair_mojibake(text)[1]:  # what was just removed stood in the way
        return normalise(text, options)[0], True
    if framed and strip_gutenberg(text) != text:  # as above; and a book may stand within a book's frame
        return normalise(text, options)[0], repaired
    return text, repaired


def normalise_column(data: Bytes, offsets: Offsets, options: Mapping[str, Any]) -> tuple[Bytes, Offsets, Flags]:
    """The normal forms of the texts data[offsets[i]:offsets[i + 1]] (valid UTF-8), and which were repaired.

    The same as `normalise` on each; the kernel does those for which bytes are enough.
    """
    from raytrain.corpus.kernels import normal

    tables = normal.tables(options["form"], options["repair_mojibake"], options["strip_gutenberg"])
    tidied, ends, odd = normal.tidy(data, offsets, *tables)
    repaired = np.zeros(len(odd), np.bool_)
    rows = np.flatnonzero(odd)
    if not len(rows):
        return tidied, ends, repaired
    texts = []
    for row in rows:
        text, repaired[row] = normalise(bytes(data[offsets[row] : offsets[row + 1]]).decode("utf-8"), options)
        texts.append(text.encode("utf-8"))
    return *_filled(tidied, ends, rows, texts), repaired


def _filled(data: Bytes, ends: Offsets, rows: NDArray[np.int64], texts: Sequence[bytes]) -> tuple[Bytes, Offsets]:
    """The texts with `texts` put in at `rows`, where there were empty ones."""
    sizes = np.diff(ends)
    sizes[rows] = [len(text) for text in texts]
    pieces: list[Any] = []
    begin = 0
    for row, text in zip(rows, texts, strict=True):
        pieces += [data[begin : ends[row]], np.frombuffer(text, np.uint8)]
        begin = ends[row]
    return np.concatenate([*pieces, data[begin:]]), np.concatenate(([0], np.cumsum(sizes)))


def repair_mojibake(text: str) -> tuple[str, bool]:
    """Undoes UTF-8 that was decoded as Windows-1252 (or Latin-1): `cafÃ©` becomes `café`.

    Only if the whole text goes back into bytes and these are valid UTF-8, which text that was meant so practically
    never is: each of its non-ASCII letters would have to form such a pair by chance.
    """
    repaired = False
    while not text.isascii():  # some text was broken twice
        try:
            text = text.encode("cp1252", errors="raytrain.c1").decode("utf-8")
        except UnicodeError:
            break
        repaired = True
    return text, repaired


def strip_gutenberg(text: str) -> str:
    """The book between Project Gutenberg's marks; without an opening mark, or with several, the text as it is."""
    starts = [match.end() for match in GUTENBERG_START.finditer(text)]
    if len(starts) != 1:
        return text
    end = GUTENBERG_END.search(text, starts[0])
    return text[starts[0] : end.start() if end else len(text)]


def _c1(error: UnicodeError) -> tuple[bytes, int]:
    # Windows-1252 leaves five bytes undefined and decoders pass them, like Latin-1, as C1 control characters.
    assert isinstance(error, UnicodeEncodeError)
    part = error.object[error.start : error.end]
    if all("\x80" <= character <= "\x9f" for character in part):
        return part.encode("latin-1"), error.end
    raise error


codecs.register_error("raytrain.c1", _c1)
