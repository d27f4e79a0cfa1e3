"""Where a server listens, and what one may ask for there.

Loopback needs nothing: whoever is on the machine is trusted. Anywhere else a server wants a certificate, so that nobody
reads a robot's cameras on the way, and a token, so that not everybody commands it. Without both it does not start,
unless told to.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

from ganglion.core.errors import InputError

LOCAL = "127.0.0.1"  # this machine alone
_SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class Binding:
    """An address and what guards it.

    Args:
        host: address to listen on.
        certificate: PEM file, with what signed it; None for no TLS.
        key: PEM file of its private key.
        token_file: file whose one line clients must send as `Authorization: Bearer TOKEN`; None for no token.
        insecure: listen beyond this machine without them.
    """

    host: str = LOCAL
    certificate: Path | None = None
    key: Path | None = None
    token_file: Path | None = None
    insecure: bool = False

    def check(self) -> None:
        """See whether a server may listen like this.

        Raises:
            InputError: it is beyond this machine and unguarded, or a file is missing, or the token is too short.
        """
        if (self.certificate is None) != (self.key is None):
            given, other = ("certificate", "key") if self.key is None else ("key", "certificate")
            raise InputError(f"--bind.{given} comes without --bind.{other}", remedy="give both")
        for name, file in (("certificate", self.certificate), ("key", self.key)):
            if file is not None and not file.is_file():
                raise InputError("is no file", where=f"--bind.{name} {file}", remedy="name a PEM file")
        guarded = self.certificate is not None and self.token is not None
        if not (guarded or self.is_loopback or self.insecure):
            lacks = [
                name
                for name, value in (
                    ("--bind.certificate and --bind.key", self.certificate),
                    ("--bind.token_file", self.token_file),
                )
                if value is None
            ]
            raise InputError(
                f"--bind.host {self.host} is reachable from other machines, without {' and '.join(lacks)}",
                remedy="give them, or say --bind.insecure where the network itself is guarded",
            )

    @property
    def is_loopback(self) -> bool:
        """Only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def token(self) -> str | None:
        """What clients must send.

        Raises:
            InputError: the file can't be read, or its line is too short to be a secret.
        """
        if self.token_file is None:
            return None
        where = f"--bind.token_file {self.token_file}"
        try:
            token = self.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"can't be read ({error})", where=where, remedy="name a file with a token in it") from None
        if len(token) < _SHORTEST_TOKEN or not token.isascii() or any(sign.isspace() for sign in token):
            raise InputError(
                f"holds no token of at least {_SHORTEST_TOKEN} characters",
                where=where,
                remedy="write one with: openssl rand -hex 32",
            )
        return token

    @property
    def scheme(self) -> str:
        """Of its URLs."""
        return "http" if self.certificate is None else "https"


def check_port(host: str, port: int, option: str = "--port") -> None:
    """See that nobody listens there.

    Raises:
        InputError: somebody does, or the address is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise InputError(
            f"can't listen there ({error.strerror})", where=f"{host}:{port}", remedy=f"choose another {option}"
        ) from None


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.create_server((LOCAL, 0)) as probe:
        return int(probe.getsockname()[1])
