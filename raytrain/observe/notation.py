"""How values are written on a page: numbers with their units, text made safe, and what is not there.

Pure and total: facts come from files that others wrote, so that any value has a notation. The invariant: nothing
that these functions return can break the page that it stands in.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping
from typing import Any

THIN = "\u202f"  # narrow no-break space: groups of three digits, number and unit
MISSING = "–"

# Control characters, bidirectional overrides and lone surrogates: they would garble the page or fail to encode.
_HOSTILE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)


def text(value: object) -> str:
    """Any value as text for HTML content and quoted attributes; control characters become visible."""
    return html.escape(_HOSTILE.sub(_visible, str(value)), quote=True)


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"


def real(value: object) -> float | None:
    """A finite number as float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def count(value: object) -> str:
    """12345 as 12 345."""
    found = real(value)
    return MISSING if found is None else f"{found:,.0f}".replace(",", THIN)


def short(value: object, unit: str = "") -> str:
    """12345 as 12.3 k, with three significant digits."""
    found = real(value)
    if found is None:
        return MISSING
    for power, prefix in ((24, "Y"), (21, "Z"), (18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        # 999.6 of something reads better as 1.00 of the next.
        if abs(found) >= 0.9995 * 10**power:
            return f"{significant(found / 10**power)}{THIN}{prefix}{unit}"
    return f"{significant(found)}{THIN}{unit}" if unit else significant(found)


def significant(value: object, digits: int = 3) -> str:
    """A number to so many significant digits, without an exponent where it can be avoided."""
    found = real(value)
    if found is None:
        return MISSING
    if found == 0:
        return "0"
    exponent = math.floor(math.log10(abs(float(f"{found:.{digits - 1}e}"))))
    if exponent < -4 or exponent > 14:
        return f"{found:.{digits - 1}e}".replace("e-0", "e-").replace("e+0", "e")
    if float(found).is_integer() and exponent < digits:
        return f"{found:.0f}"
    return f"{found:,.{max(0, digits - 1 - exponent)}f}".replace(",", THIN)


def size(value: object) -> str:
    """Bytes in decimal units."""
    return short(value, "B")


def percent(value: object) -> str:
    """A ratio as a percentage."""
    found = real(value)
    if found is None:
        return MISSING
    if 0 < found < 0.001:
        return f"{significant(found * 100, 2)}{THIN}%" if found >= 0.0001 else f"<{THIN}0.01{THIN}%"
    return f"{found * 100:.{0 if found in (0.0, 1.0) else 1}f}{THIN}%"


def money(value: object) -> str:
    """US dollars; below ten cents to three significant digits."""
    found = real(value)
    if found is None:
        return MISSING
    if found == 0:
        return "$0"
    if 0 < found < 0.0001:
        return "<$0.0001"
    if 0 < found < 0.1:
        return f"${float(f'{found:.3g}'):.7f}".rstrip("0")
    return f"${found:,.{2 if abs(found) < 1000 else 0}f}".replace(",", THIN)


def duration(value: object) -> str:
    """Seconds in the one or two units that matter."""
    found = real(value)
    if found is None:
        return MISSING
    if found < 0:
        return f"−{duration(-found)}"
    if 0 < found < 1:
        return f"{found * 1000:.0f}{THIN}ms"
    if 0 < found < 10:
        return f"{found:.1f}{THIN}s"
    whole = round(found)
    for unit, name, part, rest in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            small = whole % unit // part
            return f"{whole // unit}{THIN}{name}" + (f" {small}{THIN}{rest}" if small else "")
    return f"{whole}{THIN}s"


def clip(value: object, most: int) -> str:
    """At most `most` characters, the last an ellipsis where some are missing."""
    found = str(value)
    return found if len(found) <= most else found[: most - 1].rstrip() + "…"


def number_or(value: object, otherwise: float) -> float:
    """A finite number, or `otherwise`."""
    found = real(value)
    return otherwise if found is None else found


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping as it is; anything else as an empty one, for facts that a run never came to write."""
    return value if isinstance(value, Mapping) else {}
