"""What an event loop of asyncio can do and that of a durable function cannot, and what to write instead."""

from __future__ import annotations

from typing import Final

__all__ = ["REFUSED", "refusal"]

_STEP: Final = "make it a step (@flow.step) and `await context.call(step, ...)`"
_DRIVER: Final = "the loop is stepped by whoever runs the function"
_SIGNALS: Final = "signals of the system go to the process: those of a function are `await context.wait(name)`"

REFUSED: Final[dict[str, str]] = {
    "run_in_executor": f"asyncio.to_thread and executors run outside of the history: {_STEP}",
    "set_default_executor": f"a durable function has no threads: {_STEP}",
    "shutdown_default_executor": f"a durable function has no threads: {_STEP}",
    "call_soon_threadsafe": f"another thread's doing is not in the history: {_STEP}, or send a signal",
    "create_connection": f"a durable function has no network: {_STEP}",
    "create_server": f"a durable function has no network: {_STEP}",
    "create_datagram_endpoint": f"a durable function has no network: {_STEP}",
    "create_unix_connection": f"a durable function has no network: {_STEP}",
    "create_unix_server": f"a durable function has no network: {_STEP}",
    "connect_accepted_socket": f"a durable function has no network: {_STEP}",
    "start_tls": f"a durable function has no network: {_STEP}",
    "getaddrinfo": f"a durable function has no network: {_STEP}",
    "getnameinfo": f"a durable function has no network: {_STEP}",
    "sock_recv": f"a durable function has no network: {_STEP}",
    "sock_recv_into": f"a durable function has no network: {_STEP}",
    "sock_recvfrom": f"a durable function has no network: {_STEP}",
    "sock_recvfrom_into": f"a durable function has no network: {_STEP}",
    "sock_sendall": f"a durable function has no network: {_STEP}",
    "sock_sendto": f"a durable function has no network: {_STEP}",
    "sock_connect": f"a durable function has no network: {_STEP}",
    "sock_accept": f"a durable function has no network: {_STEP}",
    "sock_sendfile": f"a durable function has no network: {_STEP}",
    "sendfile": f"a durable function has no network: {_STEP}",
    "add_reader": f"a durable function has no files and no network: {_STEP}",
    "remove_reader": f"a durable function has no files and no network: {_STEP}",
    "add_writer": f"a durable function has no files and no network: {_STEP}",
    "remove_writer": f"a durable function has no files and no network: {_STEP}",
    "connect_read_pipe": f"a durable function has no pipes: {_STEP}",
    "connect_write_pipe": f"a durable function has no pipes: {_STEP}",
    "subprocess_shell": f"a durable function has no processes: {_STEP}",
    "subprocess_exec": f"a durable function has no processes: {_STEP}",
    "add_signal_handler": _SIGNALS,
    "remove_signal_handler": _SIGNALS,
    "set_task_factory": "tasks of a durable function are its loop's own",
    "get_task_factory": "tasks of a durable function are its loop's own",
    "set_exception_handler": "errors that nobody awaits are told in the log",
    "get_exception_handler": "errors that nobody awaits are told in the log",
    "set_debug": "asyncio's checks read the clock",
    "run_forever": _DRIVER,
    "run_until_complete": _DRIVER,
    "stop": _DRIVER,
}


def refusal(name: str) -> str:
    """Why a method of the loop cannot be had, and what to do.

    >>> refusal("set_debug")
    "a durable function cannot use the event loop's set_debug: asyncio's checks read the clock"
    """
    return f"a durable function cannot use the event loop's {name}: {REFUSED[name]}"
