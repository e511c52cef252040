"""The endpoints about this router, and about what a request would be for."""

from waiter.admin.openapi.operation import JSON, PLAIN, TEXT, TRUTH, Operation, Parameter, Reply, include, json_reply
from waiter.admin.openapi.schemas import ref

_WAITER_HEADERS = "The request's host and `x-waiter-*` headers are understood as those of a request for a service."
_NO_SERVICE = {
    400: "They describe no service, or none that holds.",
    403: "The caller may not use it.",
    404: "There is no such token.",
}
_NO_TOKEN = {404: "Neither the host nor `X-Waiter-Token` names a token."}
_LATEST = Parameter(
    name="latest",
    description="Whether to give the newest version of a token, even if requests go to the one before for now.",
    schema=TRUTH,
)

ROUTER = (
    Operation(
        path="/",
        tag="router",
        summary="Say hello",
        replies=(
            Reply(
                description="Who answers.",
                content={JSON: "Welcome", "text/html": TEXT, PLAIN: TEXT},
            ),
        ),
    ),
    Operation(
        path="/status",
        tag="router",
        summary="Say whether requests may be sent here",
        description="For load balancers. Any method will do.",
        parameters=(include("request-info", "server-info"),),
        replies=(json_reply("They may.", "Status"),),
        errors={503: "This router is about to stop."},
    ),
    Operation(
        path="/waiter-consent/{asked-path}",
        tag="requests",
        summary="Ask a browser's user to agree",
        description="For the host of a token without `run-as-user`: its service runs as whoever asks. Requests for it that "
        "say nothing else are sent here (303) until a cookie says that their user agrees; then the page goes where the "
        "request went.",
        replies=(Reply(description="The page.", content={"text/html": TEXT}),),
        errors=_NO_SERVICE,
    ),
    Operation(
        path="/waiter-consent/",
        tag="requests",
        summary="Ask a browser's user to agree",
        replies=(Reply(description="The page, for a request for /.", content={"text/html": TEXT}),),
        errors=_NO_SERVICE,
    ),
    Operation(
        path="/waiter-consent",
        method="post",
        tag="requests",
        summary="Agree",
        description="Only for the page of the same host: `Origin`, `Referer` and `X-Requested-With` have to say so.",
        parameters=(
            Parameter(name="mode", description="`service`, or `token` for whatever the token is going to be."),
            Parameter(name="service-id", description="With mode `service`: which one."),
        ),
        replies=(
            Reply(
                description="That it is done. A form may say the same as the query.",
                content={PLAIN: TEXT},
                headers={"set-cookie": "The cookie x-waiter-consent."},
            ),
        ),
        errors={400: "It is not the page that asks, or not about what the host stands for.", 405: "It is no POST."},
    ),
    Operation(
        path="/waiter-consent-cookie",
        tag="requests",
        summary="Show what the caller has agreed to",
        replies=(json_reply("As the cookie x-waiter-consent says.", "Consent"),),
    ),
    Operation(
        path="/waiter-interstitial/{asked-path}",
        tag="requests",
        summary="Show a browser that a service is starting",
        description="For tokens with `interstitial-secs`: until the service has its first healthy instance, GET and HEAD requests that accept "
        "`text/html` are sent here (303, with `x-waiter-interstitial: true`). The page asks again at once for what follows "
        "its own path, with `x-waiter-bypass-interstitial=<milliseconds since the epoch>` at the end of the query: that "
        "request waits for its answer.",
        replies=(Reply(description="The page.", content={"text/html": TEXT}),),
        errors=_NO_TOKEN,
    ),
    Operation(
        path="/waiter-interstitial/",
        tag="requests",
        summary="Show a browser that a service is starting",
        replies=(Reply(description="The page, for a request for /.", content={"text/html": TEXT}),),
        errors=_NO_TOKEN,
    ),
    Operation(
        path="/favicon.ico",
        tag="router",
        summary="The picture for browsers",
        replies=(Reply(description="An icon.", content={"image/x-icon": {}}),),
    ),
    Operation(
        path="/metrics",
        tag="router",
        summary="Count and measure",
        parameters=(
            Parameter(name="service-id", description="JSON only: one service."),
            Parameter(name="exclude-services", description="JSON only: no services.", schema=TRUTH),
            Parameter(name="name", description="JSON only: what is in the names of what is wanted."),
        ),
        replies=(
            Reply(
                description="The numbers, as Prometheus reads them or, if asked for, as JSON.",
                content={PLAIN: TEXT, JSON: "Metrics"},
            ),
        ),
    ),
    Operation(
        path="/settings",
        tag="router",
        summary="Show the settings in force",
        replies=(json_reply("Under the names that clients know.", "Settings"),),
    ),
    Operation(
        path="/profiles",
        tag="router",
        summary="List the profiles that descriptions may name",
        replies=(json_reply("By name.", {"type": "array", "items": ref("Profile")}),),
    ),
    Operation(
        path="/state",
        tag="router",
        summary="List the components that can be looked into",
        replies=(json_reply("Their names and addresses.", "State"),),
    ),
    Operation(
        path="/state/{name}",
        tag="router",
        summary="Look into a component, or at all that is known of a service",
        replies=(json_reply("What it says of itself.", "State"),),
        errors={404: "There is no component or service of this name."},
    ),
    Operation(
        path="/openapi.json",
        tag="router",
        summary="Describe this API",
        replies=(json_reply("An OpenAPI 3.1 document: this one.", {"type": "object"}),),
    ),
    *(
        Operation(
            path=path,
            tag="requests",
            summary=summary,
            description=f"{_WAITER_HEADERS} Its description is remembered, nothing is started. Any method will do.",
            parameters=(_LATEST,),
            replies=(Reply(description="The service id.", content={PLAIN: TEXT}),),
            errors=_NO_SERVICE,
        )
        for path, summary in (
            ("/service-id", "Tell which service a request would be for"),
            ("/app-name", "The same as /service-id"),
        )
    ),
)
