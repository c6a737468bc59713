"""The errors of this package; each is also the built-in error that a caller would expect.

A message says what was found, where, what was expected, and what to do about it.
"""

from __future__ import annotations

import errno


class MrczDaskError(Exception):
    """Base of all errors of this package."""


class ParameterError(MrczDaskError, ValueError):
    """A parameter is out of its range; names the parameter, the value, the range and the remedy."""


class MissingFileError(ParameterError, FileNotFoundError):
    """A file that an option names is not there."""


class DtypeError(MrczDaskError, TypeError, ValueError):
    """Pixels of a type that MRC cannot hold; names the type to cast to."""


class FormatError(MrczDaskError, ValueError):
    """The bytes violate the file format."""


class UnfitReferenceError(FormatError, ParameterError):
    """A gain, dark or list of defects that an option names cannot be used as it is."""


class TruncatedError(FormatError, EOFError):
    """The file ends too early."""


class DamagedError(FormatError):
    """A checksum does not match: the bytes are not those that were written."""


class DamagedSumError(DamagedError):
    """The sum or weight of a stack in the session store is damaged; `stem` is the stack's."""

    def __init__(self, text: str = "", stem: str = "") -> None:
        super().__init__(text)
        self.stem = stem


class HeaderError(FormatError):
    """A header contradicts its file, such as its size; another copy of the file will not help."""


class NoStackError(FormatError):
    """A sound file contains no stack."""


class FooterError(FormatError):
    """A footer cannot be trusted or understood."""


class MissingLibraryError(MrczDaskError, ImportError):
    """A package that is needed for this kind of file is not installed; names the extra that installs it."""


class OutlierError(MrczDaskError, ValueError):
    """No outlier mask can be made of this stack."""


class SessionError(MrczDaskError, ValueError):
    """The session cannot be processed as it is."""


class PlaceError(SessionError, ParameterError):
    """A named file or folder is not there, or is of the wrong kind."""


class NoStacksError(PlaceError):
    """The session's folder contains no stack."""


class OutputExistsError(ParameterError, FileExistsError):
    """An existing output differs from what this run would write."""


class SpaceError(MrczDaskError, OSError):
    """The output folder has no room for the outputs, or cannot be written."""


class ReferenceNotFoundError(MrczDaskError, FileNotFoundError):
    """A file that the recipe in a footer names is missing."""


class ProcessorError(MrczDaskError, RuntimeError):
    """A live processor cannot be run, or returned something else than it declared."""


def error_text(error: BaseException) -> str:
    """Describe an error: for one of the operating system with the file, the reason and the remedy."""
    if isinstance(error, MrczDaskError) or not isinstance(error, OSError) or error.filename is None:
        return str(error) or type(error).__name__
    remedy = {
        errno.ENOENT: "check the path",
        errno.ENOTDIR: "check the path",
        errno.EISDIR: "expected a file",
        errno.ELOOP: "mend the link",
        errno.EACCES: "change its permissions",
        errno.ENAMETOOLONG: "give it a shorter name",
    }.get(error.errno or 0, "try again")
    return f"{error.filename}: {error.strerror or error}; {remedy}"


def is_usage_error(error: BaseException) -> bool:
    """Tell whether a wrong option, a missing path or an output in the way is to blame, not the data."""
    if isinstance(error, MrczDaskError):
        return isinstance(error, ParameterError)
    return isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
