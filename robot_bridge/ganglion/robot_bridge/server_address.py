"""Where a server is, what guards it, and a connection to it that is made while the robot goes on."""

from __future__ import annotations

import socket
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ganglion.core.errors import GanglionError, InputError

_CONNECT_S = 5.0
_SILENT_MS = 5000  # what was sent and not even received by then: the machine is gone, not busy


@dataclass(frozen=True)
class ServerAddress:
    """A gRPC server.

    url          host:port
    certificate  PEM of what signed its certificate; None: not encrypted
    token        what it wants to be shown
    """

    url: str
    certificate: Path | None = None
    token: str | None = None

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            InputError: the URL is none, or the certificate can't be read.
        """
        try:
            parts = urlsplit(f"//{self.url}")
            known = parts.hostname is not None and parts.port is not None and parts.netloc == self.url
        except ValueError:
            known = False
        if not known:
            raise InputError(f"is no address: {self.url!r}", where="policy server", remedy="give host:port")
        if self.certificate is not None:
            self._context(self.certificate)

    def connect(self) -> socket.socket:
        """A connection, encrypted if it is to be; waits for names, the network and the handshake.

        Raises:
            OSError: there is none to be had.
        """
        parts = urlsplit(f"//{self.url}")
        plain = socket.create_connection((parts.hostname, parts.port), _CONNECT_S)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux, RFC 5482
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT_MS)
            if self.certificate is None:
                return plain
            return self._context(self.certificate).wrap_socket(plain, server_hostname=parts.hostname)
        except BaseException:
            plain.close()
            raise

    @staticmethod
    def _context(certificate: Path) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=certificate)
        except ssl.SSLError:
            raise InputError("holds no certificate", where=certificate, remedy="give a PEM file") from None
        except OSError as error:
            raise InputError(f"can't be read ({error.strerror})", where=certificate, remedy="name it") from None
        context.set_alpn_protocols(["h2"])
        return context


class Connecting:
    """A connection that a thread makes, since nobody knows how long a name or a handshake takes."""

    def __init__(self, address: ServerAddress) -> None:
        self._address, self._given_up, self._lock = address, False, threading.Lock()
        self._done = threading.Event()
        self._socket: socket.socket | None = None
        self._error: GanglionError | None = None
        threading.Thread(target=self._run, name="policy-connect", daemon=True).start()

    def wait(self, within_s: float) -> socket.socket | None:
        """The connection; None while there is none yet.

        Raises:
            GanglionError: there will be none.
        """
        if not self._done.wait(max(0.0, within_s)):
            return None
        if self._error:
            raise self._error
        return self._socket

    def give_up(self) -> None:
        """Nobody waits for it any more: close it, now or once it is there."""
        with self._lock:
            self._given_up = True
            if self._socket:
                self._socket.close()

    def _run(self) -> None:
        try:
            made = self._address.connect()
        except OSError as error:
            where, said = f"policy server {self._address.url}", error.strerror or str(error)
            self._error = GanglionError(f"{said:.200}", where=where, remedy="see whether it runs")
        else:
            with self._lock:
                self._socket = made
                if self._given_up:
                    made.close()
        self._done.set()
