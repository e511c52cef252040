"""What the API takes and gives, as data: C{/openapi.json} and docs/api.md are made of it."""
