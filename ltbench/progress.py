"""What a terminal shows while runs go on: a live table there, one plain line per epoch anywhere else."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .events import Event
from .runspec import RunSpec, block_of


class Screen:
    """Hears the events of all runs."""

    def __init__(self, todo: Sequence[RunSpec], runs: Mapping[str, RunSpec], console: Console) -> None:
        self.runs, self.console = runs, console
        self.block = block_of(todo)
        self.waiting = {spec.key for spec in todo}
        self.total, self.ended, self.failed = len(todo), 0, 0
        self.now: dict[str, Event] = {}
        self.first: dict[str, tuple[float, int]] = {}  # key -> when, and with how many epochs done, it began
        self.begun = time.monotonic()
        self.live = Live(get_renderable=self._picture, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def hear(self, event: Event) -> None:
        """Show an event."""
        if event.kind == "elsewhere":
            self._print(event)
            return
        self.waiting.discard(event.key)
        if event.kind == "resumed" or event.key not in self.first:
            self.first[event.key] = (time.monotonic(), event.epoch)
        if event.kind == "finished":
            self.ended += 1
            self.failed += event.status != "complete"
            self.now.pop(event.key, None)
        else:
            self.now[event.key] = event
        if not self.console.is_terminal or event.kind in ("finished", "resumed", "noted", "interrupted"):
            self._print(event)

    def _print(self, event: Event) -> None:
        # Text, not markup: a label may hold brackets
        text = Text(f"{self._name(event.key)}: {event.text}")
        self.console.print(text, soft_wrap=not self.console.is_terminal)  # a log's lines stay whole

    def _name(self, key: str) -> str:
        spec = self.runs[key]
        block = self.block(spec)
        return f"{spec.label} s{spec.ref.seed}" + (f" on {block}" if block else "")

    def _picture(self) -> Group:
        table = Table(box=None, padding=(0, 1), expand=True)
        for name in ("run", "epoch", "", "loss", "images/s", "left"):
            table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=2 if name in ("run", "loss") else None)
        for key, event in self.now.items():
            loss = "  ".join(f"{name} {value:.3g}" for name, value in event.terms.items()) or event.kind
            bar = ProgressBar(total=max(event.epochs, 1), completed=event.epoch, width=12)
            rate = f"{event.rate:.0f}" if event.rate else ""
            table.add_row(
                Text(self._name(key)), f"{event.epoch}/{event.epochs}", bar, Text(loss), rate, self._left(key, event)
            )
        spent = time.monotonic() - self.begun
        failed = f", {self.failed} not complete" if self.failed else ""
        line = f"{self.ended} of {self.total} runs done{failed}, {len(self.waiting)} waiting, {duration(spent)}"
        return Group(table, Text(line, style="dim"))

    def _left(self, key: str, event: Event) -> str:
        begun, epochs = self.first[key]
        if event.epoch <= epochs:
            return ""
        return duration((time.monotonic() - begun) / (event.epoch - epochs) * (event.epochs - event.epoch))


def duration(seconds: float) -> str:
    """1:02:03, or 2:03."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
