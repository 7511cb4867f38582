"""The bundle on this machine: Lambda's runtime emulator, or the closest to it, behind HTTP."""
