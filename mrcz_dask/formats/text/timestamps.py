"""Reads dates and times in the forms that microscopes and image programs write."""

from __future__ import annotations

import re
from datetime import datetime

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_CLOCK = r"[ T_]+(?P<hour>\d{1,2}):(?P<minute>\d\d):(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?"
_CLOCK += r"(?:\s?(?P<half>[AaPp])\.?\s?[Mm]\b\.?)?"
_ZONE = r"\s?(?P<zone>Z\b|[+-]\d\d:?\d\d)?"
_FORMS = (
    re.compile(r"(?<!\d)(?P<year>\d{4})[-/](?P<month>\d\d)[-/](?P<day>\d\d)" + _CLOCK + _ZONE),
    re.compile(r"(?<!\d)(?P<year>\d{4})-(?P<month>[A-Za-z]{3})-(?P<day>\d\d)" + _CLOCK),
    re.compile(r"(?<!\d)(?P<day>\d{1,2})-(?P<month>[A-Za-z]{3})-(?P<year>\d{4}|\d{2})" + _CLOCK),
)


def find_time(text: str, *, alone: bool = False) -> datetime | None:
    """Return the first date and time found in a text, or None.

    Read are ISO 8601 (``2026-10-14 19:06:33``, ``2026-10-14T19:06:33.5+02:00``) and the form of SerialEM
    and IMOD (``14-Oct-26  19:06:33``, or with four digits of the year), both also with ``AM`` or ``PM``.

    Parameters
    ----------
    text
        A value of an .mdoc, a label of an MRC header, a string of the metadata.
    alone
        Nothing may stand behind it: it could be the half of the day in another language.

    Returns
    -------
    datetime or None
        Local time without a zone, as microscopes write it; a time with a zone is turned into local time.
    """
    for form in _FORMS:
        for match in form.finditer(text):
            time = moment(**match.groupdict())
            if time is not None and not (alone and text[match.end() :].strip()):
                return time
    return None


def moment(
    year: str,
    month: str,
    day: str,
    hour: str,
    minute: str,
    second: str | None = None,
    fraction: str | None = None,
    zone: str | None = None,
    half: str | None = None,
) -> datetime | None:
    """Return the local time given by texts of year, month, day and so on; None if no such time exists.

    Parameters
    ----------
    year
        Two digits below 70 are of this century, from 70 on of the last one.
    month
        Digits, or an English month's first three letters.
    half
        A or P of the day; None: the hour counts to 24, as it does beyond 12 before P.
    """
    century = 0 if len(year) > 2 else 2000 if int(year) < 70 else 1900
    hours = int(hour)
    if half is not None and half in "aA" and hours > 12:
        return None
    if half is not None and hours <= 12:
        hours = hours % 12 + (12 if half in "pP" else 0)
    try:
        time = datetime(
            century + int(year),
            int(month) if month.isdigit() else _MONTHS.index(month.lower()) + 1,
            int(day),
            hours,
            int(minute),
            int(second or 0),
            int(((fraction or "") + "000000")[:6]),
        )
        if zone:
            time = datetime.fromisoformat(f"{time.isoformat()}{zone}").astimezone().replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    return time
