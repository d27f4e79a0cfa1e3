"""Run by vLLM's own python: load a model and write down how likely it finds given answers, token by token.

    python ask.py JOB.json ANSWERS.json

The job: {"model": folder, "adapter": folder or null, "dtype": str, "questions": [{"tokens": [...], "answer": [...],
"image": file or null}]}, an image's place in the tokens marked once. The answers: of each question, of each token of
its answer and the one after it, the likeliest tokens as [[token, logprob], ...].
"""

import json
import os
import sys

LIKELIEST = 5

os.environ |= {
    "VLLM_TARGET_DEVICE": "cpu",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GB
    "VLLM_CPU_INT4_W4A8": "0",  # else activations of a W4A16 model are rounded to 8 bits: faster, and another model
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}


def main(job_file, answers_file):
    from PIL import Image
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    with open(job_file) as stream:
        job = json.load(stream)
    lora = {"enable_lora": True, "enable_tower_connector_lora": True, "max_lora_rank": 64} if job["adapter"] else {}
    llm = LLM(job["model"], dtype=job["dtype"], max_model_len=512, max_num_seqs=1, enforce_eager=True, **lora)
    request = LoRARequest("adapter", 1, job["adapter"]) if job["adapter"] else None
    asked = []
    for question in job["questions"]:
        asked.append({"prompt_token_ids": question["tokens"] + question["answer"]})
        if question["image"]:
            asked[-1]["multi_modal_data"] = {"image": Image.open(question["image"])}
    sampling = SamplingParams(temperature=0, max_tokens=1, logprobs=LIKELIEST, prompt_logprobs=LIKELIEST)
    told = llm.generate(asked, sampling, lora_request=request, use_tqdm=False)
    answers = []
    for question, output in zip(job["questions"], told, strict=True):
        steps = output.prompt_logprobs[-len(question["answer"]) :] + output.outputs[0].logprobs
        answers.append([[[token, found.logprob] for token, found in step.items()] for step in steps])
    with open(answers_file, "w") as stream:
        json.dump(answers, stream)


if __name__ == "__main__":
    main(*sys.argv[1:])
