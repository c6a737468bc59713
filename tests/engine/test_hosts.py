"""Who may ask a page, by the address that was asked for and the page that asks."""

import socket

import pytest

from mrcz_dask.engine.hosts import NAMES, is_asked_for, is_loopback


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("tcp://127.0.0.1:8786", True),
        ("tls://127.4.5.6:1", True),
        ("localhost:8787", True),
        ("tcp://[::1]:8786", True),
        ("::1", True),
        ("192.0.2.2:8787", False),
        ("tcp://login:8786", False),
        (":8787", False),
        ("0.0.0.0:8787", False),
    ],
)
def test_what_is_reached_from_this_machine_alone(address: str, inside: bool) -> None:
    assert is_loopback(address) is inside


HERE = socket.gethostname()


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8787", "127.0.0.1", "127.0.0.1:1", "[::1]:80", "localhost."]
)
@pytest.mark.parametrize("origin", [None, "http://localhost:9999", "http://127.0.0.1:1", "http://[::1]"])
@pytest.mark.parametrize("listening", ["127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.7"])
def test_this_machine_may_ask_through_any_tunnel(listening: str, host: str, origin: str | None) -> None:
    assert is_asked_for(listening, host, origin)


@pytest.mark.parametrize("listening", ["127.0.0.1", "0.0.0.0", "10.0.0.7", "scope.lab.org"])
@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "example.org:8787",
        "127.0.0.1.example.org",
        "localhost.example.org:1",
        "",
        "[",
        "a b",
        ":1",
        "[::1].example.org",
        "[::1]example.org:1",
        "example.org@127.0.0.1",
        "127.0.0.1@example.org",
        "127.0.0.1,example.org",
        "127.0.0.1#.example.org",
    ],
)
def test_another_name_may_not(listening: str, host: str) -> None:
    assert not is_asked_for(listening, host, None)
    assert not is_asked_for(listening, host, f"http://{host}")
    assert not is_asked_for(listening, "127.0.0.1:8787", f"http://{host}")


@pytest.mark.parametrize(
    "origin", ["null", "", "file://", "http://", "http://[", "http://user@example.org:1"]
)
def test_a_page_from_nowhere_may_not(origin: str) -> None:
    assert not is_asked_for("127.0.0.1", "127.0.0.1:8787", origin)


def test_beyond_this_machine_its_names_and_numbers_may() -> None:
    for host in (HERE, f"{HERE}:8787", "10.0.0.7:8787", "[fe80::1]:8787"):
        assert is_asked_for("0.0.0.0", host, None)
        assert is_asked_for("0.0.0.0", host, f"http://{host}")
        assert not is_asked_for("0.0.0.0", host, "http://10.6.6.6")
    assert is_asked_for("scope.lab.org", "Scope.lab.org:80", "http://scope.lab.org")
    assert not is_asked_for("127.0.0.1", "10.0.0.7:8787", None)


def test_the_names_of_a_proxy_may_where_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = ("127.0.0.1", "hub.lab.org", "https://hub.lab.org")
    assert not is_asked_for(*hub)
    monkeypatch.setenv(NAMES, "other.org:80, hub.lab.org")
    assert is_asked_for(*hub)
