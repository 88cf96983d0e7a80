"""Files of text → their characters: UTF-8, UTF-16 where a byte order mark says so, and what gzip packed of either."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import zlib
from io import BufferedReader
from pathlib import Path

from tlx.runtime.errors import DataError

__all__ = ["UTF16", "decoded", "open_bytes", "read_bytes", "read_text", "stored_bytes", "suffix_of"]

PACKED = ".gz"
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def suffix_of(source: str | Path) -> str:
    """The suffix that tells a file's format, lower-cased: .csv for train.csv.gz too."""
    path = Path(source)
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix == PACKED else suffix


def open_bytes(path: Path) -> gzip.GzipFile | BufferedReader:
    """The file's bytes as a stream, unpacked where its name ends in .gz."""
    return gzip.open(path, "rb") if path.suffix.lower() == PACKED else path.open("rb")


def read_bytes(path: Path) -> tuple[bytes, str]:
    """The file's bytes, unpacked, and the sha256 of those on the disk. Raises DataError where they hold nothing."""
    content, sha256 = stored_bytes(path)
    if not content.removeprefix(codecs.BOM_UTF8).strip():
        raise DataError(f"{path} is empty: wanted a header and rows")
    return content, sha256


def stored_bytes(path: Path) -> tuple[bytes, str]:
    """As `read_bytes`, of a file that may hold nothing."""
    try:
        stored = path.read_bytes()
        content = gzip.decompress(stored) if path.suffix.lower() == PACKED else stored
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged, or was not packed by gzip ({error}): fetch or pack it again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return content, hashlib.sha256(stored).hexdigest()


def decoded(path: Path, content: bytes) -> str:
    """The bytes as text. Raises DataError naming the line where they are none."""
    if content.startswith(UTF16):
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError as error:
            raise DataError(f"{path} begins as UTF-16 but goes on otherwise: save the file as UTF-8") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path} line {line} is not UTF-8 (byte 0x{content[error.start]:02x}): save the file as UTF-8, "
            f"as `iconv -f {_probable(content)} -t utf-8` does for one of Windows"
        ) from error


def _probable(content: bytes) -> str:
    """The encoding that a file which is not UTF-8 probably has: Chinese, where its bytes make mostly Chinese characters."""
    try:
        other = [character for character in content.decode("gb18030") if ord(character) > 127]
    except UnicodeDecodeError:
        return "cp1252"
    chinese = sum("\u4e00" <= character <= "\u9fff" or "\u3000" <= character <= "\u303f" for character in other)
    return "gb18030" if len(other) > 3 and chinese > 0.8 * len(other) else "cp1252"


def read_text(source: str | Path) -> tuple[str, str]:
    """A file's text, and the sha256 of its bytes. Raises DataError naming file and line."""
    path = Path(source)
    content, sha256 = read_bytes(path)
    return decoded(path, content), sha256
