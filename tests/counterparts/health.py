"""Asks grpc.health.v1 as grpcio-health-checking knows it.

Usage: health.py ADDRESS. Prints "watching" once its watch is open, and when the
server has ended that, what the client saw, as one line of JSON.
"""

import json
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

DEADLINE = 30
SERVICES = ["", "liveness", "shop.Orders"]


def name(status):
    return health_pb2.HealthCheckResponse.ServingStatus.Name(status)


def ask(service):
    return health_pb2.HealthCheckRequest(service=service)


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def listed(channel, stub):
    # Older packages do not know List.
    if hasattr(stub, "List"):
        statuses = stub.List(health_pb2.HealthListRequest(), timeout=DEADLINE).statuses
        return {service: name(answer.status) for service, answer in statuses.items()}
    raise SystemExit("this grpcio-health-checking has no List")


def main(address):
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        seen = {
            "check": {
                service: name(stub.Check(ask(service), timeout=DEADLINE).status)
                for service in SERVICES
            },
            "unknown": code_of(lambda: stub.Check(ask("no.Such"), timeout=DEADLINE)),
            "list": listed(channel, stub),
        }
        unknown = stub.Watch(ask("no.Such"), timeout=DEADLINE)
        seen["watch_unknown"] = name(next(unknown).status)
        unknown.cancel()
        watch = stub.Watch(ask(""), timeout=DEADLINE)
        statuses = [name(next(watch).status)]
        print("watching", flush=True)
        # It stays open: a client would open the next one at once.
        statuses.append(name(next(watch).status))
        watch.cancel()
        seen["watch"] = statuses
    print(json.dumps(seen))


main(sys.argv[1])
