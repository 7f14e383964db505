"""The OpenTelemetry SDK of Python at both ends of a chain of services.

Usage: peer.py call URL TRACEPARENT   asks the service below a span of that trace, and prints the
                                      status and the text of the answer as one line of JSON
       peer.py serve                  answers with what it was sent, on a port that it prints

The spans go to OTEL_EXPORTER_OTLP_ENDPOINT as they end.
"""

import json
import sys
from wsgiref.simple_server import WSGIRequestHandler, make_server

import requests
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor


def call(url, traceparent):
    RequestsInstrumentor().instrument()
    carrier = {"traceparent": traceparent, "tracestate": "vendor=opaque"}
    context.attach(baggage.set_baggage("tenant", "blue", propagate.extract(carrier)))
    with trace.get_tracer("peer").start_as_current_span("buy"):
        answer = requests.get(url, headers={"x-request-id": "order-7"}, timeout=60)
    print(json.dumps([answer.status_code, answer.text]))


def stock(environ, start_response):
    trace.get_current_span().set_attribute("tenant", baggage.get_baggage("tenant") or "")
    is_broken = environ["PATH_INFO"].endswith("/broken")
    start_response("503 Broken" if is_broken else "200 OK", [("content-type", "text/plain")])
    names = ["traceparent", "tracestate", "baggage", "x-request-id"]
    headers = {name: environ.get("HTTP_" + name.upper().replace("-", "_")) for name in names}
    return [json.dumps(headers).encode()]


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def serve():
    with make_server("127.0.0.1", 0, OpenTelemetryMiddleware(stock), handler_class=Quiet) as server:
        print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
if sys.argv[1] == "call":
    call(*sys.argv[2:])
    provider.shutdown()
else:
    serve()
