"""A corpus to measure on: 183 MB of text in 27,000 documents from Debian's documentation packages.

Only `apt-get download`, `dpkg -x` and the standard library; nothing is installed. Manuals, books and fortunes in eight
languages, with the repetition, code and tables that rules are about. The text is made by simple means, on purpose: it
is input. The invariant: equal packages give equal files, whatever order they come in.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import html
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PACKAGES = """
manpages manpages-dev manpages-de manpages-fr manpages-es manpages-ja manpages-pl manpages-ru python3.11-doc
linux-doc-6.1 postgresql-doc-15 perl-doc debian-handbook debian-reference-en debian-reference-ja debian-reference-de
debian-reference-fr developers-reference developers-reference-de installation-guide-amd64 git-doc sqlite3-doc
nodejs-doc cmake-doc debian-policy bible-kjv-text fortunes fortunes-de glibc-doc harden-doc debian-faq anarchism zsh-doc
postfix-doc apache2-doc python-django-doc erlang-doc
""".split()
# The percentage of a package's documents that is taken, by hash, so that none dominates.
SHARE = {
    "linux-doc-6.1": 30,
    "debian-handbook": 40,
    "perl-doc": 40,
    "python3.11-doc": 40,
    "anarchism": 25,
    "installation-guide-amd64": 50,
    "erlang-doc": 60,
    "fortunes": 20,
    "fortunes-de": 20,
}
FILES = 8
SHORTEST, LONGEST = 40, 2_000_000  # characters
PIECE = 20_000  # a plain text of more than 20 pieces is cut into such
NOT_TEXT = ("changelog", "changelog.Debian", "copyright", "genindex-all.html")

DROPPED = re.compile(r"(?is)<(script|style|head|nav|svg)\b.*?</\1\s*>|<!--.*?-->")
BLOCK = re.compile(
    r"(?i)</?(p|div|br|li|ul|ol|h[1-6]|tr|table|pre|dt|dd|dl|section|article|blockquote|hr|td|th)\b[^>]*>"
)
TAG = re.compile(r"<[^>]+>")
SPACES = re.compile(r"[ \t\u00a0]+")
EMPTY_LINES = re.compile(r"\n\s*\n\s*\n+")
HTML_NAME = re.compile(r"\.x?html?(\.[a-z]{2}(-[a-z]+)?(\.[\w-]+)?)?$")
ROFF_NOTHING = re.compile(r"\\f[BIRP]|\\f\([A-Z]{2}|\\f\[[^\]]*\]|\\s[-+]?\d|\\[&/,c|^:]|\\\[[^\]]*\]")
ROFF_NAMED = re.compile(r"\\\((..)")
ROFF_CHARACTERS = {"aq": "'", "dq": '"', "lq": '"', "rq": '"', "em": "-", "en": "-", "bu": "*", "co": "(c)", "ti": "~"}
ROFF_SKIPPED = ('.\\"', "'\\\"", ".de", ".ie", ".el", ".if", ".nr", ".ds", ".so", ".TH")
ROFF_BREAKS = (".PP", ".P", ".LP", ".TP", ".IP", ".HP", ".RS", ".RE", ".sp", ".br")


def build(folder: Path) -> Path:
    """The folder with the corpus's *.jsonl, made the first time. Raises RuntimeError where no package can be had."""
    target = folder / "corpus"
    if target.exists():
        return target
    packages = folder / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    packages.chmod(0o777)  # apt downloads as a user of its own
    print(f"fetching Debian's documentation packages into {packages} (minutes the first time)", file=sys.stderr)
    have = {path.name.partition("_")[0] for path in packages.glob("*.deb")}
    for name in PACKAGES:
        if name not in have:
            subprocess.run(["apt-get", "download", "-q", name], cwd=packages, capture_output=True, check=False)
    found = [(name, path) for name in PACKAGES for path in sorted(packages.glob(f"{name}_*.deb"))[:1]]
    if not found:
        raise RuntimeError("apt-get could download none of the packages; give a corpus of your own with --corpus")
    unfinished = folder / "unfinished"
    unfinished.mkdir(exist_ok=True)
    handles = [(unfinished / f"part-{k:04d}.jsonl").open("w", encoding="utf-8") for k in range(FILES)]
    for name, package in found:
        for record in _records(name, package):
            handles[int(record["id"], 16) % FILES].write(json.dumps(record, ensure_ascii=False) + "\n")
    for handle in handles:
        handle.close()
    return unfinished.rename(target)


def _records(name: str, package: Path) -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(dir=package.parent) as folder:
        subprocess.run(["dpkg", "-x", str(package), folder], check=True)
        for path, kind, raw in _files(Path(folder)):
            pieces = _pieces(kind, raw)
            for k, text in enumerate(pieces):
                key = f"{path}#{k}" if len(pieces) > 1 else path
                number = hashlib.sha1(f"{name}:{key}".encode()).hexdigest()[:16]
                fits = SHORTEST <= len(text) <= LONGEST and "\0" not in text
                if fits and int(number[8:], 16) % 100 < SHARE.get(name, 100):
                    yield {"id": number, "text": text, "url": f"https://{name}.debian.example/{key}", "source": name}


def _files(root: Path) -> Iterator[tuple[str, str, str]]:
    for path in sorted(p for p in root.rglob("*") if p.is_file() and not p.is_symlink()):
        relative, name = str(path.relative_to(root)), path.name.removesuffix(".gz")
        kind = None if name in NOT_TEXT else _kind(relative, path.name, name)
        if kind is not None:
            yield relative, kind, _read(path)


def _kind(relative: str, full_name: str, name: str) -> str | None:
    ending = name.rpartition(".")[2].lower()
    if "/man/" in relative and full_name.endswith(".gz"):
        return "roff"
    if HTML_NAME.search(name):
        return "html"
    if ending in ("txt", "rst", "md", "pod") or name.endswith(".dict.dz"):
        return "text"
    return "fortunes" if "fortunes" in relative and ending not in ("dat", "u8") else None


def _read(path: Path) -> str:
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _pieces(kind: str, raw: str) -> list[str]:
    if kind == "html":
        return [_from_html(raw)]
    if kind == "roff":
        return [_from_roff(raw)]
    text = raw.replace("\r\n", "\n").strip()
    if kind == "fortunes":
        return [piece.strip() for piece in text.split("\n%\n")]
    return [text[k : k + PIECE] for k in range(0, len(text), PIECE)] if len(text) > 20 * PIECE else [text]


def _from_html(raw: str) -> str:
    text = html.unescape(TAG.sub("", BLOCK.sub("\n", DROPPED.sub(" ", raw))))
    lines = (SPACES.sub(" ", line).strip() for line in text.split("\n"))
    return EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip()


def _from_roff(raw: str) -> str:
    out = []
    for line in raw.split("\n"):
        rest = line.partition(" ")[2].replace('"', "")
        if line.startswith(ROFF_SKIPPED):
            continue
        if line.startswith((".SH", ".SS")):
            out.append("\n" + rest)
        elif line.startswith(ROFF_BREAKS):
            out.append("\n" + (rest if line.startswith(".IP") else ""))
        else:
            plain = ROFF_NOTHING.sub("", rest if line.startswith((".", "'")) else line)
            plain = ROFF_NAMED.sub(lambda found: ROFF_CHARACTERS.get(found[1], ""), plain)
            out.append(plain.replace("\\-", "-").replace("\\e", "\\").replace("\\ ", " ").replace("\\~", " "))
    return EMPTY_LINES.sub("\n\n", "\n".join(out)).strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    print(build(parser.parse_args().folder))
