"""A model owner who wants to evade the audit: each way is tried on a lab, and what the audit then says is counted."""
