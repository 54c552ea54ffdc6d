"""Calls a target many times, and prints how often each answer came, in JSON.

usage: caller.py TARGET COUNT [HEADER=VALUE]...
"""

import collections
import json
import sys

import grpc
import grpc.experimental

target, count, *headers = sys.argv[1:]
metadata = [tuple(header.split("=", 1)) for header in headers]
plaintext = grpc.experimental.insecure_channel_credentials()
with grpc.secure_channel(target, grpc.xds_channel_credentials(plaintext)) as channel:
    greet = channel.unary_unary("/test.Greeter/Greet")
    answers = collections.Counter()
    for _ in range(int(count)):
        try:
            answer = greet(b"", timeout=15, metadata=metadata).decode()
        except grpc.RpcError as error:
            answer = f"{error.code().name}: {error.details()}"
        answers[answer] += 1
    print(json.dumps(answers))
