"""How the Marathon scheduler behaves, as far as that can be set."""

import attrs


@attrs.frozen(kw_only=True)
class MarathonRules:
    """
    @ivar any_user: whether services may run as any user.
    @ivar container_init_commands: what is run with a service's command as its last argument.
    @ivar home_path_prefix: what comes before the user's name in C{HOME}.
    @ivar agent_port: where the Mesos agents listen.
    @ivar agent_directory: the agents' directory for tasks.
    @ivar framework_id_ttl_secs: how long Marathon's name at Mesos is believed.
    @ivar force_kill_after_secs: how long the kills of a service may have been failing before the lock of its app is broken.
    @ivar sync_deployment_secs: how often apps are looked at that may have got stuck; one is if it is as it is for four
        times as long.
    @ivar min_hosts: on how many hosts instances must have failed before that says something about the service.
    @ivar events: whether to listen to Marathon's events.
    @ivar event_spacing_secs: how long after one look at Marathon the next one that an event causes comes at the earliest.
    @ivar lowered_secs: how long a number is shown that is lower than what runs.
    """

    any_user: bool = False
    container_init_commands: tuple[str, ...] = ("/bin/bash", "-c")
    home_path_prefix: str = "/home/"
    agent_port: int = 5051
    agent_directory: str = "/var/lib/mesos/slaves"
    framework_id_ttl_secs: float = 900.0
    force_kill_after_secs: float = 60.0
    sync_deployment_secs: float = 15.0
    min_hosts: int = 2
    events: bool = True
    event_spacing_secs: float = 0.25
    lowered_secs: float = 10.0
