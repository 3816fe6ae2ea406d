"""Holds the served models in memory, and swaps them when the release changes."""

import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from serving.models.evaluator import Evaluator
from serving.release.document import (
    Release,
    ServedModel,
    last_good_file,
    parse_release,
    read_release,
)
from serving.remedies import describe_error
from settings import LoopError, Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedRelease:
    """A release and its loaded models. They change together or not at all.

    `challenger` is None if the release has none, or if `problem` says why it can't be loaded. Then
    the champion answers alone.
    """

    release: Release
    champion: Evaluator
    challenger: Evaluator | None = None
    problem: str | None = None
    fallback: bool = False  # serves the packaged version, since no release is available

    def log_fields(self) -> dict[str, object]:
        """Return what the service logs of a release when it begins to serve it."""
        release, challenger = self.release, self.release.challenger
        return {
            "generation": release.generation, "model_version": release.champion.version,
            "frozen": release.frozen, "challenger": challenger and challenger.model.version,
            "stage": challenger and challenger.stage, "fallback": self.fallback,
            "problem": self.problem,
        }  # fmt: skip


class ModelHolder:
    """Holds the served release. A request reads `current` once and keeps that object.

    The release document is the one that the settings follow; only a signed one is served.
    `features` are the columns that the service can provide; a model that needs others is refused.
    `packaged` is the release document that came with the code, if any. It is served until the first
    release can be loaded, and never again. `on_change` receives each newly served release.
    """

    def __init__(
        self, settings: Settings, *, features: Collection[str] | None = None,
        packaged: Path | None = None, on_change: Callable[[LoadedRelease], object] = bool,
    ) -> None:  # fmt: skip
        self.current: LoadedRelease | None = None
        self.problem: str | None = None  # why the released models are not served
        self._settings = settings
        self._file = settings.followed_file
        self._packaged = packaged
        self._features = features
        self._on_change = on_change
        # As many as a release has: a change of arms reads no model again.
        self._load_evaluator = lru_cache(maxsize=2)(Evaluator.load)
        self._refreshing = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.refresh()

    def refresh(self) -> bool:
        """Read the release document; return True if another release is served from now on.

        If the release can't be served, the last good one stays and `problem` holds the reason. Each
        call tries it again, since its files may still be arriving.
        """
        with self._refreshing:
            try:
                loaded = self._load()
            except Exception as error:  # of any kind: the service goes on with what it has
                problem = describe_error(error)
                if self.problem != problem:
                    unforeseen = not isinstance(error, LoopError)
                    logger.warning("Release not served: %s", problem, exc_info=unforeseen)
                self.problem = problem
                return False
            self.problem = loaded.problem
            if loaded == self.current:
                return False
            self.current = loaded
            self._on_change(loaded)
            version = loaded.release.champion.version
            logger.info("Serving version %s", version, extra=loaded.log_fields())
            return True

    def start(self, every: float = 0.5) -> None:
        """Refresh in a thread, every `every` seconds, until `stop`."""
        name = "release-poll"
        self._thread = threading.Thread(target=self._poll, args=(every,), name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for its end."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _poll(self, every: float) -> None:
        while not self._stopping.wait(every):
            self.refresh()

    def _load(self) -> LoadedRelease:
        try:
            return self._load_models(read_release(self._settings, self._file), self._file)
        except LoopError as error:
            if self.current and not self.current.fallback:
                raise
            if (last_good := self._load_last_good(error)) is not None:
                return last_good
            if self._packaged is None:
                raise
            packaged = "The packaged version answers, since no release is available."
            problem = f"{packaged} {describe_error(error)}"
            # It came with the code and needs no signature: who changes it can change the code.
            release = parse_release(self._packaged.read_bytes())
            loaded = self._load_models(release, self._packaged)
            return replace(loaded, problem=problem, fallback=True)

    def _load_last_good(self, error: LoopError) -> LoadedRelease | None:
        """Return the second copy of a document that is damaged; None if it can't be served."""
        if not self._file.exists():
            return None
        try:
            release = read_release(self._settings, last_good_file(self._file))
            loaded = self._load_models(release, self._file)
        except LoopError:
            return None
        return replace(loaded, problem=f"The last good release answers. {describe_error(error)}")

    def _load_models(self, release: Release | None, file: Path) -> LoadedRelease:
        if release is None:
            raise LoopError(
                f"No model is released yet: {file} is missing.", code="nothing_released"
            )
        champion = self._load_model(release.champion, file.parent)
        challenger, problem = None, None
        if release.challenger is not None:
            try:
                challenger = self._load_model(release.challenger.model, file.parent)
            except LoopError as error:
                alone = "The challenger can't be used, the champion answers alone."
                problem = f"{alone} {describe_error(error)}"
        return LoadedRelease(release, champion, challenger, problem)

    def _load_model(self, model: ServedModel, folder: Path) -> Evaluator:
        evaluator = self._load_evaluator(folder / model.path, model.digest)
        if self._features is not None and (missing := set(evaluator.columns) - set(self._features)):
            raise LoopError(
                f"Version {model.version} needs the columns {sorted(missing)}, which the feature "
                "store does not provide. Release a model trained on the current features.",
                code="features_not_provided",
            )
        return evaluator
