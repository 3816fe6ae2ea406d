"""The words that are forbidden outside a use case follow from its contract, also from a fork's."""

from pathlib import Path
from types import MappingProxyType

from contract import FeatureViews, UseCase
from features.views import entity
from tests import words


class Churn(UseCase):
    name = "churn"
    feeds = MappingProxyType({"customers": ["customer_id"], "outcomes": ["customer_id", "week"]})
    categories, numbers = ("plan",), ("spend_90d", "hour")

    def __init__(self, folder: Path) -> None:
        self.of = folder

    @property
    def folder(self) -> Path:
        return self.of

    def views(self) -> FeatureViews:
        return FeatureViews([entity("household")], [])


Churn.__abstractmethods__ = frozenset()  # nothing else of it is used


def test_names_of_a_fork_are_found_and_common_words_are_not(tmp_path: Path) -> None:
    forbidden = words.words(Churn(tmp_path))
    assert forbidden == {
        "churn", "customers", "customer_id", "week", "plan", "spend_90d", "household",
    }  # fmt: skip
    found = words.pattern(forbidden)
    for text in ('rows["spend_90d"]', "Churn", "of_customers", "household:7"):
        assert found.search(text)
    for text in ("outcomes of an hour", "planned", "weekly"):
        assert not found.search(text)


def test_days_of_the_first_year_are_found(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text('first_day: "2021-02-01"')
    found = words.pattern([words.first_year(Churn(tmp_path))])
    for text in ('"2021-11-30"', "date(2021, 3, 1)", "datetime(2021,3,1)"):
        assert found.search(text)
    for text in ("2021", "2020-01-01", "12021-01"):
        assert not found.search(text)
