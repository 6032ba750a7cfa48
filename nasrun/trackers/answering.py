"""Ask whether a server answers, before a run begins; trackers themselves would try for minutes."""

from __future__ import annotations

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
    except urllib.error.URLError as error:
        if not isinstance(error.reason, SSLError):
            raise ConnectionError(str(error.reason)) from None
