"""A gRPC client that has the channel watch its server's health, as `healthCheckConfig` in a service
configuration says, and that calls it until it is told to stop."""

import json
import sys
import time

import grpc

CONFIG = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": sys.argv[2]},
    }
)


def main(address):
    options = [("grpc.service_config", CONFIG)]
    with grpc.insecure_channel(address, options=options) as channel:
        grpc.channel_ready_future(channel).result(timeout=20)
        print("ready", flush=True)
        states = []
        channel.subscribe(lambda state: states.append(state.name), try_to_connect=True)
        sys.stdin.readline()
        time.sleep(0.2)
        print(json.dumps(states), flush=True)


main(sys.argv[1])
