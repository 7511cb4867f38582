"""How the doctor's findings are held to what a finding is."""


def the_one(findings, *words):
    (finding,) = findings
    for word in words:
        assert word in str(finding)
    assert len(str(finding).partition(" -> ")[2]) > 8
    assert "\n" not in str(finding)
