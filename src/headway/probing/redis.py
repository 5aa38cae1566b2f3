"""Looking at Redis: its streams, and how many entries are in them."""

from __future__ import annotations

from typing import Any, Final

from headway.basics.needed import needed
from headway.connectors.base import Input
from headway.connectors.redis_stream import redis_stream
from headway.connectors.server_url import REDIS, ServerUrl
from headway.errors import InputError
from headway.probing.base import NAMES_SHOWN, Look, Named, Probe

__all__ = ["RedisProbe"]

_KEYS_MOST: Final = 100_000
"""How many keys are looked at for streams: a database may have very many."""


class RedisProbe(Probe):
    """One database."""

    unit = "stream"
    extra = "redis"

    def __init__(self, url: str) -> None:
        self._url = url
        self._address = ServerUrl(url, "headway connect check", REDIS)
        self.shown = f"{url.partition('://')[0]}://{self._address.shown}"

    def look(self) -> Look:
        """The server, and the keys that hold streams."""
        needed("redis", "redis", "headway connect check redis://...")
        import redis
        import redis.exceptions

        client: Any = redis.Redis.from_url(self._url, socket_connect_timeout=5, socket_timeout=10)
        try:
            info = client.info("server")
            cursor, seen, names = 0, 0, []
            while True:
                cursor, keys = client.scan(cursor, count=1_000, _type="stream")
                names += keys
                seen += 1_000
                if cursor == 0 or seen >= _KEYS_MOST:
                    break
            shown = [_named(client, key) for key in sorted(names)[:NAMES_SHOWN]]
        except redis.exceptions.AuthenticationError as error:
            msg = f"{self.shown} refuses to let us in: check user and password in the URL"
            raise InputError(msg) from error
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError) as error:
            said = self._address.without_secrets(" ".join(str(error).split())).rstrip(".")
            msg = f"{self.shown}: {said}; check address and port, whether Redis runs there, and whether it wants TLS"
            raise InputError(msg) from error
        except redis.exceptions.RedisError as error:
            msg = f"{self.shown}: {self._address.without_secrets(' '.join(str(error).split()))}"
            raise InputError(msg) from error
        finally:
            client.close()
        version = info["redis_version"]
        old = "; streams are read from version 7 on" if int(version.partition(".")[0]) < 7 else ""
        return Look(f"Redis {version}{old}", shown, len(names) - len(shown))

    def input(self, name: str) -> Input:
        """The stream from its start."""
        return redis_stream(self._url, name)

    def source(self, name: str) -> str:
        """With the server, without what is secret."""
        return f'hw.redis_stream("{self.reference or self.shown}", "{name}")'


def _named(client: Any, key: bytes) -> Named:
    count = client.xlen(key)
    return Named(key.decode(errors="backslashreplace"), f"{count:,} entries")
