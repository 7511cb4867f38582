"""Events that are no requests: raised where an answer would lose a message, else refused."""

import json

import pytest

import lambda_function
from serving.errors import UnservedMessageError
from tests.invocations import event

MESSAGES = {
    "SQS": {"Records": [{"messageId": "1", "body": '{"url": "x"}', "eventSource": "aws:sqs"}]},
    "S3": {"Records": [{"eventSource": "aws:s3", "s3": {"object": {"key": "private.jpg"}}}]},
    "SNS": {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": "private"}}]},
    "SES": {"Records": [{"eventSource": "aws:ses", "ses": {}}]},
    "KINESIS": {"Records": [{"eventSource": "aws:kinesis", "kinesis": {"data": "eA=="}}]},
    "DYNAMODB": {"Records": [{"eventSource": "aws:dynamodb", "dynamodb": {}}]},
    "EventBridge": {"source": "aws.s3", "detail-type": "Object Created", "detail": {"a": 1}},
    "Kafka": {"eventSource": "aws:kafka", "records": {"topic-0": []}},
    "Amazon MQ": {"eventSource": "aws:mq", "messages": []},
    "RabbitMQ": {"eventSource": "aws:rmq", "rmqMessagesByQueue": {}},
    "CloudWatch Logs": {"awslogs": {"data": "H4sI"}},
    "Firehose": {"deliveryStreamArn": "arn", "records": []},
    "S3 Batch Operations": {"invocationSchemaVersion": "1.0", "tasks": [], "job": {}},
    "CloudFormation": {"RequestType": "Create", "ResponseURL": "https://x.example"},
}
PIPE = [{"messageId": "1", "body": "x", "eventSource": "aws:sqs"}]  # EventBridge Pipes


@pytest.mark.parametrize("sender", MESSAGES)
def test_a_message_is_raised_and_the_log_says_what_to_do_instead(app, capsys, sender):
    with pytest.raises(UnservedMessageError, match=f"message of {sender},"):
        app.handle(MESSAGES[sender], "request-1")
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["level"], line["request_id"]) == ("ERROR", "request-1")
    assert line["code"] == "unserved_message"
    assert '{"s3": "s3://bucket/key"}' in line["detail"]
    assert "private" not in str(line)


def test_a_list_of_messages_from_a_pipe_is_raised(app):
    with pytest.raises(UnservedMessageError, match="SQS"):
        app.handle(PIPE, "request-1")


PINGS = [
    {"version": "0", "source": "aws.events", "detail-type": "Scheduled Event", "detail": {}},
    {"version": "0", "source": "aws.scheduler", "detail-type": "Scheduled Event", "detail": "{}"},
    {"source": "serverless-plugin-warmup"},
    {"warmer": True, "concurrency": 3},
    {"warmup": True},
    {"ping": "1"},
]


@pytest.mark.parametrize("ping", PINGS)
def test_a_scheduled_ping_is_answered_at_once(app, ping):
    assert app.handle(ping, "request-1")["status"] == "ok"


def websocket(kind="MESSAGE", **more):
    context = {"routeKey": "$default", "eventType": kind, "connectionId": "x", "stage": "p"}
    return {"requestContext": context, "body": "{}", "isBase64Encoded": False, **more}


AUTHORIZER = {"type": "REQUEST", "methodArn": "arn:aws:execute-api:x"}
REFUSED = {
    "a WebSocket API": websocket(),
    "a WebSocket API, connecting": websocket("CONNECT", headers={"a": "b"}),
    "a Lambda authorizer of an API": {**event("rest_api_v1"), **AUTHORIZER},
    "a Lambda authorizer of an HTTP API": {
        **event("http_api_v2"), "type": "REQUEST", "routeArn": "arn:aws:x"
    },
    "VPC Lattice": {
        "version": "2.0",
        "path": "/predict",
        "method": "POST",
        "requestContext": {"serviceNetworkArn": "arn", "serviceArn": "arn"},
    },
    "a trigger of Cognito": {"triggerSource": "PreSignUp_SignUp", "userPoolId": "x", "request": {}},
    "a resolver of AppSync": {"arguments": {}, "info": {}, "identity": None},
    "a skill of Alexa": {"version": "1.0", "session": {}, "request": {}},
    "CloudFront (Lambda@Edge)": {"Records": [{"cf": {"request": {}}}]},
}  # fmt: skip


@pytest.mark.parametrize("sender", REFUSED)
def test_an_event_whose_sender_waits_is_refused_by_name(app, sender):
    answer = app.handle(REFUSED[sender], "request-1")
    problem = json.loads(answer["body"]) if "requestContext" in REFUSED[sender] else answer
    assert (problem["status"], problem["code"]) == (400, "invalid_request")
    assert f"looks like one of {sender.partition(',')[0]}" in problem["detail"]
    assert "HTTP API" in problem["detail"]


def test_an_event_of_an_unknown_api_says_what_it_holds(app):
    answer = app.handle({"requestContext": {"foo": 1, "bar": 2}, "body": "x"}, "request-1")
    assert answer["statusCode"] == 400
    assert "'foo', 'bar'" in json.loads(answer["body"])["detail"]


@pytest.mark.parametrize(
    "event",
    [
        {"image": "eA==", "source": "x", "detail-type": "y"},
        {"image": "eA==", "ping": True, "warmer": True},
        {"image": "eA==", "session": {}, "request": {}},
    ],
)
def test_a_direct_invocation_that_names_an_image_is_one_of_a_person(app, event):
    assert app.handle(event, "request-1")["status"] == 400  # too many fields, and said so
    assert "must have one field" in app.handle(event, "request-1")["detail"]


def test_a_call_without_a_context_is_answered(monkeypatch, app):
    monkeypatch.setattr(lambda_function, "app", app)
    assert lambda_function.lambda_handler({"url": ""}, None)["status"] == 400
