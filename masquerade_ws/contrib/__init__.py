"""Integrations with web frameworks; each needs its framework, which the extra of the same name installs."""
