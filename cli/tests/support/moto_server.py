"""Runs moto's server on a port of loopback, with one conditional write at a time.

moto checks whether an object exists and stores it in two steps, on threads: both of two racing writers with
`If-None-Match: *` may succeed. S3 guarantees that only one does.
"""

import sys
from threading import Lock

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

application = DomainDispatcherApplication(create_backend_app)
one_at_a_time = Lock()


def serve(environment, start_response):
    if "HTTP_IF_NONE_MATCH" in environment:
        with one_at_a_time:
            return application(environment, start_response)
    return application(environment, start_response)


run_simple("127.0.0.1", int(sys.argv[1]), serve, threaded=True)
