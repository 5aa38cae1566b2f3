"""What has changed in the views of a flow, and what becomes of those who ask for them."""

from __future__ import annotations

from collections.abc import Iterator

from headway.state.manifest import Manifest, ViewEntry
from headway.state.names import former_name

__all__ = ["shown_by", "view_changes"]


def shown_by(manifest: Manifest) -> frozenset[int]:
    """The numbers under which lies what views show: of operators, of their logs, and of indexes.

    Also of logs that no view shows: whoever asks a durable function something is answered from its history.
    """
    views = manifest.views.values()
    numbers = {view.operator_id for view in views} | {view.index_id for view in views if view.index}
    return frozenset(numbers.union(*(manifest.operators[view.operator].log_numbers for view in views)))


def view_changes(found: Manifest, expected: Manifest) -> Iterator[tuple[str, str]]:
    """Each difference: what has changed, and what is different. All are told, and none is refused.

    What is stored does not depend on views, but for their indexes, which are made of the rows.
    """
    used = set()
    for name, now in expected.views.items():
        old = former_name(name, now.was, found.views, expected.views)
        what = f"view {name!r}"
        if old not in found.views:
            yield what, "it is new" + (": its index is made at the start" if now.index else "")
            continue
        used.add(old)
        was = found.views[old]
        if old != name:
            yield what, f"it was called {old!r}: whoever asks for it by that name is told that there is none"
        yield from ((what, text) for text in _differences(was, now))
    for name in found.views:
        if name not in used:
            yield f"view {name!r}", "the flow has it no more: whoever asks for it is told that there is none"


def _differences(was: ViewEntry, now: ViewEntry) -> Iterator[str]:
    if was.operator != now.operator or was.of_stream != now.of_stream:
        yield f"it shows {_shown(now)}, before {_shown(was)}"
    if was.fields != now.fields:
        yield f"it shows {', '.join(now.fields) or 'all fields'}, before {', '.join(was.fields) or 'all fields'}"
    if was.index != now.index:
        told = f"it is indexed by {now.index}" if now.index else "it has no index any more"
        made = "; the index is made at the start" if now.index else ""
        yield f"{told}, before {'by ' + was.index if was.index else 'not at all'}{made}"


def _shown(view: ViewEntry) -> str:
    return f"the last values of {view.operator!r}" if view.of_stream else f"the state of {view.operator!r}"
