"""logs, teardown, invoke and smoke, with answers made by AWS's own service models."""

import io
import json
import subprocess

import boto3
import pytest
from botocore.response import StreamingBody

from local.backends import ROOT
from ops import aws, invoke, logs, smoke, teardown
from tests.loopback import serving
from tests.stubs import stubbed

REQUEST = {
    **{"message": "request", "status": 200, "method": "POST", "path": "/predict"},
    **{"duration_ms": 30.4, "label": "pants", "cold_start": 1, "request_id": "r-1"},
}


def test_logs_shows_a_line_for_each_request_and_other_lines():
    functions, of_functions = stubbed("lambda")
    groups, of_logs = stubbed("logs")
    configuration = {"LoggingConfig": {"LogGroup": "the-group"}}
    of_functions.add_response("get_function_configuration", configuration, {"FunctionName": "f"})
    asked = {"logGroupName": "the-group", "startTime": 5}
    first = [{"timestamp": 0, "message": json.dumps(REQUEST)}]
    of_logs.add_response("filter_log_events", {"events": first, "nextToken": "more"}, asked)
    second = [{"timestamp": 61_000, "message": "REPORT RequestId: r-1\n"}]
    of_logs.add_response("filter_log_events", {"events": second}, {**asked, "nextToken": "more"})
    with of_functions, of_logs:
        shown = list(logs.lines(functions, groups, "f", 5))
    assert shown == [
        "00:00:00 200 POST /predict 30 ms pants cold start r-1",
        "00:01:01 REPORT RequestId: r-1",
    ]


@pytest.fixture
def stacks():
    client, stubber = stubbed("cloudformation")
    summary = {
        "LogicalResourceId": "ClassifierFunction",
        "PhysicalResourceId": "photos-function",
        "ResourceType": "AWS::Lambda::Function",
        "LastUpdatedTimestamp": 0,
        "ResourceStatus": "CREATE_COMPLETE",
    }
    listed = {"StackResourceSummaries": [summary]}
    stubber.add_response("list_stack_resources", listed, {"StackName": "photos"})
    with stubber:
        yield client, stubber


def test_teardown_lists_what_goes_and_stays_and_deletes_nothing(stacks, capsys):
    client, _ = stacks
    assert teardown.teardown(client, "photos", is_meant=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "goes   AWS::Lambda::Function photos-function" in lines
    assert any(line.startswith("stays ") and "ECR" in line for line in lines)
    assert "Nothing was deleted" in lines[-1]


def test_teardown_deletes_and_waits_when_it_is_meant(stacks, capsys):
    client, stubber = stacks
    stubber.add_response("delete_stack", {}, {"StackName": "photos"})
    gone = {"StackName": "photos", "CreationTime": 0, "StackStatus": "DELETE_COMPLETE"}
    stubber.add_response("describe_stacks", {"Stacks": [gone]}, {"StackName": "photos"})
    assert teardown.teardown(client, "photos", is_meant=True) == 0
    stubber.assert_no_pending_responses()
    assert "photos is deleted." in capsys.readouterr().out


def test_what_aws_refuses_is_one_line(capsys):
    client, stubber = stubbed("cloudformation")
    stubber.add_client_error("list_stack_resources", "ValidationError", "Stack x does not exist")
    with stubber:
        status = aws.run(lambda: teardown.teardown(client, "x", is_meant=False))
    assert status == 1
    error = capsys.readouterr().err
    assert "Stack x does not exist" in error
    assert error.count("\n") == 1


def answered(payload, **more):
    client, stubber = stubbed("lambda")
    text = json.dumps(payload).encode()
    body = StreamingBody(io.BytesIO(text), len(text))
    stubber.add_response("invoke", {"StatusCode": 200, "Payload": body, **more})
    stubber.activate()
    return client


def test_invoke_fails_for_a_problem_and_for_a_function_that_crashed(tmp_path):
    photo = tmp_path / "p.jpg"
    photo.write_bytes(b"jpeg")
    problem = {"status": 415, "detail": "no image"}
    assert invoke.invoke(answered(problem), "f", photo)[0] == 1
    assert invoke.invoke(answered(None), "f", photo)[0] == 1
    crashed = answered({"errorMessage": "x"}, FunctionError="Unhandled")
    assert invoke.invoke(crashed, "f", photo)[0] == 1


def test_invoke_refuses_a_photo_that_no_event_takes(tmp_path):
    photo = tmp_path / "large.jpg"
    photo.write_bytes(bytes(4_500_001))
    with pytest.raises(ValueError, match="4,500,001 bytes"):
        invoke.invoke(None, "f", photo)


def test_smoke_without_an_answer_fails_in_one_line(capsys):
    assert smoke.main(["http://127.0.0.1:9"]) == 1
    assert "127.0.0.1:9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (b"220 smtp.example ESMTP\r\n", "not a valid HTTP answer: BadStatusLine"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{}", "HTTP answer: IncompleteRead"),
        (b"", "Remote end closed connection"),
    ],
)
def test_smoke_of_a_broken_server_fails_in_one_line(reply, told, capsys):
    with serving(reply) as server:
        url = f"http://127.0.0.1:{server.port}"
        assert smoke.main([url]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"FAIL {url}: ")
    assert told in error


def test_smoke_signs_its_requests_for_iam():
    session = boto3.Session("the-id", "secret", region_name="eu-west-1")
    headers = smoke.signed(session)("POST", "https://api.example/predict", b"jpeg", {"x": "y"})
    assert "Credential=the-id/" in headers["Authorization"]
    assert "/eu-west-1/execute-api/aws4_request" in headers["Authorization"]
    assert headers["x"] == "y"


def test_smoke_wants_a_url():
    with pytest.raises(SystemExit) as stop:
        smoke.main(["file:///etc/passwd"])
    assert stop.value.code == 2


def commands(target: str, *variables: str) -> str:
    """What `make` would run."""
    made = subprocess.run(
        ["make", "-n", target, *variables], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return made.stdout


@pytest.mark.parametrize("target", ["deploy", "rollback", "doctor"])
def test_an_environment_is_passed_on(target):
    assert '--env "prod"' in commands(target, "ENV=prod")
    assert "--env" not in commands(target)


@pytest.mark.parametrize("yes", ["1", "0", "no", ""])
def test_a_stack_is_deleted_only_with_yes_1(yes):
    assert ("--yes" in commands("teardown", "STACK=photos", f"YES={yes}")) == (yes == "1")


def test_a_folder_of_photos_may_have_spaces_in_its_name():
    assert '--data "my photos"' in commands("bench-sweep", "DATA=my photos")
