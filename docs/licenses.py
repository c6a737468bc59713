"""List the licenses of all packages that mrcz-dask needs; fail at one that nobody looked at.

Run `python docs/licenses.py` (or `make audit`) in an environment with all extras.
"""

import re
import sys
from importlib.metadata import PackageMetadata, PackageNotFoundError, distribution

EXTRAS = ("formats", "metrics", "hpc", "live")
# Those that let anybody use, change and hand on a program that loads the package.
FREE = re.compile(
    r"\b(0BSD|Apache|BSD|CC0|HPND|ISC|LLVM|MIT|MPL|Mozilla|PSF|Python Software Foundation|Zlib)\b"
)
# Looked at one by one: no license in their metadata, or one that asks for more.
LOOKED_AT = {
    "trackpy": "BSD-3-Clause",
    "rosettasciio": "GPL-3.0; an extra (dm), loaded for DigitalMicrograph files alone",
}


def license_of(about: PackageMetadata) -> str:
    """Return the license of a package by its metadata."""
    classifiers = [
        c.rpartition(" :: ")[2] for c in about.get_all("Classifier") or () if c.startswith("License")
    ]
    short = (about.get("License") or "").partition("\n")[0][:80]
    return about.get("License-Expression") or "; ".join(classifiers) or short


def licenses(name: str, extras: tuple[str, ...], found: dict[str, str]) -> dict[str, str]:
    """Return the licenses of a package and of all that it needs, as far as they are installed."""
    try:
        package = distribution(name)
    except PackageNotFoundError:  # for another system
        return found
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key not in found:
        found[key] = license_of(package.metadata)
        for line in package.requires or ():
            needed = re.match(r"([\w.-]+)(?:\[([^\]]*)\])?", line)
            extra = re.search(r"extra == [\"']([^\"']+)", line)
            if needed and (extra is None or extra[1] in extras):
                licenses(needed[1], tuple((needed[2] or "").split(",")), found)
    return found


def unknown(found: dict[str, str]) -> dict[str, str]:
    """Return the packages whose license nobody looked at."""
    return {n: text for n, text in found.items() if n not in LOOKED_AT and not FREE.search(text)}


if __name__ == "__main__":
    found = licenses("mrcz-dask", EXTRAS, {})
    for name, text in sorted(found.items()):
        print(f"{name:<22} {LOOKED_AT.get(name, text)}")
    sys.exit(f"look at the licenses of {unknown(found)}" if unknown(found) else 0)
