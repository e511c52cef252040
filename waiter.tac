# Run with: twistd -ny waiter.tac
# Settings come from the file that WAITER_SETTINGS names and from WAITER_* variables.
from twisted.application.service import Application

from waiter.tap import Options, makeService

options = Options()
options.parseOptions([])
application = Application("waiter")
makeService(options).setServiceParent(application)
