"""Where a server is, as a URL."""

from __future__ import annotations

import ipaddress

from hyperlink import URL


def base_url(host: str, port: int | None, default_port: int) -> str:
    """The URL of a server, without a slash at its end, from a host and a port or from a URL.

    Args:
        host: a name, an address, or a URL.
        port: of a host; must be None beside a URL.
        default_port: that of a host without one.

    Raises:
        ValueError: it is neither.
    """
    given_url = "://" in host
    if given_url and port is not None:
        raise ValueError("a URL carries its port itself: give one or the other")
    if given_url:
        url = host
    else:
        url = f"http://{_bracketed(host)}:{default_port if port is None else port}"
    try:
        parts = URL.from_text(url)
    except ValueError:
        parts = URL()
    if (
        parts.scheme not in ("http", "https")
        or not parts.host
        or not 0 < (parts.port or 0) < 2**16
        or parts.userinfo
        or any(mark in url for mark in "?# \t\r\n")
        or (parts.path and not given_url)
    ):
        # The text is not in the message: what stands before an @ is a password.
        raise ValueError("the server must be a host, or a URL like http://host:port/path")
    return url.rstrip("/")


def request_url(url: str) -> str | URL:
    """A URL as treq takes it, IPv6 addresses included."""
    return _AddressURL.from_text(url) if "[" in url else url


class _AddressURL(URL):
    """A URL with an IPv6 address for its host, which hyperlink takes for a name (its issue 68)."""

    def to_uri(self) -> URL:
        """The URL with everything but its host encoded for the wire."""
        return URL.to_uri(self.replace(host="name")).replace(host=self.host)


def _bracketed(host: str) -> str:
    if ":" not in host or host.startswith("["):
        return host
    try:
        return f"[{ipaddress.IPv6Address(host)}]"
    except ValueError:
        raise ValueError("give host and port as two arguments, or as a URL") from None
