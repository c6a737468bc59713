"""What can go wrong, each error also the built-in one that a caller would expect.

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
    """The bytes are not what the format asks for."""


class UnfitReferenceError(FormatError, ParameterError):
    """A gain, dark or list of defects that an option names cannot be used as it is."""


class TruncatedError(FormatError, EOFError):
    """The file ends before its content does."""


class DamagedError(FormatError):
    """A checksum does not match: the bytes are not those that were written."""


class HeaderError(FormatError):
    """What the file says of itself does not do, such as its size; copying it again will not help."""


class NoStackError(FormatError):
    """The file is sound, and there is nothing in it that is a stack."""


class FooterError(FormatError):
    """The footer is there but cannot be trusted or understood."""


class MissingLibraryError(MrczDaskError, ImportError):
    """A package that is needed for this kind of file is not installed; names the extra that installs it."""


class OutlierError(MrczDaskError, ValueError):
    """No outlier mask can be made of this stack."""


class SessionError(MrczDaskError, ValueError):
    """The session cannot be processed as it is."""


class PlaceError(SessionError, ParameterError):
    """A file or folder that was named is not there, or cannot be used as what it was named for."""


class NoStacksError(PlaceError):
    """There is nothing in the session's folder that may be a stack."""


class OutputExistsError(ParameterError, FileExistsError):
    """An output is there that differs from what this run would write."""


class SpaceError(MrczDaskError, OSError):
    """The output folder cannot take what would be written."""


class ReferenceNotFoundError(MrczDaskError, FileNotFoundError):
    """The recipe in a footer names a file that is not where it should be."""


class ProcessorError(MrczDaskError, RuntimeError):
    """A live processor's file cannot be run, or what it returned is not what it declared."""


def error_text(error: BaseException) -> str:
    """Return what an error says: of one of the system the file first, without its number, and what to do."""
    if isinstance(error, MrczDaskError) or not isinstance(error, OSError) or error.filename is None:
        return str(error) or type(error).__name__
    remedy = {
        errno.ENOENT: "check the path",
        errno.ENOTDIR: "check the path",
        errno.EISDIR: "expected a file",
        errno.ELOOP: "mend the link",
        errno.EACCES: "change its permissions",
    }.get(error.errno or 0, "try again")
    return f"{error.filename}: {error.strerror or error}; {remedy}"


def is_usage_error(error: BaseException) -> bool:
    """Return whether an option is wrong, a place that was named is not there, or an output is in the way."""
    if isinstance(error, MrczDaskError):
        return isinstance(error, ParameterError)
    return isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
