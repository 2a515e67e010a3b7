"""Pages from the templates: names from files and devices are escaped, and what a page lacks is an error."""

from __future__ import annotations

from typing import Any


def render_page(template: str, **values: Any) -> str:
    """The page as text, from the template of that name in ``templates/``."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from profiling.simulated import simulated_note

    environment = Environment(
        loader=PackageLoader("search.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(simulated_note=simulated_note(), **values)
