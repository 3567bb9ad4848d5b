"""Receives spans by OTLP over HTTP. Prints its port first, and then each span as a line of JSON.

OpenTelemetry's own package decodes the spans.
"""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Collector(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        is_known = self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
        if is_known:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource_attributes = MessageToDict(resource.resource)["attributes"]
                for span in (span for scope in resource.scope_spans for span in scope.spans):
                    decoded = MessageToDict(span)
                    decoded["resource"] = resource_attributes
                    # MessageToDict writes bytes as base64; traces are named in hexadecimal.
                    decoded["traceId"], decoded["spanId"] = span.trace_id.hex(), span.span_id.hex()
                    decoded["parentSpanId"] = span.parent_span_id.hex()
                    print(json.dumps(decoded), flush=True)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200 if is_known else 404)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


server = HTTPServer(("127.0.0.1", 0), Collector)
print(server.server_port, flush=True)
server.serve_forever()
