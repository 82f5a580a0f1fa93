from __future__ import annotations

import socket
from pathlib import Path

from deploy.native import ports

WANTED = {"postgres": 5432, "kafka": 9092}


def free_except(*taken: int):
    return lambda port: port not in taken


def test_takes_the_well_known_port_when_it_is_free() -> None:
    assert ports.pick({}, in_use=frozenset(), preferred=WANTED, free=free_except()) == WANTED


def test_takes_another_when_somebody_has_it() -> None:
    chosen = ports.pick({}, in_use=frozenset(), preferred=WANTED, free=free_except(5432))
    assert chosen["postgres"] in ports.FREE_RANGE
    assert chosen["kafka"] == 9092


def test_keeps_what_it_picked_before() -> None:
    assert ports.pick({"kafka": 25000}, in_use=frozenset(), preferred=WANTED, free=free_except())["kafka"] == 25000


def test_keeps_a_port_that_its_own_process_holds() -> None:
    chosen = ports.pick({"kafka": 25000}, in_use=frozenset({"kafka"}), preferred=WANTED, free=free_except(25000))
    assert chosen["kafka"] == 25000


def test_any_port_is_one_that_no_outgoing_connection_gets() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(ports.any_free() < lowest for _ in range(20))


def test_leaves_a_remembered_port_that_a_stranger_took() -> None:
    chosen = ports.pick({"kafka": 25000}, in_use=frozenset(), preferred=WANTED, free=free_except(25000))
    assert chosen["kafka"] == 9092


def test_a_second_stack_avoids_the_well_known_ports() -> None:
    chosen = ports.pick({}, in_use=frozenset(), use_preferred=False)
    assert chosen.keys() == ports.PREFERRED.keys()
    assert len(set(chosen.values())) == len(chosen)
    assert all(port in ports.FREE_RANGE for port in chosen.values())


def test_sees_that_a_port_is_taken() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert not ports.is_free(server.getsockname()[1])
