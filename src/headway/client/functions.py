"""The client of durable functions for ordinary code."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, Optional, TypeVar, Union, overload

from headway.basics.times import Duration
from headway.client.function_protocol import Declared, FunctionProtocol, InstanceProtocol, Rules, Since, listed
from headway.client.function_records import InstanceStatus, Posted
from headway.client.synchronous import Client
from headway.client.talks import Pause, Server, Talk
from headway.errors import ServiceError, UsageError

__all__ = ["Function", "FunctionClient", "Instance", "address_missing"]

R = TypeVar("R")
T = TypeVar("T")
_WAIT = "10s"


def address_missing(server: Server) -> UsageError:
    """What to give a client that was not given the address of a server."""
    does = "starts, signals and ends functions" if server == "listen" else "knows how they stand"
    return UsageError(f"the server of `headway run --{server}` {does}: give the client {server}='http://HOST:PORT'")


class FunctionClient:
    """Starts durable functions of a flow, tells them something, and asks them. For several threads; a context manager.

    `listen` is the address of the server of `headway run --listen`, which takes what is told, and `serve` that of
    `--serve`, which answers what is asked; who does only one of both needs only one. Each may also be a `Client`, where
    one has a token or certificates of its own; it stays open when this client is closed. `token` is a bearer token, or
    where it is: `env:NAME` or `file:/path`. `timeout_s` is for each answer, besides what the server may wait.

    While a server gives no answer, or is busy, it is asked again for `retry_s` seconds, with the same idempotency key:
    what was taken although its answer was lost is not there twice. Then, and for what is refused, `ServiceError` is
    raised, with the `status` of the answer. Nothing is connected before something is asked.

    >>> with FunctionClient(listen="http://127.0.0.1:8080", serve="http://127.0.0.1:8090") as client:
    ...     orders = client.function("refund_order")
    >>> orders
    Function('refund_order')
    """

    def __init__(
        self,
        *,
        listen: Union[str, Client, None] = None,
        serve: Union[str, Client, None] = None,
        token: Optional[str] = None,
        timeout_s: float = 10.0,
        retry_s: float = 30.0,
        tls: Optional[ssl.SSLContext] = None,
    ) -> None:
        if listen is None and serve is None:
            msg = (
                "FunctionClient() has no address: give listen=, serve= or both, such as listen='http://127.0.0.1:8080'"
            )
            raise UsageError(msg)
        self._own: list[Client] = []

        def client_of(server: Server, given: Union[str, Client, None]) -> Optional[Client]:
            if given is None or isinstance(given, Client):
                return given
            if not isinstance(given, str):
                msg = f"{server}={given!r:.100}: give the address of the server, or a Client"
                raise UsageError(msg)
            self._own.append(Client(given, token=token, timeout_s=timeout_s, tls=tls))
            return self._own[-1]

        self._clients: dict[Server, Optional[Client]] = {
            "listen": client_of("listen", listen),
            "serve": client_of("serve", serve),
        }
        self._rules = Rules(retry_s)

    @overload
    def function(self, function: Declared[R]) -> Function[R]: ...

    @overload
    def function(self, function: Union[Declared[Any], str], returns: type[T]) -> Function[T]: ...

    @overload
    def function(self, function: str) -> Function[Any]: ...

    def function(self, function: Any, returns: Any = Any) -> Any:
        """A function: as it is declared, so that arguments and results are checked here, or by its name.

        `returns` is the type of the result; that of the declaration by default, and plain data for a name.
        """
        return Function(self, FunctionProtocol(function, returns, self._rules))

    def list(
        self,
        name: str = "",
        *,
        status: Union[str, Iterable[str]] = (),
        where: Union[str, Iterable[str]] = (),
        since: Optional[Since] = None,
        page: int = 100,
    ) -> Iterator[InstanceStatus]:
        """The instances of a function, or of all, for which everything holds that is given.

        `status` is one or several of `running`, `blocked`, `completed`, `failed`, `cancelled`, `terminated`; `where`
        are conditions on search fields, such as `"cents>=500"`; `since` when they were started at the earliest. All are
        of one epoch, and read page by page: raises `ServiceError` when more than a minute passes between two pages.
        """
        cursor = ""
        while True:
            talk = listed(self._rules, cursor, name=name, status=status, where=where, since=since, page=page)
            found, cursor = self.drive(talk)
            yield from found
            if not cursor:
                return

    def close(self) -> None:
        """Close the connections that are not in use, but for those of a `Client` that was given: it may have others."""
        for client in self._own:
            client.close()

    def __enter__(self) -> FunctionClient:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def drive(self, talk: Talk[T]) -> T:
        """Have a talk. For `Function` and `Instance`."""
        try:
            step = next(talk)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = talk.send(None)
                    continue
                client = self._clients[step.server]
                if client is None:
                    raise address_missing(step.server)
                try:
                    reply = client.ask(step.request)
                except ServiceError as error:
                    step = talk.throw(error)
                else:
                    step = talk.send(reply)
        except StopIteration as end:
            found: T = end.value
            return found
        finally:
            talk.close()


class Function(Generic[R]):
    """One function of a flow. Made by `FunctionClient.function`."""

    def __init__(self, client: FunctionClient, protocol: FunctionProtocol[R]) -> None:
        self._client = client
        self._protocol = protocol

    def __repr__(self) -> str:
        return f"Function({self._protocol.name!r})"

    def instance(self, id: str, /) -> Instance[R]:  # noqa: A002 - what it is called everywhere
        """A handle of the instance of an id, whether there is one or not. Asks nobody."""
        return Instance(self._client, self._protocol.instance(id))

    def start(
        self,
        id: str,  # noqa: A002
        /,
        *arguments: Any,
        id_reuse: Optional[str] = None,
        key: Optional[str] = None,
        **keywords: Any,
    ) -> Instance[R]:
        """Start it; returns a handle when the start is durable, with its receipt as `posted`.

        Where there is an instance of the id, `id_reuse` says what happens, as in `hw.durable_workflow`; by default what
        the declaration says. `key` is an idempotency key of your own: under the same one it is started once, also from
        two processes. Raises `UsageError` for arguments that the declared function does not take, and `ServiceError`
        with status 422 where only the server knows that.
        """
        instance = self._protocol.instance(id)
        encoded = self._protocol.encode(*arguments, **keywords)
        self._client.drive(instance.start(encoded, id_reuse, key))
        return Instance(self._client, instance)

    def signal_with_start(
        self,
        id: str,  # noqa: A002
        signal: str,
        value: Any,
        /,
        *arguments: Any,
        id_reuse: Optional[str] = None,
        key: Optional[str] = None,
        **keywords: Any,
    ) -> Instance[R]:
        """Send a signal; where there is no instance of the id it is started, and has the signal from its beginning."""
        instance = self._protocol.instance(id)
        encoded = self._protocol.encode(*arguments, **keywords)
        self._client.drive(instance.signal_with_start(signal, value, encoded, id_reuse, key))
        return Instance(self._client, instance)


class Instance(Generic[R]):
    """One instance of a function. What it is asked includes what this handle has told before.

    All that is told returns when it is durable, before the instance has heard of it. `key` is an idempotency key: under
    one key one thing is told once. The server refuses another thing under the same key, with status 422.
    """

    def __init__(self, client: FunctionClient, protocol: InstanceProtocol[R]) -> None:
        self._client = client
        self._protocol = protocol

    def __repr__(self) -> str:
        return f"Instance({str(self._protocol)!r})"

    @property
    def id(self) -> str:
        """Its id."""
        return self._protocol.id

    @property
    def posted(self) -> Optional[Posted]:
        """What the server has said of the last thing that this handle has told; None before."""
        return self._protocol.posted

    def signal(self, name: str, value: Any = None, *, key: Optional[str] = None) -> Posted:
        """Send a signal. One for an instance that is not there, or has ended, goes to `flow.unclaimed`."""
        return self._client.drive(self._protocol.signal(name, value, key))

    @overload
    def update(
        self,
        name: str,
        value: Any = None,
        *,
        returns: type[T],
        timeout: Optional[Duration] = "30s",
        key: Optional[str] = None,
    ) -> T: ...

    @overload
    def update(
        self, name: str, value: Any = None, *, timeout: Optional[Duration] = "30s", key: Optional[str] = None
    ) -> Any: ...

    def update(
        self,
        name: str,
        value: Any = None,
        *,
        returns: Any = Any,
        timeout: Optional[Duration] = "30s",
        key: Optional[str] = None,
    ) -> Any:
        """Ask it to change something, and wait for the answer: for `timeout`, or with None as long as it takes.

        Raises `FunctionFailed` where it is refused, its handler raises, or the instance has ended. Raises `NotYetError`
        when `timeout` has passed, also where no server has answered. Ask again with the same `key`, and you get the
        answer to the same update. A key is one update for each instance: the same key may be used for another one.
        """
        return self._client.drive(self._protocol.update(name, value, returns, timeout, key))

    def answer(self, token: str, value: Any = None, *, key: Optional[str] = None) -> Posted:
        """Give the answer to a call that waits for it: the text of a `context.token()`."""
        return self._client.drive(self._protocol.answer_token(token, value, key))

    def cancel(self, reason: str = "", *, key: Optional[str] = None) -> Posted:
        """Ask it to end in an orderly way: its code hears of it once, and its compensations run."""
        return self._client.drive(self._protocol.end("cancel", reason, key))

    def terminate(self, reason: str = "", *, key: Optional[str] = None) -> Posted:
        """End it here and now. None of its code runs any more."""
        return self._client.drive(self._protocol.end("terminate", reason, key))

    @overload
    def query(self, name: str, value: Any = None, *, returns: type[T], wait: Duration = _WAIT) -> T: ...

    @overload
    def query(self, name: str, value: Any = None, *, wait: Duration = _WAIT) -> Any: ...

    def query(self, name: str, value: Any = None, *, returns: Any = Any, wait: Duration = _WAIT) -> Any:
        """What the handler of a query says, also of one that has ended.

        The server waits for up to `wait` until it knows what this handle has told, a minute at most; then `NotYetError`
        is raised. Raises `FunctionFailed` where the handler raises, `ServiceError` for what is not there (404).
        """
        return self._client.drive(self._protocol.query(name, value, returns, wait))

    def describe(self, *, wait: Duration = _WAIT) -> Optional[InstanceStatus]:
        """Where it stands; None where there is no such instance. `wait` is as in `query`."""
        return self._client.drive(self._protocol.describe(wait))

    def is_ours(self, *, wait: Duration = _WAIT) -> bool:
        """Whether the run that there is now was started by the `start` of this handle, and not by another one before.

        So `start(id, ..., id_reuse="reject")` learns whether it was refused. `wait` is as in `query`.
        """
        return self._client.drive(self._protocol.is_ours(wait))

    def result(self, timeout: Optional[Duration] = None) -> R:
        """Its result, once it has ended; where its id was used anew, that of the newest run.

        Raises `FunctionFailed` where it has failed, was cancelled or terminated. Raises `NotYetError` when `timeout`
        has passed before, whether the function goes on or no server has answered; the last answer has a second more.
        Raises `ServiceError` where there is no such instance (404), or the server is gone for longer than `retry_s`.
        Costs a request for each change of the instance, and one a minute.
        """
        return self._client.drive(self._protocol.result(timeout))
