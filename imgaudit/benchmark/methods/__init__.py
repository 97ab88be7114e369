"""Benchmarks of single methods: prompts, InvMM, triggers, mitigations and LoRA."""
