"""The KV cache: block accounting, the prefix cache, and its radix tree."""
