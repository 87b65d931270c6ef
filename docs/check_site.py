"""What a built site holds: ``python docs/check_site.py docs/_build/html``.

Every link within the site leads to a page, and its anchor to a place there; nothing that a page
loads comes from another host. Links to other sites are for ``nox -s links``.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "iframe": "src", "link": "href"}
"""What a browser fetches by itself, and the attribute that says from where."""


class Page(HTMLParser):
    """Anchors, links and loaded things of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what one tag names."""
        named = {key: value for key, value in attrs if value}
        self.anchors |= {named[key] for key in ("id", "name") if key in named}
        if tag == "a" and "href" in named:
            self.links.add(named["href"])
        if LOADED.get(tag) in named:
            self.loaded.add(named[LOADED[tag]])


def check(site: Path) -> list[str]:
    """What is wrong with the site, one line each."""
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    wrong = [] if pages else [f"{site}: no page"]
    for path, page in sorted(pages.items()):
        name = path.relative_to(site.resolve())
        wrong += [f"{name}: loads {url}" for url in page.loaded if urlsplit(url).netloc]
        for link in sorted(page.links | page.loaded):
            if said := _broken(path, link, pages):
                wrong.append(f"{name}: {said}")
    return wrong


def _broken(path: Path, link: str, pages: dict[Path, Page]) -> str:
    """Why a link of a page leads nowhere; empty where it leads somewhere or to another site."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return ""
    place = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not place.exists():
        return f"no file {link}"
    anchor = unquote(parts.fragment)
    if anchor and place in pages and anchor not in pages[place].anchors:
        return f"no place {link}"
    return ""


if __name__ == "__main__":
    found = check(Path(sys.argv[1]))
    sys.stderr.write("".join(f"{line}\n" for line in found))
    sys.exit(1 if found else 0)
