"""The contract of the stack: specs, messages, tasks, bundles, errors and the command. Never imports torch."""
