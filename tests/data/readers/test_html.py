"""Pages become text: paragraphs, marked list items, tabbed rows, ``pre`` untouched, no navigation."""

from __future__ import annotations

import pytest

from megatron_fugaku.data.readers.errors import Unreadable
from megatron_fugaku.data.readers.html import read_html

PAGE = """<!-- top --><html><head><title>題</title><script>var x;</script></head><body>
<div class="toc"><p>目次</p></div>
<div id="main"><h1>見出し<a class="headerlink" href="#h">¶</a></h1>
<p>日本語の文は
行末で  つながる。English words
stay apart.<!-- c --> 末尾</p>
<ul><li><p>一つ目</p></li><li>二つ目<ol><li>甲</li><li>乙</li></ol></li></ul>
<table><tr><th><p>名</p></th><th>値</th></tr><tr><td>a</td><td>1<br>2</td></tr></table>
<pre>def f():
    return  1
</pre>後書き</div><footer>下</footer></body></html>"""


def test_page() -> None:
    text = read_html(PAGE, drop=['//div[@class="toc"]'])
    assert text == (
        "見出し\n\n日本語の文は行末で つながる。English words stay apart. 末尾\n\n"
        "- 一つ目\n\n- 二つ目\n\n1. 甲\n2. 乙\n\n"
        "名\t値\na\t1 2\n\n"
        "def f():\n    return  1\n\n後書き\n\n"
    )


def test_content_element() -> None:
    assert read_html(PAGE, content="//h1") == "見出し\n\n"
    with pytest.raises(Unreadable, match="without content"):
        read_html(PAGE, content='//*[@id="absent"]')
    with pytest.raises(Unreadable, match="empty"):
        read_html("")
