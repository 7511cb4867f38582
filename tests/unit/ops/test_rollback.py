"""`make rollback` and the pruning of old versions: Lambda and ECR as moto plays them."""

import json

import boto3
import pytest
from moto import mock_aws

from ops.release import rollback, versions
from tests.stubs import stubbed

# As SAM names it: the stack with a hash, the function with a hash, "repo". moto knows no folders.
OF_SAM = "photoclassifier1a2b3c4d/classifierfunction5e6f7a8brepo"
REPOSITORY = OF_SAM.partition("/")[2]
NAME = "photos-ClassifierFunction"


class Account:
    """A function with an alias, and its images, in moto's memory."""

    def __init__(self):
        self.functions = boto3.client("lambda", "eu-west-1")
        self.registry = boto3.client("ecr", "eu-west-1")
        roles = boto3.client("iam", "eu-west-1")
        self._role = roles.create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        made = self.registry.create_repository(repositoryName=REPOSITORY)
        self._uri = made["repository"]["repositoryUri"]

    def push(self, number):
        """Push an image; its URI."""
        layers = [{"mediaType": "layer", "size": number, "digest": f"sha256:{number:064}"}]
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        text = {"schemaVersion": 2, "mediaType": kind, "layers": layers, "config": layers[0]}
        self.registry.put_image(
            repositoryName=REPOSITORY, imageManifest=json.dumps(text), imageTag=f"v{number}"
        )
        return f"{self._uri}:v{number}"

    def create(self):
        self.functions.create_function(
            FunctionName=NAME,
            Role=self._role,
            PackageType="Image",
            Code={"ImageUri": self.push(1)},
            Publish=True,
        )
        self.functions.create_alias(FunctionName=NAME, Name="live", FunctionVersion="1")

    def release(self, number):
        """Publish a version with an image of its own, and point the alias at it."""
        self.functions.update_function_code(
            FunctionName=NAME, ImageUri=self.push(number), Publish=True
        )
        self.functions.update_alias(FunctionName=NAME, Name="live", FunctionVersion=str(number))

    def images(self):
        found = self.registry.list_images(repositoryName=REPOSITORY)["imageIds"]
        return sorted(image["imageTag"] for image in found)


@pytest.fixture
def account(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("MOTO_LAMBDA_STUB_ECR", "false")  # an image's digest is the one in ECR
    with mock_aws(config={"lambda": {"use_docker": False}}):
        there = Account()
        there.create()
        yield there


def test_it_points_the_alias_at_the_version_before(account):
    account.release(2)
    account.release(3)
    told = list(rollback.rollback(account.functions, NAME))
    assert versions.traffic(account.functions, NAME).version == 2
    assert told[0] == "Requests go to version 2 now; before, they went to version 3."
    assert "deploying the same again changes nothing" in told[1]


def test_twice_goes_back_twice(account):
    account.release(2)
    account.release(3)
    for expected in (2, 1):
        list(rollback.rollback(account.functions, NAME))
        assert versions.traffic(account.functions, NAME).version == expected


def test_without_a_version_before_it_refuses(account):
    with pytest.raises(ValueError, match="no version before 1"):
        list(rollback.rollback(account.functions, NAME))
    assert versions.traffic(account.functions, NAME).version == 1


def test_the_last_three_versions_and_their_images_stay(account):
    for number in (2, 3, 4, 5):
        account.release(number)
    told = list(versions.prune(account.functions, account.registry, NAME))
    assert versions.published(account.functions, NAME) == [5, 4, 3]
    assert account.images() == ["v3", "v4", "v5"]
    assert len(told) == 4


def test_the_version_that_answers_stays_however_old(account):
    for number in (2, 3, 4, 5):
        account.release(number)
    account.functions.update_alias(FunctionName=NAME, Name="live", FunctionVersion="1")
    list(versions.prune(account.functions, account.registry, NAME))
    assert versions.published(account.functions, NAME) == [5, 4, 3, 1]
    assert account.images() == ["v1", "v3", "v4", "v5"]


def test_three_versions_are_not_pruned(account):
    account.release(2)
    account.release(3)
    assert list(versions.prune(account.functions, account.registry, NAME)) == []


def alias(**more):
    functions, stub = stubbed("lambda")
    answer = {"FunctionVersion": "3", "RevisionId": "r-1", **more}
    stub.add_response("get_alias", answer, {"FunctionName": "f", "Name": "live"})
    stub.activate()
    return functions, stub


def test_a_release_that_is_going_on_is_not_interfered_with():
    functions, _ = alias(RoutingConfig={"AdditionalVersionWeights": {"4": 0.1}})
    with pytest.raises(ValueError, match="from version 3 to 4"):
        list(rollback.rollback(functions, "f"))


def test_a_version_that_lambda_put_to_rest_is_woken_first():
    functions, stub = alias()
    listed = {"Versions": [{"Version": v} for v in ("$LATEST", "2", "3")]}
    which = {"FunctionName": "f", "Qualifier": "2"}
    stub.add_response("list_versions_by_function", listed, {"FunctionName": "f"})
    stub.add_response("get_function_configuration", {"State": "Inactive"}, which)
    woken = {**which, "Payload": b"{}", "InvocationType": "Event"}
    stub.add_response("invoke", {"StatusCode": 202}, woken)
    stub.add_response("get_function_configuration", {"State": "Active"}, which)
    moved = {
        **{"FunctionName": "f", "Name": "live", "FunctionVersion": "2", "RevisionId": "r-1"},
        "RoutingConfig": {"AdditionalVersionWeights": {}},
    }
    stub.add_response("update_alias", {"FunctionVersion": "2"}, moved)
    list(rollback.rollback(functions, "f"))
    stub.assert_no_pending_responses()


@pytest.mark.parametrize(("repository", "is_sams"), [(OF_SAM, True), ("ours/photos", False)])
def test_only_images_in_sams_own_repository_are_deleted(repository, is_sams):
    functions, stub = alias(FunctionVersion="4")
    listed = {"Versions": [{"Version": str(v)} for v in (1, 2, 3, 4)]}
    stub.add_response("list_versions_by_function", listed, {"FunctionName": "f"})
    for version in (4, 3, 2, 1, "$LATEST"):
        uri = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/{repository}@sha256:{version}"
        answer = {"Code": {"ResolvedImageUri": uri}}
        which = {"FunctionName": "f", "Qualifier": str(version)}
        stub.add_response("get_function", answer, which)
    stub.add_response("delete_function", {}, {"FunctionName": "f", "Qualifier": "1"})
    registry, of_registry = stubbed("ecr")
    if is_sams:
        named = {"registryId": "123456789012", "repositoryName": repository}
        images = {"imageIds": [{"imageDigest": "sha256:1"}]}
        of_registry.add_response("batch_delete_image", {}, {**named, **images})
    with of_registry:
        told = list(versions.prune(functions, registry, "f"))
    of_registry.assert_no_pending_responses()
    assert told[0] == "Deleted version 1."
    assert (len(told) == 2) == is_sams
