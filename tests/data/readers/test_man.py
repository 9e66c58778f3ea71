"""Manual pages become running text: no macro, no escape, no space inside a Japanese sentence."""

from __future__ import annotations

import pytest

from megatron_fugaku.data.readers.errors import Unreadable
from megatron_fugaku.data.readers.man import read_man
from megatron_fugaku.data.readers.roff_escapes import split_arguments, unescape

PAGE = r"""'\" t
.\" Copyright (c) nobody
.ds QU \(lqこれ\(rq
.TH TRUNCATE 1 "2020\-01\-01"
.SH 名前
truncate \- ファイルを指定の長さに伸縮する
.SH 書式
.B truncate
[\fI\,オプション\/\fR]... \fIFILE\fR...
.SH 説明
各 FILE のサイズを、指定したサイズに
伸縮します。
.BR open (2)
も参照。\" 注釈
.PP
.if t 印刷だけ
.ie n \{\
端末での文です。
.\}
.el 印刷での文です。
.TP
\fB\-c\fR, \fB\-\-no\-create\fR
どのファイルも
作成しません
.IP \(bu 2
箇条の一つ。
.nf
int  main(void)\e{
    return 0;
.fi
.TS
tab(@);
l l.
名前@T{
長い
説明
T}
_
値@10
.TE
\*(QU で終わり。
"""


def test_japanese_page() -> None:
    assert read_man(PAGE) == (
        "名前\ntruncate - ファイルを指定の長さに伸縮する\n\n"
        "書式\ntruncate [オプション]... FILE...\n\n"
        "説明\n各 FILE のサイズを、指定したサイズに伸縮します。 open(2) も参照。\n\n"
        "端末での文です。\n\n"
        "-c, --no-create\nどのファイルも作成しません\n\n"
        "• 箇条の一つ。\nint  main(void)\\{\n    return 0;\n\n"
        "名前\t長い説明\n値\t10\n\n"
        "“これ” で終わり。\n\n"
    )


def test_english_lines_are_joined_with_spaces() -> None:
    text = read_man(".TH X 1\n.SH NAME\nx \\- does\nthings\n.SH SEE ALSO\n.UR http://a.b/\nthe page\n.UE .\n")
    assert text == "NAME\nx - does things\n\nSEE ALSO\nthe page <http://a.b/>.\n\n"


def test_own_macro_is_expanded() -> None:
    assert "say hello world now\n" in read_man('.TH X 1\n.de HI\nsay \\\\$1 \\\\$2\n..\n.SH A\n.HI hello "world now"\n')


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (".so man3/printf.3\n", "redirection"),
        (".Dd 2020\n.Sh NAME\n.Nm ls\n", "mdoc page"),
        ("ただの文\n", "not a manual page"),
        (".TH X 1\n" + ".ZZ lost text\n" * 9, "unknown macros"),
        (".TH X 1\n.de LO\n.LO\n..\n.LO\n", "macro loop"),
    ],
)
def test_refused_pages(page: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        read_man(page)


def test_escapes() -> None:
    assert unescape(r"\fBa\fP\-\[u3042]\(em\s-1x\s0 \N'65'\h'1m'b\e\&c\['e]", {}) == "a-あ—x A b\\cé"
    assert split_arguments('a "b c" "d""e" f\\ g') == ["a", "b c", 'd"e', "f\\ g"]
