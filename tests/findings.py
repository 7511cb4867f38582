"""Checks on the doctor's findings."""


def the_one(findings, *words):
    (finding,) = findings
    for word in words:
        assert word in str(finding)
    assert len(str(finding).partition(" -> ")[2]) > 8
    assert "\n" not in str(finding)
