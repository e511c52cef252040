"""Tells C{twistd} and C{twist} of Waiter."""

from twisted.application.service import ServiceMaker

waiter = ServiceMaker("Waiter", "waiter.tap", "Runs HTTP services that nobody had to deploy", "waiter")
