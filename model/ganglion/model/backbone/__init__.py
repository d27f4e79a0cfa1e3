"""The vision-language backbone of a policy: what cameras show and the instruction become VL features.

views.py     camera images and an instruction -> the tensors a Qwen-VL reads
facts.py     what identifies a backbone, known without loading it
backbone.py  Backbone: the text layers up to the chosen one, and what they make of views
options.py   FinetuneOptions: what of it is to learn
finetune.py  letting a part of it learn, by LoRA or fully
tuned.py     what was learned, on disk beside the policy
"""
