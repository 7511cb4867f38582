"""Events that are no requests: what they look like, and what becomes of them.

Lambda deletes a queue's or a notification's message when the function returns, whatever it returns.
Such an event is raised, so that Lambda tries again, alarms and keeps it in a dead-letter queue. An
event whose sender waits for the answer gets a problem that says what it looks like. A scheduled
ping, which keeps an instance warm, is answered at once.
"""

from collections.abc import Mapping
from typing import Any

from serving.errors import UnservedMessageError

# What a person who wired up the wrong event can do instead.
_IMAGE_FIELDS = frozenset({"url", "image", "s3", "images"})
_INSTEAD = (
    'Invoke it with {"s3": "s3://bucket/key"} for each photo instead, from a Step Functions state '
    "or from a function that takes the messages and keeps the answers."
)
_SERVED = (
    "Use an HTTP API, a REST API, a function URL or a load balancer, or invoke the function with "
    '{"url": "https://…"}, {"image": "BASE64"} or {"s3": "s3://bucket/key"}.'
)

# Sender -> the fields that only its messages have together.
_MESSAGES = {
    "EventBridge": {"source", "detail-type"},
    "CloudWatch Logs": {"awslogs"},
    "Kafka": {"eventSource", "records"},
    "Amazon MQ": {"eventSource", "messages"},
    "RabbitMQ": {"eventSource", "rmqMessagesByQueue"},
    "DocumentDB": {"eventSource", "events"},
    "Firehose": {"deliveryStreamArn", "records"},
    "S3 Batch Operations": {"invocationSchemaVersion", "tasks"},
    "SNS": {"TopicArn", "Message"},
    "CloudFormation": {"RequestType", "ResponseURL"},
    "CodePipeline": {"CodePipeline.job"},
    "AWS Config": {"invokingEvent", "configRuleName"},
    "a Lambda destination": {"requestContext", "requestPayload"},
}
# The same of senders that wait for the answer.
_WAITING = {
    "a Lambda authorizer of an API": {"type", "methodArn"},
    "a Lambda authorizer of an HTTP API": {"type", "routeArn"},
    "a trigger of Cognito": {"triggerSource", "userPoolId"},
    "a resolver of AppSync": {"arguments", "info"},
    "a skill of Alexa": {"session", "request"},
    "a bot of Lex": {"bot", "sessionState"},
    "an agent of Bedrock": {"agent", "messageVersion"},
    "S3 Object Lambda": {"getObjectContext"},
    "VPC Lattice": {"raw_path", "method"},
}
_PING_FIELDS = frozenset({"warmer", "warmup", "warm-up", "keep_warm", "keepwarm", "ping"})
_PING_SOURCES = frozenset({"serverless-plugin-warmup", "warmer", "warmup"})


def is_ping(event: Any) -> bool:
    """Whether an event only keeps the function warm: a schedule's, or one of the usual plugins'."""
    if not isinstance(event, Mapping) or {*_IMAGE_FIELDS, "requestContext"} & event.keys():
        return False
    if event.get("detail-type") == "Scheduled Event":
        return True
    source = event.get("source")
    return (isinstance(source, str) and source in _PING_SOURCES) or any(
        event.get(name) for name in _PING_FIELDS & event.keys()
    )


def raise_message(event: Any) -> None:
    """Raise UnservedMessageError if a queue, a stream or a notification service sent the event."""
    sender = _sender_of_records(event)
    if sender is None and isinstance(event, Mapping) and not _IMAGE_FIELDS & event.keys():
        sender = _named(event, _MESSAGES)
    if sender is not None:
        raise UnservedMessageError(
            f"The event looks like a message of {sender}, which this function does not serve; "
            f"answering would count as success and lose it. {_INSTEAD}"
        )


def refusal(event: Any) -> str | None:
    """Why an event whose sender waits is not served; None if nothing speaks against it."""
    if not isinstance(event, Mapping) or _IMAGE_FIELDS & event.keys():
        return None
    context = event.get("requestContext")
    sender = _named(event, _WAITING)
    if isinstance(context, Mapping):
        if "connectionId" in context or context.get("eventType") in ("CONNECT", "DISCONNECT"):
            sender = "a WebSocket API"
        elif "serviceNetworkArn" in context:
            sender = "VPC Lattice"
    elif "cf" in _first(event.get("Records")):
        sender = "CloudFront (Lambda@Edge)"
    if sender is None:
        return None
    return f"The event looks like one of {sender}, which this function does not serve. {_SERVED}"


def unknown_api(context: Mapping[str, Any]) -> str:
    """What is said of a request that no known API made."""
    names = ", ".join(repr(str(name)[:40]) for name in list(context)[:8]) or "nothing"
    return (
        "The event looks like an API's request, but it has no method (its requestContext has: "
        f"{names}). {_SERVED}"
    )


def _sender_of_records(event: Any) -> str | None:
    """`Records` of SQS, S3 and others; EventBridge Pipes sends such a list without the object."""
    records = event.get("Records") if isinstance(event, Mapping) else event
    record = _first(records)
    source = record.get("eventSource") or record.get("EventSource")
    if isinstance(source, str) and source.startswith("aws:"):
        return source.removeprefix("aws:").upper()
    return None


def _first(records: Any) -> Mapping[str, Any]:
    if isinstance(records, list) and records and isinstance(records[0], Mapping):
        return records[0]
    return {}


def _named(event: Mapping[str, Any], table: Mapping[str, set[str]]) -> str | None:
    return next((name for name, fields in table.items() if fields <= event.keys()), None)
