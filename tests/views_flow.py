"""Collections: each event takes from all accounts and gives it to one, so that all of them add up to 0.

Every event concerns every account, so each key group hears of each: at the end of an epoch all stand at one event.
"""

import headway as hw

NAMES = ["ann", "bob", "a/b", "%2F", "ü", "\0", "🛒", "x" * 40]


class Account(hw.State):
    n: int = 0
    cents: int = 0


class Booking(hw.Event):
    account: str
    cents: int
    number: int


class Book(hw.Operator[Booking, Account, Booking]):
    def on_event(self, state: Account, event: Booking, ctx: hw.Context[Booking]) -> None:
        state.n += 1
        state.cents += event.cents
        ctx.emit(event)


class Sheet(hw.State):
    bookings: hw.Log[Booking] = hw.Log()
    times: hw.Log[int] = hw.Log()


class Write(hw.Operator[Booking, Sheet]):
    """Keeps what has been booked since the account was last the taker, and when that was."""

    def on_event(self, state: Sheet, event: Booking, ctx: hw.Context[hw.Json]) -> None:
        if event.cents > 0:
            state.bookings.clear()
            state.times.append(event.number)
        state.bookings.append(event)


class Transfer(hw.Event):
    at: int
    taker: str
    cents: int


def bookings_of(transfer: Transfer) -> list[Booking]:
    others = [Booking(name, -transfer.cents, transfer.at) for name in NAMES if name != transfer.taker]
    return [*others, Booking(transfer.taker, transfer.cents * len(others), transfer.at)]


flow = hw.Flow("transfers")
by_clock = flow.param("by_clock", False, help="whether an event happens when it is read")
transfers = flow.source(
    "transfers",
    Transfer,
    hw.files(flow.param("input", "transfers-*.jsonl")),
    time=hw.INGESTION_TIME if by_clock else "at",
)
bookings = transfers.flat_map(bookings_of).key_by("account")
accounts = bookings.process("book", Book())
flow.serve("accounts", hw.state_of(accounts), index="cents")
flow.serve("last-booking", accounts, index="number", fields=("cents", "number"))
flow.serve("sheets", hw.state_of(bookings.process("write", Write())), fields=["bookings"])
