"""The endpoints about services."""

from waiter.admin.openapi.operation import INTEGER, TEXT, TRUTH, Operation, Parameter, Reply, include, json_reply
from waiter.admin.openapi.schemas import ref

_EFFECTIVE = Parameter(
    name="effective-parameters", description="Whether to show the description with all its defaults.", schema=TRUTH
)
_NOT_FOUND = {404: "There is no such service."}
_MAY_NOT = {403: "The caller may not manage the service."}

SERVICES = (
    Operation(
        path="/apps",
        tag="services",
        summary="List the services that run, start or fail",
        description="Any parameter of a service filters, a dot leads into a map (`env.FOO`). A value is meant literally or "
        "as a regular expression for the whole; `*` is any. Of several values of a parameter one must match, and all "
        "parameters must. Without `run-as-user` only services that the caller may manage are listed.",
        parameters=(
            Parameter(name="run-as-user", description="Whose services to list.", repeated=True),
            Parameter(name="token", description="By which token they were asked for.", repeated=True),
            Parameter(name="token-version", description="By which version of a token.", repeated=True),
            Parameter(name="star-mode", description="Anything but all: `*` is meant literally."),
            _EFFECTIVE,
            include("effective-parameters", "healthy-instances", "references", "token-fallback"),
        ),
        replies=(json_reply("By their ids.", {"type": "array", "items": ref("ListedService")}),),
        errors={400: "A pattern is too complicated."},
    ),
    Operation(
        path="/apps/instances",
        tag="services",
        summary="Watch the healthy instances",
        description="Services are chosen as in `/apps`. The answer goes on, a JSON object on a line each: first all healthy "
        "instances, then those that are new or have changed, and those that are healthy no more.",
        parameters=(
            Parameter(name="watch", description="Has to be true.", schema=TRUTH, required=True),
            Parameter(name="service-id", description="Of which service.", repeated=True),
            Parameter(name="run-as-user", description="Of whose services.", repeated=True),
            Parameter(name="star-mode", description="Anything but all: `*` is meant literally."),
            Parameter(
                name="streaming-timeout",
                description="Milliseconds without any change after which it ends; 20000 if not given.",
                schema=INTEGER,
            ),
        ),
        replies=(json_reply("A line of it.", "InstanceEvents"),),
        errors={400: "A parameter is not one of those that can be."},
    ),
    Operation(
        path="/apps/{service-id}",
        tag="services",
        summary="Show a service and its instances",
        parameters=(_EFFECTIVE, include("effective-parameters", "metrics", "references", "token-fallback")),
        replies=(json_reply("The service, even if nothing of it runs.", "Service"),),
        errors=_NOT_FOUND,
    ),
    Operation(
        path="/apps/{service-id}",
        method="delete",
        tag="services",
        summary="Stop all instances of a service",
        parameters=(
            Parameter(
                name="timeout",
                description="Milliseconds to wait until no router sees it any more.",
                schema=INTEGER,
            ),
        ),
        replies=(json_reply("It is stopped.", "Deleted"),),
        errors={**_MAY_NOT, 400: "The timeout is no number.", 404: "The scheduler has no such service."},
    ),
    Operation(
        path="/apps/{service-id}/override",
        tag="services",
        summary="Show the overrides of a service",
        replies=(json_reply("What holds instead of what was asked for.", "OverrideState"),),
        errors={**_MAY_NOT, **_NOT_FOUND},
    ),
    Operation(
        path="/apps/{service-id}/override",
        method="post",
        tag="services",
        summary="Replace the overrides of a service",
        description="The service keeps its id and its instances. Those of this machine go by them at once, apps of "
        "Marathon stay as they were created. All routers follow.",
        body="Overrides",
        replies=(json_reply("They hold.", "Done"),),
        errors={**_MAY_NOT, **_NOT_FOUND, 400: "A parameter cannot be overridden, or the service would not hold."},
    ),
    Operation(
        path="/apps/{service-id}/override",
        method="delete",
        tag="services",
        summary="Take back the overrides of a service",
        replies=(json_reply("What was asked for holds.", "Done"),),
        errors={**_MAY_NOT, **_NOT_FOUND},
    ),
    Operation(
        path="/apps/{service-id}/logs",
        tag="services",
        summary="List the instances that have logs, or the files of one",
        parameters=(
            Parameter(name="instance-id", description="The instance whose files to list."),
            Parameter(name="host", description="Where it runs or ran."),
            Parameter(name="directory", description="A directory among its files."),
        ),
        replies=(json_reply("Instances, or files and directories.", {"type": "array", "items": ref("LogEntry")}),),
        errors={400: "A parameter is missing.", 401: "The caller may not see them.", 404: "There is no such thing."},
    ),
    Operation(
        path="/apps/{service-id}/logs/{instance-id}/{path}",
        tag="services",
        summary="Read a log file",
        parameters=(
            Parameter(name="tail", description="The last lines only.", schema=INTEGER),
            Parameter(name="follow", description="Whether to go on with what is written later.", schema=TRUTH),
            Parameter(name="range", place="header", description="The part of the file that is wanted."),
            Parameter(name="last-event-id", place="header", description="Where a stream of events goes on."),
        ),
        replies=(
            Reply(description="The file.", content={"text/plain": TEXT, "text/event-stream": TEXT}),
            Reply(status=206, description="The part that was asked for.", content={"text/plain": TEXT}),
        ),
        errors={
            400: "A parameter is not what it can be.",
            401: "The caller may not see it.",
            404: "There is no such file.",
            416: "There is no such part.",
        },
    ),
)
