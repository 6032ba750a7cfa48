"""Ask whether a server answers, before a run begins; trackers themselves would try for minutes."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from ssl import SSLError

PATIENCE_S = 10.0


def require_answer(address: str) -> None:
    """Raise a `ConnectionError` where an http address does not answer; others are not asked.

    Whatever it answers will do: whether it lets us in is for the tracker's own library to see,
    which may know more certificates and has the passwords.
    """
    if not address.startswith(("http://", "https://")):
        return
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE_S):
            pass
    except urllib.error.HTTPError:
        pass
    except OSError as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if not isinstance(reason, SSLError):
            words = reason.strerror if isinstance(reason, OSError) else None
            text = f"{without_secrets(address)} does not answer ({words or reason})"
            raise ConnectionError(text) from None


def without_secrets(address: str) -> str:
    """Return an address as it can be shown and kept: no password, and no token behind it.

    >>> without_secrets("https://me:secret@host/x?write_token=y")
    'https://host/x'
    """
    return re.sub(r"//[^/@]*@", "//", address).partition("?")[0]
