"""A signal while workers start ends that, and leaves nothing behind."""

import logging
import multiprocessing
import signal
import socket
import ssl

import dask
import pytest

from mrcz_dask.engine import local
from mrcz_dask.engine.client import DaskClient
from mrcz_dask.engine.clusters import ClientOptions, open_client
from mrcz_dask.engine.memory import MemoryEstimate
from mrcz_dask.values.errors import SessionError
from mrcz_dask.values.messages import ClusterReady, Message, silent
from mrcz_dask.values.stopping import ask_to_stop

LITTLE = MemoryEstimate(100_000_000, 1_000_000)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("spawned", [False, True])
def test_a_signal_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], number: int, spawned: bool
) -> None:
    before = set(multiprocessing.active_children())
    wait = local.wait_for_workers

    def ask(client: object, workers: int, seconds: float) -> None:
        while spawned and not set(multiprocessing.active_children()) - before:
            pass
        ask_to_stop(number)
        wait(client, workers, seconds)  # type: ignore[arg-type]

    monkeypatch.setattr(local, "wait_for_workers", ask)
    with pytest.raises((KeyboardInterrupt, SystemExit)), open_client(ClientOptions(2), LITTLE, silent):
        pytest.fail("the workers started")
    assert not set(multiprocessing.active_children()) - before
    assert not logging.root.manager.disable
    assert "Traceback" not in "".join(capfd.readouterr())


def test_workers_that_do_not_start_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "START_SECONDS", 0)
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": "spawn"}),  # forks are there at once
        pytest.raises(SessionError, match="2 workers have not started within 0 s; give fewer --workers"),
        open_client(ClientOptions(2), LITTLE, silent),
    ):
        pytest.fail("the workers started")


@pytest.mark.cluster
def test_connections_are_encrypted_where_the_configuration_of_dask_asks_for_it() -> None:
    import distributed  # noqa: F401 - brings its configuration along

    ready: list[Message] = []
    configured = dask.config.set({"distributed.comm.require-encryption": True})
    with configured, open_client(ClientOptions(1), LITTLE, ready.append) as client:
        assert isinstance(client, DaskClient) and isinstance(ready[-1], ClusterReady)
        assert client.client.submit(len, [1, 2]).result() == 2
        host, port = ready[-1].scheduler.removeprefix("tls://").split(":")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain) as stranger:
            stranger.settimeout(20)
            with pytest.raises(OSError):  # it has no certificate
                while stranger.recv(100):
                    pass
                raise ConnectionResetError


def test_ctrl_c_reaches_no_worker_and_a_last_heartbeat_is_not_told() -> None:
    """A terminal sends Ctrl-C to all processes; workers take none from their first moment on."""

    def told() -> tuple[bool, bool]:
        record = logging.LogRecord("", logging.ERROR, "", 0, "it failed during heartbeat", None, None)
        blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        return blocked, bool(logging.getLogger("distributed.worker").filter(record))

    with open_client(ClientOptions(1), LITTLE, silent) as client:
        assert isinstance(client, DaskClient)
        assert list(client.client.run(told).values()) == [(True, False)]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
