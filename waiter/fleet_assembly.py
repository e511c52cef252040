"""The part of the composition that speaks with ZooKeeper."""

from typing import Any

from waiter.fleet.curator import RouterNode
from waiter.fleet.ensemble import Ensemble, TLSFiles
from waiter.fleet.fleet import Fleet
from waiter.fleet.nodes import parse_connect_string
from waiter.fleet.own_address import own_address
from waiter.model.identity import Identity
from waiter.router.endpoint import parse_endpoint, tcp_of
from waiter.settings import Settings, meaning


def make_fleet(reactor: Any, settings: Settings, identity: Identity) -> Fleet | None:
    """
    The parts that speak with ZooKeeper; C{None} if it is not used.

    @raise SettingsError: the connect string is none, or there is no way for other routers to reach this one.
    """
    zookeeper = settings.zookeeper
    if zookeeper.connect_string is None:
        return None
    with meaning("zookeeper.connect-string"):
        hosts, root = parse_connect_string(zookeeper.connect_string)
    with meaning("zookeeper.address"):
        address = zookeeper.address or own_address(map(tcp_of, map(parse_endpoint, settings.listen.http)))
    tls = TLSFiles(ca_file=zookeeper.ca_file, certificate_file=zookeeper.certificate_file, key_file=zookeeper.key_file)
    return Fleet(
        reactor,
        Ensemble(
            hosts=hosts,
            session_timeout_secs=zookeeper.session_timeout_ms / 1000,
            digest=zookeeper.digest,
            tls=tls if zookeeper.tls else None,
        ),
        RouterNode(
            cluster=identity.cluster,
            router_id=identity.router_id,
            address=address,
            port=identity.port,
            fqdn=identity.hostnames[0],
            registered_at=identity.started_at,
        ),
        base_path=f"{root}{zookeeper.base_path}",
        discovery=zookeeper.discovery_relative_path,
        latch=zookeeper.leader_latch_relative_path,
        min_routers=settings.cluster.min_routers,
        interval_secs=settings.discovery.router_interval_ms / 1000,
        connect_secs=zookeeper.connect_timeout_ms / 1000,
        settle_secs=settings.listen.drain_timeout_secs,
    )
