"""The endpoints by which people act on services and instances, and ask a service how it is."""

from waiter.admin.openapi.operation import INTEGER, TRUTH, Operation, Parameter, include, json_reply

_MAY_NOT = {403: "The caller may not manage the service."}
_TIMEOUT = Parameter(
    name="timeout",
    description="Milliseconds to wait for the end of the instance; it goes on after that.",
    schema=INTEGER,
)

CONTROL = (
    *(
        Operation(
            path=f"/apps/{{service-id}}/{action}",
            method=method,
            tag="services",
            summary=summary,
            description="GET does the same as POST, for clients that know nothing else.",
            replies=(json_reply("It is done, and stored.", "Done"),),
            errors={**_MAY_NOT, 500: "There is no such service."},
        )
        for action, summary in (
            ("suspend", "Refuse requests for a service until it is resumed"),
            ("resume", "Let requests for a service come again"),
        )
        for method in ("get", "post")
    ),
    Operation(
        path="/apps/{service-id}/refresh",
        tag="services",
        summary="Read anew what is stored about a service",
        replies=(json_reply("It is read.", "Done"),),
    ),
    *(
        Operation(
            path=f"/apps/{{service-id}}/instance/{{instance-id}}/{action}",
            method="post",
            tag="services",
            summary=summary,
            parameters=parameters,
            replies=(json_reply("It is told.", "SignalResponse"),),
            errors={
                **_MAY_NOT,
                400: "The timeout is no number, or the instance was stopped already.",
                404: "There is no such service or instance.",
            },
        )
        for action, summary, parameters in (
            (
                "kill",
                "Stop an instance",
                (Parameter(name="force", description="Whether to give it no time to end.", schema=TRUTH), _TIMEOUT),
            ),
            ("expire", "Have an instance replaced", (_TIMEOUT,)),
        )
    ),
    *(
        Operation(
            path="/waiter-ping",
            method=method,
            tag="requests",
            summary="Have an instance answer its health check, as a request would reach it",
            description="The request's host and `x-waiter-*` headers are understood as those of a request for a service, which "
            "is started if need be. The answer is 200 whatever came of it; that is in the body.",
            parameters=(
                Parameter(
                    name="x-waiter-timeout", place="header", description="Milliseconds it may take.", schema=INTEGER
                ),
                include("fallback"),
                Parameter(
                    name="exclude",
                    description="What not to show.",
                    schema={"type": "string", "enum": ["service-state"]},
                    repeated=True,
                ),
            ),
            replies=(json_reply("What came of it.", "Ping"),),
        )
        for method in ("get", "post")
    ),
)
