"""`ganglion serve`: policy_config.py and vlm_config.py the options, policy.py and vlm*.py what it does."""
