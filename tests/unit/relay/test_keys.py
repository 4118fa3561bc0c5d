"""The names of namespaces, groups and keys."""

from __future__ import annotations

import pytest

from masquerade_ws.relay.keys import Keys, check_name


def test_the_keys_of_a_namespace_share_a_hash_tag() -> None:
    keys = Keys("shop")
    names = [keys.ev, keys.key, keys.out, keys.leader, keys.standby, keys.status, keys.dead("store")]
    assert names == [
        "mws:{shop}:ev",
        "mws:{shop}:key",
        "mws:{shop}:out",
        "mws:{shop}:leader",
        "mws:{shop}:standby",
        "mws:{shop}:status",
        "mws:{shop}:dead:store",
    ]
    assert keys.namespace == "shop"


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "x" * 64])
def test_letters_digits_dots_underscores_and_dashes_make_a_name(name: str) -> None:
    assert check_name("group", name) == name


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a:b", "{a}", "é", "a\n", "a*"])
def test_a_name_of_other_characters_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="namespace must be 1 to 64 of the characters"):
        Keys(name)


def test_a_name_that_is_not_a_text_is_refused() -> None:
    with pytest.raises(TypeError, match="group must be a str, not bytes"):
        check_name("group", b"store")
