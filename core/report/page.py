"""From blocks to one HTML file that needs no network: jinja2 lays out templates/page.html."""

from __future__ import annotations

from pathlib import Path

from duoreid.core.checkpoints.files import write_atomically
from duoreid.core.errors import UserError
from duoreid.core.report.atlas import Atlas
from duoreid.core.report.blocks import Page

TEMPLATES = Path(__file__).parent / "templates"


def require() -> None:
    """Raise UserError where jinja2 is missing: to call before the work begins."""
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise UserError("a page needs jinja2, which is not installed: pip install 'duoreid[report]'.") from error


def render(page: Page, atlas: Atlas) -> str:
    """Return a page as HTML. atlas: the pictures that its blocks show."""
    require()
    import jinja2

    places = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return places.get_template("page.html").render(page=page, atlas=atlas.pack() if len(atlas) else None)


def write(page: Page, atlas: Atlas, path: Path) -> int:
    """Write a page; return its size in bytes."""
    content = render(page, atlas).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    return len(content)
