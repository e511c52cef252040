"""C{twistd waiter}: the command line, and the way from it to a service."""

import os
from functools import partial
from typing import ClassVar

from twisted.application.service import IService
from twisted.python import usage

from waiter.settings import Settings, SettingsError
from waiter.settings_sources import read_settings, settings_path
from waiter.support.garbage import GarbageService
from waiter.support.reactors import install_fast_reactor
from waiter.support.signals import hear_again
from waiter.version import __version__


class Options(usage.Options):
    """
    What can be said on the command line.

    @ivar settings: the settings read; there after parsing.
    @ivar unknown_variables: C{WAITER_*} variables that mean nothing.
    """

    synopsis = "[options]"
    longdesc = (
        "Runs HTTP services that nobody had to deploy: a request carries or names a service; if no instance runs, one is "
        "started while the request waits."
    )
    optParameters: ClassVar[list[list[object]]] = [
        ["settings", "s", None, "The settings file (TOML). Also WAITER_SETTINGS."],
        ["state-dir", "d", None, "Where Waiter keeps its state."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self.http: list[str] = []
        self.settings = Settings()
        self.unknown_variables: list[str] = []

    def opt_http(self, endpoint: str) -> None:
        """Listen on this Twisted endpoint string instead of tcp:9091:interface=127.0.0.1. May be given several times."""
        self.http.append(endpoint)

    def opt_version(self) -> None:
        """Print Waiter's version and exit."""
        print(f"Waiter {__version__}")  # noqa: T201 - this is what the option is for
        raise SystemExit(0)

    def postOptions(self) -> None:
        """
        Read the settings.

        @raise usage.UsageError: they do not hold.
        """
        try:
            self.settings, self.unknown_variables = read_settings(
                path=settings_path(self["settings"], os.environ),
                environment=os.environ,
                http=self.http,
                state_dir=self["state-dir"],
            )
        except SettingsError as error:
            raise usage.UsageError(str(error)) from None


def makeService(options: Options) -> IService:
    """
    Build the tree of services. Makes no threads, sockets or processes: twistd forks after it.

    The fast reactor is installed here, before anything imports a reactor, and not at import: twistd imports every plugin
    to list them.

    @raise SystemExit: with the reason, if the settings contradict each other.
    """
    install_fast_reactor()
    from twisted.internet import reactor  # noqa: PLC0415

    from waiter.assembly import assemble  # noqa: PLC0415

    try:
        root = assemble(reactor, options.settings, unknown_variables=options.unknown_variables)
    except SettingsError as error:
        raise SystemExit(f"waiter: {error}") from None
    root.stop_again = partial(hear_again, reactor)
    GarbageService().setServiceParent(root)
    return root
