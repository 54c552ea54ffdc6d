"""A gRPC server that asks discovery what to do: says its name, and whom it sees."""

import sys
from concurrent import futures

import grpc


class Greeter(grpc.GenericRpcHandler):
    def __init__(self, name):
        self.name = name

    def service(self, call):
        return grpc.unary_unary_rpc_method_handler(self.greet)

    def greet(self, request, context):
        seen = [identity.decode() for identity in context.peer_identities() or []]
        return " ".join([self.name, *seen]).encode()


name, address = sys.argv[1:]
server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), xds=True)
server.add_generic_rpc_handlers([Greeter(name)])
plaintext = grpc.insecure_server_credentials()
server.add_secure_port(address, grpc.xds_server_credentials(plaintext))
server.start()
server.wait_for_termination()
