"""Asking a flow for decision state: a typed client of `headway serve`, sync and async.

>>> from headway.client import AsyncClient, Client
>>> scores = Client("http://127.0.0.1:8090").view("scores", dict)
>>> scores
View('scores' of http://127.0.0.1:8090)
"""

from headway.client.asynchronous import AsyncClient, AsyncView
from headway.client.protocol import Answer, Status
from headway.client.synchronous import Client, View
from headway.errors import NotYetError, ServiceError

__all__ = ["Answer", "AsyncClient", "AsyncView", "Client", "NotYetError", "ServiceError", "Status", "View"]
