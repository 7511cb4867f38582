"""A handler that fails in a different way for each path."""

import os
import time


def handler(event, context):
    path = event["rawPath"]
    if path == "/raises":
        raise ValueError("a secret of the function")
    if path == "/hangs":
        time.sleep(60)
    if path == "/dies":
        os._exit(7)
    if path == "/too-much":
        return {"statusCode": 200, "body": "x" * 7_000_000}
    if path == "/not-a-status":
        return {"statusCode": "many"}
    if path == "/remaining":
        return {"statusCode": 200, "body": str(context.get_remaining_time_in_millis())}
    return {"statusCode": 200, "body": "fine"}
