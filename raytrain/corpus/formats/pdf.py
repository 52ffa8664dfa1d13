"""The text layer of PDF, one document a file; a scan without one gives no text.

By pdfium (BSD, the engine of Chrome): 12 to 35 times as fast as pypdf and pdfminer.six on manuals, with the same
words. The invariant: one thread at a time is inside pdfium, which is not made for more.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import IO

from raytrain.corpus.readers import START_BYTES, Broken, Raw, record_of, whole_file

EXPANSION = 20  # bytes of a file, fonts and pictures in it, a byte of text
_ONE_AT_A_TIME = threading.Lock()


def read_pdf(file: IO[bytes], path: str, longest: int) -> Iterator[Raw | Broken]:
    data = whole_file(file, path, EXPANSION * longest)
    if isinstance(data, Broken):
        yield data
    elif data.strip():
        yield _document(data, longest)


def _document(data: bytes, longest: int) -> Raw | Broken:
    import pypdfium2

    pages: list[str] = []
    size = 0
    try:
        with _ONE_AT_A_TIME, pypdfium2.PdfDocument(data) as document:
            for number in range(len(document)):
                page = document[number]
                text = page.get_textpage()
                pages.append(text.get_text_range(errors="replace").replace("\r\n", "\n"))
                text.close()
                page.close()
                size += len(pages[-1])
                if size > longest:
                    return Broken(0, "oversize", f"more than {longest} characters of text")
    except pypdfium2.PdfiumError as error:
        reason = "encrypted" if "password" in str(error).lower() else "bad_pdf"
        return Broken(0, reason, str(error)[:300], data[:START_BYTES])
    if not any(page.strip() for page in pages):
        return Broken(0, "no_text_layer", f"{len(pages)} pages without a character")
    return record_of(0, "\n\n".join(pages), {})
