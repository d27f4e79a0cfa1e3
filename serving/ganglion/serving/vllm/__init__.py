"""A bundle's VLM served by vLLM, a program of its own: its command line, its environment, and what its log means.

bundles -> plan -> command -> launch, and failures where it does not come up. Nothing here imports vLLM.
"""
