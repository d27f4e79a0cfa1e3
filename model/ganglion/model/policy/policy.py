"""VLAPolicy: sensor encoder and action expert as one model, saved as a folder of safetensors and JSON."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ganglion.core.errors import InputError
from ganglion.core.paths import write_json, written_aside
from ganglion.model.policy.action_expert import ActionExpert
from ganglion.model.policy.config import PolicyConfig, config_to_dict, read_config
from ganglion.model.policy.sensor_encoder import SensorEncoder

WEIGHTS, CONFIG = "model.safetensors", "config.json"


class VLAPolicy(nn.Module):
    """Samples and VL features -> normalized action chunk.

    The backbone that makes VL features is not part of it: it runs at camera rate, this at hop rate.
    """

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SensorEncoder(config)
        self.expert = ActionExpert(config)

    def forward(
        self,
        samples: Tensor,
        vl_features: Tensor | None = None,
        vl_mask: Tensor | None = None,
        vl_age_s: Tensor | None = None,
    ) -> Tensor:
        """Encode whole windows (B, T, channels) and decide at their end.

        The other arguments and the result, (B, horizon, action_dim) normalized, are ActionExpert's.
        T must cover at least `config.receptive_frames` hops for the answer to be that of a long stream.
        """
        frames = self.encoder(samples)[:, -self.config.read_frames :]
        actions: Tensor = self.expert(frames, vl_features, vl_mask, vl_age_s)
        return actions

    def save_pretrained(self, folder: Path) -> None:
        """Write model.safetensors and config.json, each atomically."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        with written_aside(folder / WEIGHTS) as aside:
            save_file(tensors, aside, metadata={"format": "pt"})
        write_json(folder / CONFIG, config_to_dict(self.config))

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> VLAPolicy:
        """Load what save_pretrained wrote, in evaluation mode.

        Raises:
            InputError: a file is missing or damaged, or weights and config disagree.
        """
        folder = Path(folder)
        policy = cls(read_config(folder / CONFIG))
        where = folder / WEIGHTS
        remedy = "copy the folder again or train the policy again"
        try:
            policy.load_state_dict(load_file(where))
        except FileNotFoundError:
            raise InputError("is missing", where=where, remedy=remedy) from None
        except (SafetensorError, OSError) as error:
            raise InputError(f"can't be read ({error})", where=where, remedy=remedy) from None
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise InputError(f"doesn't fit {CONFIG} ({reason})", where=where, remedy=remedy) from None
        return policy.eval()
