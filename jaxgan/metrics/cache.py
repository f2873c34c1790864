"""The cache of weights that are downloaded or trained once, and safe downloads into it."""

import contextlib
import hashlib
import os
import secrets
import sys
import tempfile
import urllib.request
from pathlib import Path

from jaxgan.errors import UserError
from jaxgan.watch import counter

PIECE = 2**18  # bytes in one read


def cache_directory() -> Path:
    """The environment's JAXGAN_CACHE, else the platform's place for caches (~/.cache/jaxgan on Linux).

    Who has no home, as a user of a container who is only a number, gets one in the folder for temporary files.

    Raises:
      UserError: the last one is there, and somebody else's: compiled programs are run from it.
    """
    if given := os.environ.get("JAXGAN_CACHE"):
        place = given
    elif sys.platform == "darwin":
        place = "~/Library/Caches/jaxgan"
    elif sys.platform == "win32":
        place = os.path.join(os.environ.get("LOCALAPPDATA") or "~/AppData/Local", "jaxgan")
    else:
        place = os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "jaxgan")
    found = os.path.expanduser(place)
    if not found.startswith("~"):
        return Path(found)
    user = getattr(os, "getuid", lambda: 0)()
    path = Path(tempfile.gettempdir(), f"jaxgan-{user}")
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    if path.lstat().st_uid != user or not path.is_dir():
        raise UserError(f"{path}: the cache of who has no home, and somebody else's; set JAXGAN_CACHE to a folder of yours")
    return path


def digest(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def check(path: Path, sha256: str) -> str:
    """The digest of a weight file, which must begin with `sha256`.

    Raises:
      UserError: there is no such file, or it is a different one.
    """
    try:
        found = digest(path)
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror or e}); give the weight file's path") from None
    if not found.startswith(sha256):
        raise UserError(f"{path}: is not the expected file (its sha256 begins {found[:8]}, not {sha256[:8]}); download it again")
    return found


def fetch(url: str, sha256: str, *, show: bool = True) -> Path:
    """A file of the cache, downloaded the first time.

    Args:
      url: where it is; the last part is its name in the cache.
      sha256: its digest, or the beginning of it.
      show: a progress bar.
    Returns:
      The path; the content is checked when it is downloaded, and by the caller when it is read.
    Raises:
      UserError: it cannot be downloaded (the message says which file to put where), or the download is a different file.
    """
    path = cache_directory() / url.rsplit("/", 1)[1]
    if path.exists():
        return path
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        bar = counter(f"downloading {path.name}", show)
        with bar as update, urllib.request.urlopen(url, timeout=30) as response, part.open("xb") as f:
            total, done = int(response.headers.get("Content-Length") or 0), 0
            while piece := response.read(PIECE):
                f.write(piece)
                done += len(piece)
                update(done, max(total, done))
        if not digest(part).startswith(sha256):
            raise UserError(f"{url}: the download is not the expected file ({done} bytes); download it by hand to {path}")
        part.replace(path)
    except OSError as e:  # URLError and time-outs are OSErrors
        reason = getattr(e, "reason", None) or e.strerror or e
        raise UserError(f"{path}: missing, and it cannot be downloaded ({reason}); put the file from {url} there") from None
    finally:
        part.unlink(missing_ok=True)
    return path
