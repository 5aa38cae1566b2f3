"""Typed clients of a flow, sync and async: for its decision state, and for its durable functions.

>>> from headway.client import Client, FunctionClient
>>> scores = Client("http://127.0.0.1:8090").view("scores", dict)
>>> scores
View('scores' of http://127.0.0.1:8090)
>>> FunctionClient(listen="http://127.0.0.1:8080", serve="http://127.0.0.1:8090").function("refund_order")
Function('refund_order')
"""

from headway.client.async_functions import AsyncFunction, AsyncFunctionClient, AsyncInstance
from headway.client.asynchronous import AsyncClient, AsyncView
from headway.client.function_records import InstanceStatus, Posted
from headway.client.functions import Function, FunctionClient, Instance
from headway.client.protocol import Answer, Status
from headway.client.synchronous import Client, View
from headway.errors import FunctionFailed, NotYetError, ServiceError

__all__ = [
    "Answer",
    "AsyncClient",
    "AsyncFunction",
    "AsyncFunctionClient",
    "AsyncInstance",
    "AsyncView",
    "Client",
    "Function",
    "FunctionClient",
    "FunctionFailed",
    "Instance",
    "InstanceStatus",
    "NotYetError",
    "Posted",
    "ServiceError",
    "Status",
    "View",
]
