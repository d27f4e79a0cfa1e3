"""Our graphs against optimum's of the same merged language model: two roads that share no code but ONNX Runtime.

Both are run by the ONNX Runtime of the main environment; optimum's only makes its files.
"""

import numpy as np
import pytest

pytestmark = pytest.mark.optimum

PROMPTS = [
    "stop",
    "move the arm up by ten centimeters and open the gripper",
    "Write a function that walks to the door, waits until it is open, and reports how far it came in meters. " * 3,
    "¿Dónde está la caja? 箱子在哪里？",
]
GREEDY = 32
SAME_LOGITS = 1e-4
# Logits reach about 4; int8 moves ours by up to 0.27 and optimum's by up to 0.41: of random weights, so that nothing is
# likelier by much.
INT8_LOGITS = 0.5


class Optimum:
    """A decoder with its cache as optimum exports it: tokens in, logits (T, vocabulary) out."""

    def __init__(self, folder):
        from ganglion.serving.vlm.session import open_session

        self.session = open_session(folder / "model.onnx")
        past = [i for i in self.session.get_inputs() if i.name.startswith("past_key_values.")]
        self.cache = {i.name: np.zeros((1, i.shape[1], 0, i.shape[3]), np.float32) for i in past}
        self.names = ["logits", *(i.name.replace("past_key_values", "present") for i in past)]
        self.length = 0

    def read(self, ids):
        positions = np.arange(self.length, self.length + len(ids))[None]
        self.length += len(ids)
        feeds = {
            "input_ids": np.array([ids], np.int64),
            "position_ids": positions,
            "attention_mask": np.ones((1, self.length), np.int64),
        }
        logits, *present = self.session.run(self.names, feeds | self.cache)
        self.cache = dict(zip(self.cache, present, strict=True))
        return logits[0]


class Ours:
    """embed.onnx and decoder.onnx of a bundle, likewise."""

    def __init__(self, bundle):
        from ganglion.serving.vlm.session import open_session

        self.embed, self.session = (open_session(bundle / f"vlm/{name}.onnx") for name in ("embed", "decoder"))
        past = [i for i in self.session.get_inputs() if i.name.startswith("past.")]
        self.cache = {i.name: np.zeros((1, i.shape[1], 0, i.shape[3]), np.float32) for i in past}
        self.names = ["logits", *(i.name.replace("past.", "present.") for i in past)]
        self.no_image = np.zeros((0, self.embed.get_inputs()[1].shape[1]), np.float32)
        self.length = 0

    def read(self, ids):
        tokens = {"input_ids": np.array([ids], np.int64), "image_features": self.no_image}
        positions = np.arange(self.length, self.length + len(ids))
        self.length += len(ids)
        feeds = {
            "inputs_embeds": self.embed.run(None, tokens)[0],
            "position_ids": np.tile(positions, (3, 1, 1)),
            "attention_mask": np.ones((1, self.length), np.int64),
            "logits_at": np.arange(len(ids)),
        }
        logits, *present = self.session.run(self.names, feeds | self.cache)
        self.cache = dict(zip(self.cache, present, strict=True))
        return logits[0]


@pytest.fixture(scope="module")
def prompts(ours):
    from ganglion.serving.vlm.prompt import PromptEncoder

    encoder = PromptEncoder(ours / "float32/vlm", None)
    return [encoder.encode(text, np.zeros((0, 3), np.int64))[0][0].tolist() for text in PROMPTS]


def greedy(model, ids):
    """Logits of every position of the prompt and of the answer, (T + GREEDY - 1, vocabulary), and the answer."""
    logits = [model.read(ids)]
    answer = [int(logits[-1][-1].argmax())]
    while len(answer) < GREEDY:
        logits.append(model.read(answer[-1:]))
        answer.append(int(logits[-1][-1].argmax()))
    return np.concatenate(logits), answer


def told(model, ids, answer):
    """Logits of the same positions where the answer is given, through the cache as in `greedy`."""
    return np.concatenate([model.read(ids), *(model.read([token]) for token in answer[:-1])])


def test_float32_logits_and_greedy_answers_are_the_same(ours, optimums, prompts):
    for ids in prompts:
        logits, answer = greedy(Ours(ours / "float32"), ids)
        others, other_answer = greedy(Optimum(optimums / "float32"), ids)
        assert answer == other_answer
        difference = np.abs(logits - others).max()
        print(f"float32, {len(ids)} tokens and {GREEDY}: at most {difference:.1e} apart of {np.abs(others).max():.1f}")
        assert difference <= SAME_LOGITS


def test_int8_of_both_stays_near_to_float32(ours, optimums, prompts):
    for ids in prompts:
        exact, answer = greedy(Optimum(optimums / "float32"), ids)
        our, their = (told(model, ids, answer) for model in (Ours(ours / "int8"), Optimum(optimums / "int8")))
        away = [float(np.abs(found - exact).max()) for found in (our, their)]
        print(f"int8, {len(ids)} tokens and {GREEDY}: ours {away[0]:.3f}, optimum's {away[1]:.3f} from float32")
        assert min(away) > SAME_LOGITS  # int8 it is
        assert max(away) <= INT8_LOGITS
