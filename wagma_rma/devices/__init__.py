"""Copies between the memory of an accelerator and this host's, by the accelerator's driver.

``cuda`` opens NVIDIA's library at run time, so a build needs none. Another driver with such copies (ROCm's
HIP has the same calls under other names) would be a module beside it. Knows the caller's leaves (``model``)
and waits (``waiting``), and no window, group or step.
"""
