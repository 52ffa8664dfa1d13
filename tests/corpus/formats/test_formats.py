"""Every format beside jsonl, parquet and text: what a good record becomes, and that nothing bad ends the reading."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.corpus.inventory import Format, format_of
from raytrain.corpus.readers import Broken, Found, Raw, read

PAGE = """<html><head><title>T</title><meta charset="{charset}"></head><body><nav><a href="/">Home</a></nav>
<main><h1>The tower</h1><p>It was built in 1889 – and it stands, as every visitor of the city can see today.</p>
<script>var x = 1;</script></main></body></html>"""


def found(data: bytes, path: str, longest: int = 100_000, extractor: str = "resiliparse") -> list[Found]:
    form = format_of(path)
    assert form is not None
    return list(read(io.BytesIO(data), path, form, "text", longest, extractor))


def reasons(records: list[Found]) -> list[tuple[int, str]]:
    return [(r.record, r.text if isinstance(r, Raw) else r.reason) for r in records if not hasattr(r, "table")]


# -- HTML -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extractor", ["resiliparse", "trafilatura"])
@pytest.mark.parametrize("charset", ["utf-8", "windows-1252"])
def test_a_page_gives_its_main_text_in_the_encoding_that_it_names(charset: str, extractor: str) -> None:
    raw = found(PAGE.format(charset=charset).encode(charset), "a.html", extractor=extractor)[0]
    assert isinstance(raw, Raw)
    assert "It was built in 1889 – and it stands" in raw.text
    assert "var x" not in raw.text
    assert "Home" not in raw.text


def test_a_page_nested_beyond_reason_gives_all_its_text() -> None:
    deep = PAGE.format(charset="utf-8").replace("<main>", "<div>" * 30_000).encode()
    (raw,) = found(deep, "a.html")
    assert isinstance(raw, Raw)
    assert "Home" in raw.text
    assert "It was built in 1889" in raw.text


def test_a_page_as_deep_as_browsers_allow_gives_its_main_text() -> None:
    (raw,) = found(PAGE.format(charset="utf-8").replace("<main>", "<div>" * 500 + "<main>").encode(), "a.html")
    assert isinstance(raw, Raw)
    assert "Home" not in raw.text


# -- CSV --------------------------------------------------------------------------------------------------------------


def test_csv_rows_become_records_with_their_fields() -> None:
    data = b'\xef\xbb\xbfid,text,url\r\n1,"two\nlines, ""quoted""",http://x\r\n\r\n2,plain,\r\n'
    assert found(data, "a.csv") == [
        Raw(0, 'two\nlines, "quoted"', {"id": "1", "url": "http://x"}),
        Raw(1, "plain", {"id": "2"}),
    ]
    assert found(gzip.compress(data.replace(b",", b"\t")), "a.tsv.gz")[1] == Raw(1, "plain", {"id": "2"})


def test_a_bad_csv_row_costs_no_other() -> None:
    rows = [b"id,text", b'1,"a" b', b"2", b"3,\xff", b"4,x,y", b"5,good", b'6,"never closed', b"7,kept"]
    expected = ["bad_csv", "bad_csv", "not_utf8", "bad_csv", "good", "bad_csv", "kept"]
    assert reasons(found(b"\n".join(rows), "a.csv")) == list(enumerate(expected))


@pytest.mark.parametrize(("ending", "by"), [("csv", ","), ("tsv", "\t")])
def test_a_stray_quote_swallows_no_row(ending: str, by: str) -> None:
    rows = [
        ("id,text", None),
        ('1,5" wide', '5" wide'),
        ('2,said "so" twice', 'said "so" twice'),
        ('3,"opens here', "bad_csv"),
        ("4,fourth", "fourth"),
        ('5,"two\nlines, ""quoted"""', 'two\nlines, "quoted"'),
        ('6,"swallows', "bad_csv"),
        ("7,seventh", "seventh"),
        ('8,closes",too many', "bad_csv"),
        ('9,""', ""),
        ('10,"\n\n"', "\n\n"),
        ('11,"open to the end', "bad_csv"),
        ("12,twelfth", "twelfth"),
    ]
    data = "\n".join(row.replace(",", by).replace(f"lines{by}", "lines,") for row, _ in rows).encode()
    assert reasons(found(data, f"a.{ending}")) == list(enumerate(expected for _, expected in rows[1:]))


def test_a_csv_row_of_several_lines_that_is_no_utf8_is_one_and_two_rows_in_its_lines_are_two() -> None:
    assert reasons(found(b'id,text\n1,"\xff\nb"\n2,c', "a.csv")) == [(0, "not_utf8"), (1, "c")]
    data = b'id,text\n1,"\xff\n2,kept\n3,b","x"\n'
    assert reasons(found(data, "a.csv")) == [(0, "bad_csv"), (1, "kept"), (2, "bad_csv")]


def test_a_csv_quote_that_is_never_closed_holds_no_more_than_a_row() -> None:
    data = b'id,text\n1,"' + (b"x" * 99 + b"\n") * 12_000 + b"2,good\n"
    records = found(data, "a.csv", longest=1000)
    assert reasons(records) == [*enumerate(["bad_csv"] * 12_000), (12_000, "good")]


def test_a_csv_line_longer_than_any_row_is_oversize() -> None:
    data = b"id,text\n1," + b"x" * 3_000_000 + b"\n2,good\n"
    assert reasons(found(data, "a.csv", longest=1000)) == [(0, "oversize"), (1, "good")]


def test_csv_without_the_text_column_counts_every_row() -> None:
    broken = found(b"id,body\n1,a\n2,b\n", "a.csv")[0]
    assert isinstance(broken, Broken)
    assert (broken.reason, broken.count) == ("missing_text", 2)


def test_a_cut_csv_keeps_the_rows_before() -> None:
    data = gzip.compress(b"text\n" + b"".join(b"row %d\n" % i for i in range(5000)), mtime=0)
    records = found(data[: len(data) // 2], "a.csv.gz")
    assert len(records) > 500
    assert reasons(records)[-1][1] == "broken_stream"
    assert all(isinstance(r, Raw) for r in records[:-1])


# -- WARC and WET -----------------------------------------------------------------------------------------------------


def warc_record(kind: str, url: str, body: bytes, content_type: str = "application/http; msgtype=response") -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{url[-1]}>\r\nWARC-Date: 2024-01-02T03:04:05Z\r\n"
        f"WARC-Target-URI: {url}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n\r\n"


def response(url: str, body: bytes, content_type: str, status: int = 200, more: str = "") -> bytes:
    http = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\n{more}\r\n".encode()
    return warc_record("response", url, http + body)


LATIN = PAGE.format(charset="nonsense").replace("–", "é").encode("latin-1")
ARCHIVE = [
    warc_record("warcinfo", "http://x/0", b"software: test\r\n", "application/warc-fields"),
    warc_record("request", "http://x/1", b"GET / HTTP/1.1\r\n\r\n", "application/http; msgtype=request"),
    response("http://x/2", LATIN, "text/html; charset=ISO-8859-1"),
    response("http://x/3", b"\x89PNG", "image/png"),
    response("http://x/4", LATIN, "text/html", status=404),
    response("http://x/5", gzip.compress(b"packed words"), "text/plain", more="Content-Encoding: gzip\r\n"),
]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_warc_gives_its_good_pages_in_the_servers_charset_and_counts_the_rest(ending: str) -> None:
    data = b"".join(gzip.compress(r) if ending else r for r in ARCHIVE)
    page, plain, *passed_over = found(data, f"a.warc{ending}")
    assert isinstance(page, Raw)
    assert "It was built in 1889 é and it stands" in page.text
    assert page.fields == {"url": "http://x/2", "date": "2024-01-02T03:04:05Z", "id": "<urn:uuid:2>"}
    assert isinstance(plain, Raw)
    assert (plain.record, plain.text) == (1, "packed words")
    assert [(r.reason, r.count) for r in passed_over if isinstance(r, Broken)] == [("http_status", 1), ("not_text", 1)]


def test_a_wet_gives_its_conversions() -> None:
    data = warc_record("conversion", "http://x/9", "schon gewandelt – ja".encode(), "text/plain")
    assert found(gzip.compress(data), "CC-MAIN-1.warc.wet.gz")[0] == Raw(
        0, "schon gewandelt – ja", {"url": "http://x/9", "date": "2024-01-02T03:04:05Z", "id": "<urn:uuid:9>"}
    )


def test_a_damaged_member_of_a_warc_costs_no_other() -> None:
    members = [
        bytearray(gzip.compress(warc_record("conversion", f"http://x/{i}", b"text %d " % i * 2000, "text/plain")))
        for i in range(4)
    ]
    members[1][40:60] = bytes(20)
    texts = [text[:6] for _, text in reasons(found(b"".join(members), "a.wet.gz"))]
    assert [t for t in texts if t.startswith("text")] == ["text 0", "text 2", "text 3"]
    assert "broken" in texts


def test_a_cut_warc_record_gives_no_text() -> None:
    whole = warc_record("conversion", "http://x/1", b"whole", "text/plain")
    cut = warc_record("conversion", "http://x/2", b"half of it " * 50, "text/plain")[:-300]
    assert reasons(found(whole + cut, "a.wet")) == [(0, "whole"), (1, "bad_warc")]


def test_a_page_longer_than_any_is_oversize_and_not_read() -> None:
    data = response("http://x/1", b"x" * 60_000, "text/html") + ARCHIVE[5]
    assert reasons(found(data, "a.warc", longest=1000)) == [(0, "oversize"), (1, "packed words")]


@pytest.mark.parametrize("longest", [1000, 10_000])
def test_a_page_that_unpacks_beyond_any_length_is_a_zip_bomb_and_costs_no_other(longest: int) -> None:
    limit = 20 * longest
    pages = [gzip.compress(b"x" * size) for size in (limit + 1, 40 * limit)]
    data = b"".join(response("http://x/1", page, "text/html", more="Content-Encoding: gzip\r\n") for page in pages)
    expected = [(0, "zip_bomb"), (1, "zip_bomb"), (2, "packed words")]
    assert reasons(found(data + ARCHIVE[5], "a.warc", longest)) == expected


# -- EPUB -------------------------------------------------------------------------------------------------------------

CONTAINER = '<container><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
PACKAGE = """<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">
<metadata><dc:identifier>isbn:1</dc:identifier><dc:date>1889</dc:date></metadata>
<manifest><item id="b" href="text/two.xhtml" media-type="application/xhtml+xml"/>
<item id="a" href="text/on%20e.xhtml" media-type="application/xhtml+xml"/>
<item id="c" href="cover.png" media-type="image/png"/></manifest>
<spine><itemref idref="c"/><itemref idref="a"/><itemref idref="b"/></spine></package>"""


def epub(**members: str | bytes) -> bytes:
    return packed(members, zipfile.ZIP_DEFLATED)


def packed(members: Mapping[str, str | bytes], packing: int) -> bytes:
    sink = io.BytesIO()
    held: dict[str, str | bytes] = {
        "META-INF/container.xml": CONTAINER,
        "OEBPS/book.opf": PACKAGE,
        "OEBPS/text/two.xhtml": "<html><body><p>The second chapter.</p></body></html>",
        "OEBPS/text/on e.xhtml": "<html><body><h1>One</h1><p>The first chapter.</p></body></html>",
        **members,
    }
    with zipfile.ZipFile(sink, "w", packing) as book:
        for name, data in held.items():
            book.writestr(name, data)
    return sink.getvalue()


def test_a_book_is_one_document_in_the_order_of_its_spine() -> None:
    (raw,) = found(epub(), "a.epub")
    assert isinstance(raw, Raw)
    assert raw.text.split() == "One The first chapter. The second chapter.".split()
    assert raw.fields == {"id": "isbn:1", "date": "1889"}


def test_a_book_that_is_a_zip_bomb_is_set_aside() -> None:
    bomb = epub(**{"OEBPS/text/two.xhtml": b"<p>" + b" " * 80_000_000})
    assert len(bomb) < 100_000
    assert reasons(found(bomb, "a.epub", longest=10_000_000)) == [(0, "zip_bomb")]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"META-INF/container.xml": "<container/>"}, "bad_epub"),
        ({"OEBPS/book.opf": "<package><unclosed>"}, "bad_epub"),
        ({"OEBPS/book.opf": '<?xml version="1.0" encoding="no-such"?>' + PACKAGE}, "bad_epub"),
        ({"OEBPS/book.opf": PACKAGE.replace("two.xhtml", "absent.xhtml")}, "bad_epub"),
    ],
)
def test_a_book_with_a_part_missing_is_set_aside(members: dict[str, str], reason: str) -> None:
    assert reasons(found(epub(**members), "a.epub")) == [(0, reason)]


def test_a_truncated_book_is_a_broken_stream() -> None:
    assert reasons(found(epub()[:-30], "a.epub")) == [(0, "broken_stream")]


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("place", range(0, 60, 6))
def test_damage_inside_a_packed_chapter_is_a_broken_stream(packing: int, place: int) -> None:
    name = "META-INF/container.xml"
    book = bytearray(packed({}, packing))
    begin = book.index(name.encode()) + len(name) + place
    book[begin : begin + 6] = bytes(255 - byte for byte in book[begin : begin + 6])
    assert reasons(found(bytes(book), "a.epub"))[0][1] in ("broken_stream", "bad_epub")


# -- PDF --------------------------------------------------------------------------------------------------------------


def pdf(*pages: str) -> bytes:
    """A file with a line of Helvetica a page, written by hand."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET"
        resources = "<< /Font << /F1 3 0 R >> >>"
        page = f"/Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources {resources} /Contents {5 + 2 * i} 0 R"
        objects += [f"<< {page} >>", f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream"]
    body, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n".encode()
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    trailer = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return body + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{trailer}".encode()


def test_a_pdf_gives_the_text_layer_of_all_its_pages() -> None:
    assert reasons(found(pdf("The first page.", "The second."), "a.pdf")) == [(0, "The first page.\n\nThe second.")]


def test_a_scan_a_ruin_and_an_endless_pdf_are_set_aside() -> None:
    assert reasons(found(pdf("", ""), "a.pdf")) == [(0, "no_text_layer")]
    assert reasons(found(b"%PDF-1.4 and nothing more", "a.pdf")) == [(0, "bad_pdf")]
    assert reasons(found(pdf(*["many words " * 8] * 40), "a.pdf", longest=1000)) == [(0, "oversize")]


# -- all --------------------------------------------------------------------------------------------------------------

GOOD = {
    "html": PAGE.format(charset="utf-8").encode(),
    "csv": b'id,text\n1,"a\nb"\n2,c\n',
    "warc": b"".join(ARCHIVE),
    "epub": epub(),
    "pdf": pdf("A page."),
}


@settings(deadline=None, max_examples=100)
@given(data=st.data(), form=st.sampled_from(sorted(GOOD)))
def test_no_bytes_whatever_end_a_reader_with_an_exception(data: st.DataObject, form: Format) -> None:
    """Noise, and good files with a stretch cut out or written over."""
    good = GOOD[form]
    start, size = data.draw(st.integers(0, len(good))), data.draw(st.integers(0, 60))
    spoilt = good[:start] + data.draw(st.binary(max_size=40)) + good[start + size :]
    for some in (spoilt, data.draw(st.binary(max_size=100))):
        for record in read(io.BytesIO(some), "a", form, "text", 5000):
            if isinstance(record, Raw):
                record.text.encode("utf-8")


def test_a_folder_of_every_format_is_read_by_the_files_endings(tmp_path: Path) -> None:
    for form, data in GOOD.items():
        (tmp_path / f"a.{form}").write_bytes(data)
    assert {format_of(path.name) for path in tmp_path.iterdir()} == set(GOOD)
