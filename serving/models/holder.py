"""Which models are served right now? Held in memory, and swapped when the release changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from serving.models.evaluator import Evaluator
from serving.release.document import Release, ServedModel, read_release
from settings import LoopError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedRelease:
    """A release and its loaded models, which change together or not at all.

    `challenger` is None where there is none, or where `problem` says why it can't be used: then the
    champion answers alone.
    """

    release: Release
    champion: Evaluator
    challenger: Evaluator | None = None
    problem: str | None = None
    fallback: bool = False  # the version that came with the package, as no release is in reach


class ModelHolder:
    """The release that is served. A request takes `current` once and keeps to it.

    `features` are the columns that the service can provide: a model that wants others is refused.
    `packaged` is the release document that came with the code, if one did: it is served until the
    other one can be, and never again after that. `on_change` is told what is served from then on.
    """

    def __init__(
        self, release_file: Path, *, features: Collection[str] | None = None,
        packaged: Path | None = None, on_change: Callable[[LoadedRelease], object] = bool,
    ) -> None:  # fmt: skip
        self.current: LoadedRelease | None = None
        self.problem: str | None = None  # why the release at hand is not served, if so
        self._file = release_file
        self._packaged = packaged
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
            changed = loaded != self.current
            self.current, self.problem, self._seen = loaded, loaded.problem, stamp
            if changed:
                self._on_change(loaded)
                logger.info("Serving %s", _told(loaded), extra=_fields(loaded))
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

    def _load(self) -> LoadedRelease:
        try:
            return self._released(self._file)
        except LoopError as error:
            if self._packaged is None or (self.current and not self.current.fallback):
                raise
            problem = f"The packaged version answers, since no release is in reach. {error}"
            return replace(self._released(self._packaged), problem=problem, fallback=True)

    def _released(self, file: Path) -> LoadedRelease:
        release = read_release(file)
        if release is None:
            raise LoopError(f"No model is released yet: there is no {file}.")
        champion = self._evaluator(release.champion, file.parent)
        challenger, problem = None, None
        if release.challenger is not None:
            try:
                challenger = self._evaluator(release.challenger.model, file.parent)
            except LoopError as error:
                problem = f"The challenger can't be used, the champion answers alone. {error}"
        return LoadedRelease(release, champion, challenger, problem)

    def _evaluator(self, model: ServedModel, folder: Path) -> Evaluator:
        if (loaded := self._loaded(model)) is not None:
            return loaded
        evaluator = Evaluator.load(folder / model.path, model.digest)
        if self._features is not None and (wanted := set(evaluator.columns) - set(self._features)):
            raise LoopError(
                f"Version {model.version} wants the columns {sorted(wanted)}, which the feature "
                "store does not give. Release a model trained on today's features."
            )
        return evaluator

    def _loaded(self, model: ServedModel) -> Evaluator | None:
        """What is in memory already, of the same files: a change of arms reads nothing again."""
        if self.current is None:
            return None
        held = [(self.current.release.champion, self.current.champion)]
        if (challenger := self.current.release.challenger) and self.current.challenger:
            held.append((challenger.model, self.current.challenger))
        named = (model.version, model.digest, model.path)
        return next((e for m, e in held if (m.version, m.digest, m.path) == named), None)


def _told(serving: LoadedRelease) -> str:
    release = serving.release
    told = f"version {release.champion.version}, generation {release.generation}"
    if release.challenger is not None:
        state = "in its" if serving.challenger else "without its"
        told += f", {state} {release.challenger.stage} version {release.challenger.model.version}"
    return told


def _fields(serving: LoadedRelease) -> dict[str, object]:
    """The same for who looks for it in the log's lines."""
    release = serving.release
    challenger = release.challenger
    return {
        "generation": release.generation, "model_version": release.champion.version,
        "frozen": release.frozen, "challenger": challenger and challenger.model.version,
        "stage": challenger and challenger.stage, "fallback": serving.fallback,
    }  # fmt: skip
