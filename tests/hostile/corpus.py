"""All the requests."""

from tests.hostile import chunks, framing, lines, targets

FAMILIES = tuple(
    tuple(family())
    for family in (
        framing.length_then_coding,
        framing.coding_then_length,
        framing.two_codings,
        framing.lengths,
        chunks.extensions,
        chunks.sizes,
        chunks.terminators,
        chunks.trailers,
        lines.folding,
        lines.bare_lf,
        lines.bare_cr,
        lines.controls,
        lines.spaces,
        lines.names,
        lines.remainders,
        targets.hosts,
        targets.absolute_targets,
        targets.targets,
        targets.methods,
        targets.versions,
        targets.connects,
        targets.upgrades,
    )
)
"""One tuple of cases for each family."""

CASES = tuple(case for family in FAMILIES for case in family)
