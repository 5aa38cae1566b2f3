"""Typed clients of a flow, sync and async: for its decision state, and for its durable functions.

>>> from headway.client import Client, FunctionClient
>>> scores = Client("http://127.0.0.1:8090").view("scores", dict)
>>> scores
View('scores' of http://127.0.0.1:8090)
>>> FunctionClient(listen="http://127.0.0.1:8080", serve="http://127.0.0.1:8090").function("refund_order")
Function('refund_order')
"""

from typing import TYPE_CHECKING, Final

from headway.basics.lazy import lazily as _lazily

if TYPE_CHECKING:
    from headway.client.async_functions import AsyncFunction as AsyncFunction
    from headway.client.async_functions import AsyncFunctionClient as AsyncFunctionClient
    from headway.client.async_functions import AsyncInstance as AsyncInstance
    from headway.client.asynchronous import AsyncClient as AsyncClient
    from headway.client.asynchronous import AsyncView as AsyncView
    from headway.client.function_records import InstanceStatus as InstanceStatus
    from headway.client.function_records import Posted as Posted
    from headway.client.functions import Function as Function
    from headway.client.functions import FunctionClient as FunctionClient
    from headway.client.functions import Instance as Instance
    from headway.client.protocol import Answer as Answer
    from headway.client.protocol import Status as Status
    from headway.client.synchronous import Client as Client
    from headway.client.synchronous import View as View
    from headway.errors import FunctionFailed as FunctionFailed
    from headway.errors import NotYetError as NotYetError
    from headway.errors import ServiceError as ServiceError

_HOMES: Final = {
    "client.async_functions": "AsyncFunction AsyncFunctionClient AsyncInstance",
    "client.asynchronous": "AsyncClient AsyncView",
    "client.function_records": "InstanceStatus Posted",
    "client.functions": "Function FunctionClient Instance",
    "client.protocol": "Answer Status",
    "client.synchronous": "Client View",
    "errors": "FunctionFailed NotYetError ServiceError",
}
"""Where the names are: who asks for the sync client alone need not import asyncio."""

__all__, __getattr__, __dir__ = _lazily(__name__, _HOMES)
