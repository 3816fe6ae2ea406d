"""Which model is served right now? Held in memory, and swapped when the release changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from serving.evaluator import Evaluator
from serving.release import Release, read
from settings import LoopError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Serving:
    """A release and its loaded model, which change together or not at all."""

    release: Release
    champion: Evaluator


class ModelHolder:
    """The release that is served. A request takes `current` once and keeps to it.

    `features` are the columns that the service can provide: a model that wants others is refused.
    `on_change` is told each release that is served from then on.
    """

    def __init__(
        self, release_file: Path, *, features: Collection[str] | None = None,
        on_change: Callable[[Release], object] = bool,
    ) -> None:  # fmt: skip
        self.current: Serving | None = None
        self.problem: str | None = None  # why the release at hand is not served, if so
        self._file = release_file
        self._features = features
        self._on_change = on_change
        self._seen: tuple[int, int, int] | None = None
        self._refreshing = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.refresh()

    def refresh(self) -> bool:
        """Looks at the release document; True if another release is served from now on.

        A release that cannot be served leaves the last good one in place and its reason in
        `problem`, and is tried again at each call: its files may still be on their way.
        """
        with self._refreshing:
            stamp = self._stamp()
            if self.current is not None and stamp == self._seen and self.problem is None:
                return False
            try:
                loaded = self._load()
            except Exception as error:  # whatever is wrong with it, what is served goes on
                if self.problem != str(error):
                    unforeseen = not isinstance(error, LoopError)
                    logger.warning("Release not served: %s", error, exc_info=unforeseen)
                self.problem = str(error)
                return False
            changed = self.current is None or loaded.release != self.current.release
            self.current, self.problem, self._seen = loaded, None, stamp
            if changed:
                self._on_change(loaded.release)
                champion = loaded.release.champion
                logger.warning(
                    "Serving version %s, generation %d", champion.version, loaded.release.generation
                )
            return changed

    def start(self, every: float = 0.5) -> None:
        """Refreshes in a thread, every so many seconds, until `stop`."""
        self._thread = threading.Thread(
            target=self._poll, args=(every,), name="release-poll", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _poll(self, every: float) -> None:
        while not self._stopping.wait(every):
            self.refresh()

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            stat = self._file.stat()
        except OSError:
            return None  # reading it will tell why
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _load(self) -> Serving:
        release = read(self._file)
        if release is None:
            raise LoopError(f"No model is released yet: there is no {self._file}.")
        champion = release.champion
        evaluator = Evaluator.load(self._file.parent / champion.path, champion.digest)
        if self._features is not None and (wanted := set(evaluator.columns) - set(self._features)):
            raise LoopError(
                f"Version {champion.version} wants the columns {sorted(wanted)}, which the feature "
                "store does not give. Release a model trained on today's features."
            )
        return Serving(release, evaluator)
