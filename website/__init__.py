"""The docs site: what of it is generated. `mkdocs.yml` names the pages, `hooks` makes them at build time."""
