"""L{waiter.admin.openapi}: the description of the API is valid, whole and true."""

import json
import re

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from twisted.trial.unittest import SynchronousTestCase

from tests.admin.support import Api, Reserver, make_instance, make_service, running
from waiter.admin.openapi.document import OPERATIONS, document
from waiter.admin.openapi.schemas import ref
from waiter.catalog.effective import OVERRIDABLE, PARAMETERS
from waiter.catalog.validation import make_rules
from waiter.model.load import ServiceLoad
from waiter.model.token import SYSTEM_METADATA, USER_METADATA

ANY = {"get", "post", "delete", "put", "patch", "options", "trace", "head"}


def routes(resource):
    """Every path with the methods it takes, as OpenAPI writes them; C{None} for any method."""
    for area in {*resource._areas.values(), resource._other}:
        for rule in area.klein.url_map.iter_rules():
            path = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: f"{{{match[1].replace('_', '-')}}}", rule.rule)
            methods = None if rule.methods is None else {each.lower() for each in rule.methods} - {"head"}
            yield path, methods


class DocumentTests(SynchronousTestCase):
    def setUp(self):
        self.document = json.loads(json.dumps(document()))

    def test_itIsValid(self):
        errors = [error.message for error in OpenAPIV31SpecValidator(self.document).iter_errors()]
        self.assertEqual(errors, [])

    def test_everyRouteIsDescribed(self):
        for path, methods in routes(Api().resource):
            described = set(self.document["paths"].get(path, ()))
            if methods is None:
                self.assertTrue(described, f"{path} is not described: see waiter/admin/openapi")
            else:
                self.assertEqual(described & methods, methods, f"{path} is not described: see waiter/admin/openapi")

    def test_everythingThatIsDescribedIsThere(self):
        there: dict[str, set[str]] = {}
        for path, methods in routes(Api().resource):
            there.setdefault(path, set()).update(ANY if methods is None else methods)
        for operation in OPERATIONS:
            self.assertIn(operation.method, there.get(operation.path, ()), operation.path)

    def test_noOperationIsDescribedTwice(self):
        keys = [(operation.path, operation.method) for operation in OPERATIONS]
        self.assertEqual(len(keys), len(set(keys)))

    def test_everyParameterOfAServiceIsInIt(self):
        schemas = self.document["components"]["schemas"]
        self.assertEqual(set(schemas["ServiceParameters"]["properties"]), PARAMETERS)
        self.assertEqual(set(schemas["EffectiveParameters"]["properties"]), PARAMETERS)
        self.assertEqual(set(schemas["Overrides"]["properties"]), OVERRIDABLE)
        self.assertNotIn("required", schemas["ServiceParameters"])


class AnswersTests(SynchronousTestCase):
    """What is answered has the shape that is described."""

    def setUp(self):
        self.document = json.loads(json.dumps(document()))
        self.api = Api()
        service = make_service(name="a", **{"allowed-params": ["X"], "env": {"A": "1"}})
        dead = make_instance(unique="4", exit_code=1)
        self.api.run(running(service, "1", "2", unhealthy=(make_instance(unique="3"),), failed=(dead,), killed=(dead,)))
        self.api.reservers.all[service.id] = Reserver(load=ServiceLoad(outstanding=3, waiting=1, last_request_at=990.0))
        self.api.parts.metrics.service(service.id).total = 7
        self.api.autoscaler.scaling[service.id] = "scale-up"

    def fits(self, path, asked, *, method="get", status=200, **arguments):
        """Ask, and hold the answer against its description."""
        headers = {"accept": "application/json", **arguments.pop("headers", {})}
        answer = self.api.ask(self, asked, method=method.upper(), headers=headers, **arguments)
        self.assertEqual(answer.code, status, answer.content)
        responses = self.document["paths"][path][method]["responses"]
        schema = responses[str(status)]["content"]["application/json"]["schema"]
        # References begin at the root of what the schema is in.
        validator = Draft202012Validator({**schema, "components": self.document["components"]})
        found = list(validator.iter_errors(answer.json))
        self.assertEqual([error.message for error in found], [], path)
        return answer.json

    def test_services(self):
        [listed] = self.fits("/apps", "/apps?effective-parameters=true&include=healthy-instances")
        service_id = listed["service-id"]
        shown = self.fits("/apps/{service-id}", f"/apps/{service_id}?effective-parameters=true&include=metrics")
        described = self.document["components"]["schemas"]["Service"]["properties"]
        self.assertEqual(set(shown) - set(described), set())
        instances = shown["instances"]["active-instances"]
        self.assertTrue(instances)
        keys = set(self.document["components"]["schemas"]["Instance"]["properties"])
        self.assertEqual({key for instance in instances for key in instance} - keys, set())
        self.fits("/apps/{service-id}", "/apps/unknown", status=404)
        self.fits("/apps/{service-id}", f"/apps/{service_id}", method="delete")

    def test_overrides(self):
        service_id = self.fits("/apps", "/apps")[0]["service-id"]
        path, asked = "/apps/{service-id}/override", f"/apps/{service_id}/override"
        self.fits(path, asked)
        self.fits(path, asked, method="post", data=b'{"max-instances": 3}')
        self.fits(path, asked)
        self.fits(path, asked, method="delete")
        self.fits(path, asked, method="post", data=b"[]", status=400)

    def test_tokens(self):
        body = {"token": "first", "cmd": "x", "cpus": 1, "stale-timeout-mins": 5, "cors-rules": [{"origin-regex": "a"}]}
        sent = Draft202012Validator({**ref("NamedToken"), "components": self.document["components"]})
        self.assertEqual(list(sent.iter_errors(body)), [])
        post = {"method": "post", "data": json.dumps(body).encode()}
        self.fits("/token", "/token", **post, headers={"content-type": "application/json"})
        self.fits("/token", "/token?token=first&include=metadata")
        self.fits("/tokens", "/tokens?include=metadata&include=cluster")
        self.fits("/tokens/owners", "/tokens/owners")
        self.fits("/token-history", "/token-history?token=first")
        self.fits("/tokens/reindex", "/tokens/reindex", method="post")
        self.fits("/token", "/token?token=first", method="delete")
        self.fits("/token", "/token?token=first", status=404)

    def test_everyMetadataOfATokenIsDescribed(self):
        described = self.document["components"]["schemas"]["Token"]["properties"]
        self.assertEqual(set(described), PARAMETERS | USER_METADATA | SYSTEM_METADATA)

    def test_whatIsDoneByHand(self):
        service_id = make_service().id
        for action in ("suspend", "resume"):
            for method in ("get", "post"):
                self.fits(f"/apps/{{service-id}}/{action}", f"/apps/{service_id}/{action}", method=method)
        self.fits("/apps/{service-id}/suspend", "/apps/unknown/suspend", status=500)
        self.fits("/apps/{service-id}/refresh", f"/apps/{service_id}/refresh")
        for action in ("kill", "expire"):
            path = f"/apps/{{service-id}}/instance/{{instance-id}}/{action}"
            self.fits(path, f"/apps/{service_id}/instance/{service_id}.9/{action}", method="post", status=404)

    def test_pings(self):
        for method in ("get", "post"):
            self.fits("/waiter-ping", "/waiter-ping", method=method)

    def test_theRouter(self):
        for path in ("/", "/status", "/settings", "/state", "/metrics", "/openapi.json", "/profiles"):
            self.fits(path, path)
        self.fits("/state/{name}", "/state/maintainer")
        self.fits("/state/{name}", "/state/nothing", status=404)

    def test_logs(self):
        self.fits("/apps/{service-id}/logs", f"/apps/{make_service().id}/logs")

    def test_profiles(self):
        self.api.catalog.rules = make_rules(profiles={"slow": {"cpus": 1}, "fast": {"cpus": 4.0, "env": {"A": "b"}}})
        self.assertEqual(
            self.fits("/profiles", "/profiles"),
            [{"name": "fast", "defaults": {"cpus": 4, "env": {"A": "b"}}}, {"name": "slow", "defaults": {"cpus": 1}}],
        )

    def test_theDocumentIsServed(self):
        self.assertEqual(self.fits("/openapi.json", "/openapi.json"), self.document)
