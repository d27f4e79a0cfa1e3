"""Pictures that come inside of data: written once each, named by their content."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
import urllib.parse
from pathlib import Path
from typing import Any

from PIL import Image

from ganglion.core.tasks import RowError

IMAGES = "images"
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):")
_ENDINGS = {"JPEG": ".jpg", "MPO": ".jpg"}


class Pictures:
    """The folder images/ of a data set that is being made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / IMAGES

    def keep(self, data: bytes, column: str) -> str:
        """Write an encoded picture if it is new; returns its path.

        Raises:
            RowError: it is no picture.
        """
        try:
            with Image.open(io.BytesIO(data)) as image:
                kind = str(image.format)
        except Exception as error:  # Pillow's readers raise whatever they met in damaged data
            reason = type(error).__name__
            raise RowError(column, f"holds {len(data)} bytes that are no picture ({reason})", "replace them") from None
        path = self._folder / (hashlib.sha256(data).hexdigest() + _ENDINGS.get(kind, f".{kind.lower()}"))
        if not path.exists():
            self._folder.mkdir(exist_ok=True)
            path.write_bytes(data)
        return str(path)

    def path_of(self, value: Any, column: str) -> str:
        """The file path that an image of a conversation names; what a data: URI holds is kept first.

        Raises:
            RowError: it is no path, or the address of something that would have to be fetched.
        """
        if not (isinstance(value, str) and value):
            raise RowError(column, f"is {value!r:.40}", "give a file path")
        scheme = _SCHEME.match(value)
        if not scheme:
            return value
        if scheme[1].lower() == "data":
            return self.keep(_data_of(value, column), column)
        if scheme[1].lower() == "file":
            return urllib.parse.unquote(urllib.parse.urlparse(value).path)
        raise RowError(column, f"is {value!r:.60}, and nothing is fetched", "download it and give the file's path")


def _data_of(uri: str, column: str) -> bytes:
    head, comma, data = uri.partition(",")
    if not (comma and head.endswith(";base64")):
        raise RowError(column, f"is {uri!r:.40}", "give data:image/TYPE;base64,DATA")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise RowError(column, f"is no base64 ({uri!r:.40})", "encode the picture again") from None
