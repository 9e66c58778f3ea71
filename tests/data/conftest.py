"""A small recipe for the tests of the data room: real source code of this Python, and pages written to a folder."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

JAPANESE_PAGE = """<html><body><nav>案内</nav><div id="main"><h1>{title}</h1>
<p>これは{title}についての説明です。ファイルを開く
ときは open 関数を使います。読み終えたら必ず閉じてください。</p>
<ul><li>最初に準備をします。</li><li>次に{number}番目の手順に進みます。</li></ul>
<pre>  x = {number}
  print(x)</pre></div></body></html>"""


def write_pages(folder: Path, count: int) -> None:
    """Write ``count`` Japanese pages."""
    folder.mkdir(parents=True)
    for number in range(count):
        page = JAPANESE_PAGE.format(title=f"文書{number}の題名", number=number)
        (folder / f"page{number:03d}.html").write_text(page, encoding="utf-8")


def make_settings(folder: Path) -> dict:
    """Settings of a recipe with two languages, some hundred KB, made in a second or two."""
    write_pages(folder / "pages", 60)
    return {
        "name": "small",
        "corpus": {
            "min_characters": 50,
            "languages": {"ja": {"weight": 3}, "code": {"weight": 1, "max_bytes": 150_000}},
            "sources": [
                {
                    "name": "pages",
                    "kind": "path",
                    "path": "pages",
                    "reader": "html",
                    "include": ["*.html"],
                    "html": {"content": "//*[@id='main']"},
                    "language": "ja",
                    "licence": "CC0-1.0",
                },
                {
                    "name": "stdlib",
                    "kind": "path",
                    "path": sysconfig.get_path("stdlib"),
                    "reader": "code",
                    "include": ["json/*.py", "email/*.py", "textwrap.py", "heapq.py"],
                    "language": "code",
                    "licence": "PSF-2.0",
                },
            ],
        },
        "tokenizer": {"vocab_size": 600, "sample_bytes": 60_000, "num_threads": 1},
        "tokens": {"valid_share": 0.1},
    }


@pytest.fixture(scope="session")
def settings_maker():
    """:func:`make_settings`, for fixtures of a wider scope."""
    return make_settings


@pytest.fixture
def settings(tmp_path: Path) -> dict:
    """Settings of the small recipe; its folder is tmp_path."""
    return make_settings(tmp_path)
