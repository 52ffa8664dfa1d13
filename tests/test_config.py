from __future__ import annotations

import pytest
from pydantic import Field

from raytrain.config import Section, apply_overrides, digest, parse_yaml, secret, validate
from raytrain.errors import UserError


class Inner(Section):
    width: int = Field(4, ge=1)
    name: str = "x"


class Outer(Section):
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()
    rate: float = 1.0


def message(document: dict[str, object]) -> str:
    with pytest.raises(UserError) as caught:
        validate(Outer, document, "r.yaml")
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_an_unknown_key_is_refused_with_the_nearest_name() -> None:
    assert message({"inner": {"widht": 3}}) == "r.yaml: inner.widht: unknown key; did you mean 'width'?"
    assert "many.0.nam: unknown key; did you mean 'name'" in message({"many": [{"nam": "y"}]})
    assert "known keys: inner, many, rate" in message({"zzzzzz": 1})


def test_a_wrong_type_names_field_and_value() -> None:
    assert "inner.width" in message({"inner": {"width": "wide"}})
    assert "'wide'" in message({"inner": {"width": "wide"}})
    assert "inner.width" in message({"inner": {"width": 0}})


def test_a_section_cannot_be_changed() -> None:
    with pytest.raises(ValueError):
        Inner().width = 5  # type: ignore[misc]


def test_scientific_notation_without_a_dot_is_a_number() -> None:
    assert parse_yaml("rate: 3e-4", "r")["rate"] == pytest.approx(3e-4)


def test_broken_yaml_says_where() -> None:
    with pytest.raises(UserError, match="line 2"):
        parse_yaml("a: 1\nb: [", "r")
    with pytest.raises(UserError, match="mapping"):
        parse_yaml("- a", "r")


def test_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(UserError, match="twice"):
        parse_yaml("a: 1\na: 2", "r")


def test_overrides_reach_nested_keys_lists_and_new_sections() -> None:
    before = {"inner": {"width": 1}, "many": [{"name": "a"}]}
    after = apply_overrides(before, ["inner.width=7", "many.0.name=b", "new.key=[1, 2]", "rate=1e-3"])
    assert after == {"inner": {"width": 7}, "many": [{"name": "b"}], "new": {"key": [1, 2]}, "rate": 1e-3}
    assert before["inner"] == {"width": 1}


@pytest.mark.parametrize("bad", ["noequals", "=3", "a..b=1", "many.9.name=x", "many.x=1", "inner.width.deep=1", "a=["])
def test_a_malformed_override_is_one_line(bad: str) -> None:
    with pytest.raises(UserError) as caught:
        apply_overrides({"inner": {"width": 1}, "many": [{}]}, [bad])
    assert "\n" not in str(caught.value)
    assert "--set" in str(caught.value)


def test_a_secret_must_be_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "by reference" in message({"inner": {"api_key": "hunter2"}})
    assert "hunter2" not in message({"inner": {"api_key": "hunter2"}})
    monkeypatch.setenv("MY_KEY", "value")
    assert secret("${env:MY_KEY}") == "value"
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(UserError, match="MY_KEY"):
        secret("${env:MY_KEY}")


def test_digests_ignore_key_order() -> None:
    assert digest({"a": 1, "b": [2, 3]}) == digest({"b": [2, 3], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_a_wrong_item_is_not_told_twice() -> None:
    class Many(Section):
        items: tuple[Inner, ...] = Field(min_length=1)

    with pytest.raises(UserError) as error:
        validate(Many, {"items": [{"width": "x"}]}, "r.yaml")
    assert "items.0.width" in str(error.value) and "more" not in str(error.value)
    with pytest.raises(UserError, match="items: at least one is wanted"):
        validate(Many, {"items": []}, "r.yaml")
