"""The bundle on this machine: Lambda's runtime emulator, or what is nearest to it, behind HTTP."""
