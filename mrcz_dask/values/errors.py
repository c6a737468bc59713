"""Errors of this package; each is also the built-in error that a caller would expect, such as ValueError.

A message says what was found, where, what was expected, and what to do about it.
"""

from __future__ import annotations

import errno


class MrczDaskError(Exception):
    """Base class of all errors of this package."""


class ParameterError(MrczDaskError, ValueError):
    """A parameter has a wrong value; the message names the parameter, its value, what is allowed,
    and the remedy.
    """


class ParameterTypeError(ParameterError, TypeError):
    """A parameter has a value of a wrong type; the message names the type, and what is expected."""


class MissingFileError(ParameterError, FileNotFoundError):
    """A file named in an option does not exist."""


class DtypeError(MrczDaskError, TypeError, ValueError):
    """Pixels have a type that MRC files cannot hold; the message names the type to cast to."""


class FormatError(MrczDaskError, ValueError):
    """The content of a file violates its file format, so that it cannot be read."""


class UnfitReferenceError(FormatError, ParameterError):
    """A gain, dark or list of defects named in an option cannot be used,
    for example as its shape does not fit.
    """


class TruncatedError(FormatError, EOFError):
    """A file ends too early, because it was cut off or its copy is incomplete."""


class DamagedError(FormatError):
    """Bytes of a file have changed since they were written, as a checksum shows;
    or they cannot be decoded.
    """


class DamagedSumError(DamagedError):
    """The stored sum or weight of a stack is damaged in the session store; `stem` names the stack."""

    def __init__(self, text: str = "", stem: str = "") -> None:
        super().__init__(text)
        self.stem = stem


class HeaderError(FormatError):
    """A file's header contradicts the file, such as its size; copying the file again will not help."""


class NoStackError(FormatError):
    """A file is sound but contains no stack, such as a single image."""


class FooterError(FormatError):
    """The footer of an output file, or its sidecar, is damaged, missing, or from a newer version."""


class MissingLibraryError(MrczDaskError, ImportError):
    """A Python package that reads or writes this kind of file is not installed;
    names the extra to install.
    """


class OutlierError(MrczDaskError, ValueError):
    """No outlier mask can be computed for a stack, for example as none of its pixels is finite."""


class SessionError(MrczDaskError, ValueError):
    """The session cannot be processed; the message says why and what to do."""


class PlaceError(SessionError, ParameterError):
    """A file or folder that the user named does not exist, or is of the wrong kind."""


class NoStacksError(PlaceError):
    """The folder of the session contains no stack."""


class OutputExistsError(ParameterError, FileExistsError):
    """An output exists already and differs from what this run would write, so it is not replaced."""


class SpaceError(MrczDaskError, OSError):
    """The output folder is full or cannot be written."""


class ReferenceNotFoundError(MrczDaskError, FileNotFoundError):
    """A file that an output's footer names as needed for its correction is missing."""


class ProcessorError(MrczDaskError, RuntimeError):
    """A user's live processor cannot be run, or returned something else than it declared."""


def error_text(error: BaseException) -> str:
    """Return the text of an error for the user; for system errors with the file,
    the reason and the remedy.
    """
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
    """Return True if the user's options or paths caused an error, False if the data did."""
    if isinstance(error, MrczDaskError):
        return isinstance(error, ParameterError)
    is_place = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
    return is_place or (isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP))
