"""The endpoints about tokens."""

from waiter.admin.openapi.operation import INTEGER, TRUTH, Operation, Parameter, include, json_reply
from waiter.admin.openapi.schemas import ref

_WHICH = (
    Parameter(name="token", description="The token. If not given, the header or the host names it."),
    Parameter(name="x-waiter-token", place="header", description="The token, where the query does not name it."),
)
_IF_MATCH = Parameter(
    name="if-match",
    place="header",
    description="The etag of what is to be changed; an empty one means that there is no such token yet.",
)
_RESULT = {"x-waiter-operation-result": "What was done: token-created, token-updated, token-no-op, token-deleted."}
_ETAG = {"etag": "The version of the token, not in quotes."}

TOKENS = (
    Operation(
        path="/token",
        tag="tokens",
        summary="Show a token",
        parameters=(*_WHICH, include("metadata", "deleted")),
        replies=(json_reply("The token, as it was given.", "Token", headers=_ETAG),),
        errors={400: "No token is named.", 404: "There is no such token."},
    ),
    Operation(
        path="/token",
        method="post",
        tag="tokens",
        summary="Create or replace a token",
        description="What is sent is the whole token; what is left out is not kept. The query or the body names it, not both.",
        parameters=(
            Parameter(name="token", description="The token, if the body does not name it."),
            Parameter(
                name="update-mode",
                description="admin, for those who may: what the system says of a token may be sent, too.",
                schema={"type": "string", "enum": ["admin"]},
            ),
            _IF_MATCH,
        ),
        body="NamedToken",
        replies=(json_reply("It is stored, durably.", "EditedToken", headers={**_ETAG, **_RESULT}),),
        errors={
            400: "The body is no token, or what it describes does not hold.",
            403: "The caller may not, the name is taken by Waiter, or the owner has too many tokens.",
            412: "Somebody changed it meanwhile.",
        },
    ),
    Operation(
        path="/token",
        method="delete",
        tag="tokens",
        summary="Delete a token",
        parameters=(
            *_WHICH,
            Parameter(
                name="hard-delete", description="Whether nothing is to be kept of it; needs if-match.", schema=TRUTH
            ),
            _IF_MATCH,
        ),
        replies=(json_reply("It is deleted.", "DeletedToken", headers=_RESULT),),
        errors={
            400: "No token is named, or if-match is missing.",
            403: "The caller may not.",
            404: "There is no such token.",
            412: "Somebody changed it meanwhile.",
        },
    ),
    Operation(
        path="/tokens",
        tag="tokens",
        summary="List tokens, or watch them",
        description="Any key of a token's data filters, a dot leads into a map (`env.FOO`). A value is meant literally or as a "
        "regular expression for the whole; an empty one finds tokens that do not say it. Of several values of a key one "
        "must match, and all keys must.",
        parameters=(
            Parameter(name="owner", description="Whose tokens to list.", repeated=True),
            Parameter(name="can-manage-as-user", description="Only those that this user may change."),
            Parameter(name="maintenance", description="Whether they are out of service.", schema=TRUTH),
            Parameter(name="run-as-requester", description="Whether they run as whoever asks.", schema=TRUTH),
            Parameter(
                name="requires-parameters",
                description="Whether requests have to bring parameters that they do not give.",
                schema=TRUTH,
            ),
            Parameter(name="parameters", description="Names of parameters that requests may bring, between commas."),
            include("cluster", "deleted", "metadata", "service-id"),
            Parameter(name="watch", description="Whether to go on with what changes.", schema=TRUTH),
            Parameter(
                name="streaming-timeout",
                description="Milliseconds without any change after which watching ends; 20000 if not given.",
                schema=INTEGER,
            ),
        ),
        replies=(
            json_reply(
                "By name. A watch is a stream of JSON objects, a line each: first all of them, then what changes.",
                {"anyOf": [{"type": "array", "items": ref("ListedToken")}, ref("TokenEvents")]},
            ),
        ),
        errors={400: "A parameter is not one of those that can be."},
    ),
    Operation(
        path="/tokens/owners",
        tag="tokens",
        summary="List those who own tokens",
        replies=(json_reply("Who owns any, and a name for each one's list.", {"type": "object"}),),
    ),
    Operation(
        path="/tokens/reindex",
        method="post",
        tag="tokens",
        summary="Read all tokens anew",
        replies=(json_reply("They are read.", "Reindexed"),),
        errors={503: "They cannot be read."},
    ),
    Operation(
        path="/token-history",
        tag="tokens",
        summary="Show what a token is and was",
        parameters=(
            Parameter(name="token", description="The token.", required=True),
            Parameter(name="length", description="How many versions at most; 10 if not given.", schema=INTEGER),
        ),
        replies=(json_reply("Newest first.", {"type": "array", "items": ref("TokenVersion")}),),
        errors={400: "No token is named.", 404: "There is no such token."},
    ),
)
