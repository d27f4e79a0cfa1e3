"""A dialogue as tokens and positions: chat template, tokenizer, and as many image tokens as the images need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from ganglion.core.errors import BundleError, InputError
from ganglion.serving.vlm.chat import ChatTemplate, Said
from ganglion.serving.vlm.positions import rope_positions


class PromptEncoder:
    """Reads tokenizer.json and chat_template.jinja of a bundle's folder.

    Args:
        folder: `vlm` or `policy` of a bundle.
        image_token_id: the placeholder's token; None for a model that sees no images.
        merge_size: side in patches of the block that makes one image token.

    Raises:
        BundleError: one of the files can't be used.
    """

    def __init__(self, folder: Path, image_token_id: int | None, merge_size: int = 1) -> None:
        file = folder / "tokenizer.json"
        try:
            self.tokenizer = Tokenizer.from_str(file.read_text(encoding="utf-8"))
        except Exception as error:  # tokenizers raises bare Exception
            raise BundleError(f"is no tokenizer ({error})", where=file, remedy="export again") from None
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self._chat = ChatTemplate((folder / "chat_template.jinja").read_text(encoding="utf-8"))
        self._image_token_id = -1 if image_token_id is None else image_token_id
        self._merge_size = merge_size

    def encode(
        self, text: str, image_grid_thw: npt.NDArray[np.int64], history: Sequence[Said] = (), system: str = ""
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """input_ids (1, T) and position_ids (3, 1, T), int64, for a text after the images of a (I, 3) grid.

        Args:
            text: the user's turn.
            image_grid_thw: of all images, those of the history first; those it leaves over belong to this turn.
            history: the exchanges before this turn, first one first.
            system: see `ChatTemplate.render`.

        Raises:
            InputError: a text itself holds an image placeholder.
        """
        images = len(image_grid_thw) - sum(said.images for said in history)
        ids = np.array(self.tokenizer.encode(self._chat.render(text, images, history, system)).ids, np.int64)
        is_image = ids == self._image_token_id
        if is_image.sum() != len(image_grid_thw):
            raise InputError(
                f"the prompt has {is_image.sum()} image placeholders for {len(image_grid_thw)} images",
                remedy="leave placeholders out of the text",
            )
        repeats = np.ones(len(ids), np.int64)
        repeats[is_image] = image_grid_thw.prod(-1) // self._merge_size**2
        ids = ids.repeat(repeats)
        return ids[None], rope_positions(ids == self._image_token_id, image_grid_thw, self._merge_size)
