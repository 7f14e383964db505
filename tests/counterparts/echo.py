"""Calls playground.Echo with nothing but the server's reflection to go by.

Usage: echo.py ADDRESS. Prints what the client saw, as one line of JSON.
"""

import json
import sys
import uuid
from types import SimpleNamespace

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)


def reflect(channel):
    """The service's methods, as its reflected descriptors describe them."""
    reflection = ProtoReflectionDescriptorDatabase(channel)
    service = DescriptorPool(reflection).FindServiceByName("playground.Echo")
    return SimpleNamespace(**{method.name: call_of(channel, method) for method in service.methods})


def call_of(channel, method):
    """A function that calls the method, with the fields of its request."""
    request = GetMessageClass(method.input_type)
    reply = GetMessageClass(method.output_type)
    kind = channel.unary_stream if method.server_streaming else channel.unary_unary
    stub = kind(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=request.SerializeToString,
        response_deserializer=reply.FromString,
    )

    def call(timeout=None, metadata=None, **fields):
        return stub(request(**fields), timeout=timeout, metadata=metadata)

    return call


def read(call):
    """The messages of a stream, the status's name and its text."""
    messages = []
    try:
        for reply in call:
            messages.append(reply.message)
    except grpc.RpcError as error:
        return [messages, error.code().name, error.details()]
    return [messages, call.code().name, call.details()]


def main():
    seen = {}
    with grpc.insecure_channel(sys.argv[1]) as channel:
        echo = reflect(channel)
        seen["unary"] = echo.Unary(message="hello").message
        seen["stream"] = read(echo.ServerStream(message="tick", count=5, delay_ms=1))
        seen["fail"] = [
            read(echo.Fail(messages=messages, code=code, message="as asked"))
            for code in range(1, 17)
            for messages in (0, 3)
        ]
        seen["refused"] = read(echo.Fail(messages=1, code=0))
        seen["late"] = read(echo.ServerStream(timeout=0.3, message="tick", count=1000, delay_ms=50))[1]

        cut = echo.ServerStream(message="tick", count=1000, delay_ms=50)
        next(cut)
        cut.cancel()
        seen["cut"] = read(cut)[1]

        sent = str(uuid.uuid4())
        call = echo.ServerStream(metadata=[("x-request-id", sent)], message="tick", count=1)
        seen["id_came_back"] = dict(call.initial_metadata()).get("x-request-id") == sent
        read(call)

        unknown = channel.unary_unary("/playground.Echo/Unknown")
        try:
            unknown(b"")
        except grpc.RpcError as error:
            seen["unknown"] = error.code().name
    print(json.dumps(seen))


main()
