"""What MkDocs calls while it builds: adds the pages that are made of something else, mends links."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File, Files

from website import commands, findings, links, notebooks, python_api, views
from website.links import ROOT

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

# Files of the repository that are a page as they are. They stay where GitHub's readers look for them.
TAKEN = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "benchmarks/RESULTS.md": "cost.md",
    "sample_captures/README.md": "samples/index.md",
} | {
    f"sample_captures/{readme.parent.name}/README.md": f"samples/{readme.parent.name}.md"
    for readme in sorted(ROOT.glob("sample_captures/*/README.md"))
}
NOTEBOOKS = {
    f"notebooks/{notebook.name}": f"notebooks/{notebook.stem}.md"
    for notebook in sorted(ROOT.glob("notebooks/*.ipynb"))
}
GENERATED = {
    "reference/commands.md": commands.page,
    "reference/findings.md": findings.page,
    "reference/views.md": views.page,
    "reference/python.md": python_api.page,
}
PAGES = TAKEN | NOTEBOOKS
SOURCES = {page: source for source, page in PAGES.items()}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and what they are shown with."""
    for page, content in _pages():
        files.append(File.generated(config, page, content=content))
    for asset in sorted(ROOT.joinpath("website", "assets").iterdir()):
        files.append(File.generated(config, f"assets/{asset.name}", abs_src_path=str(asset)))
    plotly = notebooks.plotly_library()
    files.append(File.generated(config, f"assets/{plotly.name}", abs_src_path=str(plotly)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Mend what GitHub reads and MkDocs does not: links to the repository's files, and nested lists."""
    uri = page.file.src_uri
    source = SOURCES.get(uri, f"docs/{uri}")
    return links.nested(links.rewritten(markdown, source, uri, PAGES))


def _pages() -> Iterator[tuple[str, str]]:
    for source, page in TAKEN.items():
        yield page, ROOT.joinpath(source).read_text()
    for source, page in NOTEBOOKS.items():
        yield page, notebooks.page(ROOT / source)
    for page, make in GENERATED.items():
        yield page, make()
