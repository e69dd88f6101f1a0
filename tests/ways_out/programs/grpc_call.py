"""A call of gRPC."""

import contextlib

import grpc


def go(host: str, port: int) -> None:
    with grpc.insecure_channel(f"{host}:{port}") as channel, contextlib.suppress(grpc.RpcError):
        channel.unary_unary("/service/Method")(b"", timeout=10)
