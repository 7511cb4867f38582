"""`make deploy`: its steps in order, and what stops it."""

import pytest

from local.backends import ROOT
from ops import doctor, environments
from ops.checks import image
from ops.release import deploy
from ops.release.deploy import Clients
from tests.stubs import stack, stubbed

IMAGE_ID = "sha256:1234"
OUTPUTS = {"Endpoint": "https://api.example", "FunctionName": "f"}
DEFAULT = environments.chosen(ROOT, "default")
FACTS = {"Id": IMAGE_ID, "Architecture": "amd64", "Size": 4e8}
BASE = "public.ecr.aws/lambda/python"


class Aws:
    """A stack that is there or not, an account with or without concurrency to reserve."""

    def __init__(self, status="UPDATE_COMPLETE", unreserved=1000):
        self.stacks, self._of_stacks = stubbed("cloudformation")
        self.functions, self._of_functions = stubbed("lambda")
        limit = {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": unreserved}
        name = {"StackName": DEFAULT.stack}
        if status is None:
            for call in ("describe_stack_resource", "describe_stacks"):
                self._of_stacks.add_client_error(call, "ValidationError", "does not exist")
        else:
            detail = {
                **{"LogicalResourceId": "ClassifierFunction", "PhysicalResourceId": "f"},
                **{"ResourceType": "AWS::Lambda::Function", "LastUpdatedTimestamp": 0},
                "ResourceStatus": "UPDATE_COMPLETE",
            }
            self._of_stacks.add_response(
                "describe_stack_resource",
                {"StackResourceDetail": detail},
                {**name, "LogicalResourceId": "ClassifierFunction"},
            )
            self._of_stacks.add_response("describe_stacks", stack(status), name)
        self._of_functions.add_response("get_account_settings", {"AccountLimit": limit}, {})
        if status is not None:
            self._of_functions.add_response("get_function_concurrency", {}, {"FunctionName": "f"})
        self._of_stacks.add_response("describe_stacks", stack(**OUTPUTS), name)
        alias = {"FunctionVersion": "4", "RevisionId": "r"}
        listed = {"Versions": [{"Version": v} for v in ("$LATEST", "3", "4")]}
        for call, answer in [("get_alias", alias), ("get_alias", alias)]:
            self._of_functions.add_response(call, answer, {"FunctionName": "f", "Name": "live"})
        self._of_functions.add_response("list_versions_by_function", listed, {"FunctionName": "f"})
        self._of_stacks.activate()
        self._of_functions.activate()

    @property
    def clients(self):
        return Clients(self.stacks, self.functions, None)

    def is_done(self):
        self._of_stacks.assert_no_pending_responses()
        self._of_functions.assert_no_pending_responses()


@pytest.fixture(scope="module")
def checkout():
    return doctor.of_checkout(ROOT)


@pytest.fixture
def built(monkeypatch, checkout):
    """An engine that has built the image, on a base image that it pulled."""
    images = {
        "classifierfunction:latest": FACTS,
        f"{BASE}:3.13": {"RepoDigests": [f"{BASE}@sha256:77"]},
    }
    monkeypatch.setattr(image, "inspected", images.get)
    monkeypatch.setattr(image, "runs_read_only", lambda name: [])
    found, contract = checkout  # once for all tests
    monkeypatch.setattr(doctor, "of_checkout", lambda root: ([*found], contract))
    return images


class Commands:
    """Records the commands; those with a word of `failing` fail."""

    def __init__(self, *failing):
        self.failing, self.ran = failing, []

    def __call__(self, words):
        self.ran.append(list(words))
        return int(any(word in words[:2] for word in self.failing))

    def parameters(self, command):
        (words,) = (words for words in self.ran if words[:2] == ["sam", command])
        after = words[words.index("--parameter-overrides") + 1 :]
        return {name: value.strip('"') for name, _, value in (w.partition("=") for w in after)}


def deployed(aws, commands, check=lambda url, values: 0, environment=DEFAULT, **given):
    return deploy.deploy(ROOT, environment, given, aws.clients, commands, check)


def test_it_pulls_builds_deploys_checks_and_prunes(built, capsys):
    aws, commands, checked = Aws(), Commands(), []

    def check(url, values):
        checked.append(url)
        return 0

    assert deployed(aws, commands, check) == 0
    assert [words[:2] for words in commands.ran] == [
        ["docker", "pull"],
        ["sam", "build"],
        ["sam", "deploy"],
    ]
    assert checked == [OUTPUTS["Endpoint"]]
    aws.is_done()
    words = commands.ran[-1]
    assert words[words.index("--config-env") + 1] == "default"
    assert "--no-confirm-changeset" in words
    assert "Version 4 answers at https://api.example" in capsys.readouterr().out


@pytest.mark.parametrize(("unreserved", "reserved"), [(1000, "5"), (10, "-1")])
def test_it_reserves_what_the_account_has(unreserved, reserved, built):
    commands = Commands()
    deployed(Aws(status=None, unreserved=unreserved), commands)
    assert commands.parameters("deploy")["ReservedConcurrency"] == reserved


def test_it_passes_every_parameter_and_the_base_images_digest(built):
    commands = Commands()
    deployed(Aws(), commands, Architecture="x86_64", AlarmEmail="someone@example.com")
    passed = commands.parameters("deploy")
    assert passed["BaseImage"] == f"{BASE}@sha256:77"
    assert passed["ModelName"] == "clothing"
    assert passed["AlarmEmail"] == "someone@example.com"
    assert commands.parameters("build")["BaseImage"] == passed["BaseImage"]
    assert passed.keys() == doctor.settled(ROOT, DEFAULT, {}, None).keys()


def test_choosing_arm64_reaches_the_build(built):
    built["classifierfunction:latest"] = FACTS | {"Architecture": "arm64"}
    commands = Commands()
    deployed(Aws(), commands, Architecture="arm64")
    assert commands.parameters("build")["Architecture"] == "arm64"
    assert "linux/arm64" in commands.ran[0]


def test_a_base_image_that_cannot_be_pulled_is_used_as_it_is(built, capsys):
    built[f"{BASE}:3.13"] = {"RepoDigests": []}
    commands = Commands("pull")
    assert deployed(Aws(), commands) == 0
    assert commands.parameters("build")["BaseImage"] == f"{BASE}:3.13"
    assert "cannot be pulled" in capsys.readouterr().out


RELEASED = ("sha256:1", b"template", {"MemorySizeMb": "1769", "Release": ""})


@pytest.mark.parametrize(
    "other",
    [
        ("sha256:2", *RELEASED[1:]),
        ("sha256:1", b"other", RELEASED[2]),
        ("sha256:1", b"template", {"MemorySizeMb": "2048", "Release": ""}),
    ],
)
def test_what_changes_is_another_release(other):
    assert deploy.release(*other) != deploy.release(*RELEASED)
    same = (*RELEASED[:2], {"Release": "0123", "MemorySizeMb": "1769"})
    assert deploy.release(*same) == deploy.release(*RELEASED)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("ROLLBACK_COMPLETE", "make teardown STACK=photo-classifier YES=1"),
        ("UPDATE_IN_PROGRESS", "wait until that is over"),
    ],
)
def test_a_stack_that_takes_no_update_stops_it_before_the_build(status, told, built):
    commands = Commands()
    with pytest.raises(ValueError, match=told):
        deployed(Aws(status=status), commands)
    assert commands.ran == []


def test_a_finding_stops_it_before_the_build(built):
    commands = Commands()
    with pytest.raises(ValueError, match="ThrottleBurst lets 50"):
        deployed(Aws(), commands, ThrottleBurst="50")
    assert commands.ran == []


@pytest.mark.parametrize("command", ["build", "deploy"])
def test_a_command_that_fails_stops_it(command, built):
    with pytest.raises(ValueError, match=f"sam {command} failed"):
        deployed(Aws(), Commands(command))


def test_a_command_that_is_not_installed_is_named():
    with pytest.raises(ValueError, match="no-such-sam is not installed"):
        deploy.run_here(["no-such-sam", "build"])


def test_an_image_that_lambda_would_refuse_is_not_deployed(built):
    built["classifierfunction:latest"] = FACTS | {"Architecture": "arm64"}
    commands = Commands()
    with pytest.raises(ValueError, match="built for arm64"):
        deployed(Aws(), commands)
    assert ["sam", "deploy"] not in [words[:2] for words in commands.ran]


def test_a_failed_smoke_test_has_its_own_status_and_prunes_nothing(built, capsys):
    aws = Aws()
    assert deployed(aws, Commands(), lambda url, values: 1) == 3
    assert "make rollback ENV=default" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="2 responses remaining"):
        aws.is_done()


def test_without_a_token_the_smoke_test_is_left_to_the_user(capsys):
    check = deploy.smoke_test(DEFAULT, None)
    assert check("https://api.example", {"ApiAuth": "JWT"}) == 0
    assert "make smoke URL=https://api.example TOKEN=" in capsys.readouterr().out
