"""An OpenAI-compatible server around a `VlmEngine`, in one process: `ganglion.serving.openai.serve:serve`.

body -> request (reading, serving.vlm_request) -> chat -> engine -> replies, as one answer or as a stream
app: routes, token, health, metrics            errors: what is refused, in OpenAI's form
"""
