"""`ganglion serve`: policy_config.py its options, policy.py what it does."""
