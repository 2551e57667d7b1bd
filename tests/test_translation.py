"""README.zh-TW.md says what README.md says: heading by heading, whatever needs no translation is the same in both."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = (ROOT / name for name in ("README.md", "README.zh-TW.md"))
BOTH = {ENGLISH.name, CHINESE.name}
CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?: ?(?:GB|px|%))?")
# What mainland China writes in characters that Taiwan has too; characters that Taiwan lacks are not in Big5.
MAINLAND = re.compile("代碼|信息|屏幕|數據|文件夾|服務器|硬盤|激活|程序|緩存|網絡|視頻|軟件|配置文件|閾值|默認")


@dataclass
class Section:
    """A heading and what stands below it, up to the next heading."""

    heading: str
    lines: list[str] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)

    def kept(self) -> dict[str, Counter[object]]:
        """What a translation does not change."""
        prose = "\n".join([self.heading.lstrip("#"), *self.lines])
        links = LINK.findall(prose)
        words = LINK.sub("]", CODE.sub("", prose))
        return {
            "level of the heading": Counter([len(self.heading) - len(self.heading.lstrip("#"))]),
            "code blocks": Counter(enumerate(self.blocks, start=1)),
            "words in backticks": Counter(set(CODE.findall(prose))),
            "links": Counter({link for link in links if link not in BOTH and not link.startswith("#")}),
            "numbers": Counter(number.replace(" ", "") for number in NUMBER.findall(words)),
            "count of table rows": Counter([sum(line.startswith("|") for line in self.lines)]),
            "count of list items": Counter([sum(line.startswith("- ") for line in self.lines)]),
        }


def sections(page: str) -> list[Section]:
    found = [Section("")]
    for place, piece in enumerate(re.split(r"^```\n(.*?)^```\n", page, flags=re.DOTALL | re.MULTILINE)):
        if place % 2:
            found[-1].blocks.append(piece)
            continue
        for line in piece.splitlines():
            if line.startswith("#"):
                found.append(Section(line))
            else:
                found[-1].lines.append(line)
    return found


def differences(english: str, chinese: str) -> list[str]:
    """A line for each thing that differs: the heading in both languages, and what stands in one README only."""
    ours, theirs = sections(english), sections(chinese)
    found = []
    for one, other in zip(ours, theirs, strict=False):
        there = other.kept()
        for what, here in one.kept().items():
            if here != there[what]:
                only = f"{list((here - there[what]).elements())} / {list((there[what] - here).elements())}"
                found.append(f"'{one.heading}' / '{other.heading}': {what}: {only}")
    if len(ours) != len(theirs):  # below the heading that one lacks, other headings would be compared
        last = max(ours, theirs, key=len)[min(len(ours), len(theirs))].heading
        return [f"{len(ours) - 1} / {len(theirs) - 1} headings", *(found or [f"only one README has '{last}'"])[:1]]
    return found


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_both_readmes_say_the_same() -> None:
    found = differences(text(ENGLISH), text(CHINESE))
    assert found == [], "edit README.md and README.zh-TW.md together:\n" + "\n".join(found)


def test_each_readme_links_to_the_other_in_its_first_lines() -> None:
    for page, other in ((ENGLISH, CHINESE), (CHINESE, ENGLISH)):
        assert f"]({other.name})" in "".join(text(page).splitlines()[:3])


def test_the_translation_is_written_as_in_taiwan() -> None:
    words = text(CHINESE)
    assert [letter for letter in sorted(set(words)) if not letter.encode("big5", "ignore")] == []
    assert MAINLAND.findall(words) == []


PAGE = """# Cats
[other](README.md)

Take 5 GB, see [data](docs/data.md) and `make`.

```
make
```

## Scores

- Dice 0.90

| a | b |
|---|---|
| 1 | 2 |
"""


@pytest.mark.parametrize(
    ("old", "new", "heading", "what"),
    [
        ("5 GB", "6 GB", "# Cats", "numbers"),
        ("5 GB", "5", "# Cats", "numbers"),
        ("docs/data.md", "docs/grading.md", "# Cats", "links"),
        ("`make`", "`make test`", "# Cats", "words in backticks"),
        ("\nmake\n", "\nmake all\n", "# Cats", "code blocks"),
        ("## Scores", "### Scores", "## Scores", "level of the heading"),
        ("0.90", "0.91", "## Scores", "numbers"),
        ("- Dice", "Dice", "## Scores", "count of list items"),
        ("|---|---|\n", "", "## Scores", "count of table rows"),
    ],
)
def test_a_change_of_one_readme_is_named_with_its_heading(old: str, new: str, heading: str, what: str) -> None:
    assert old in PAGE
    (line,) = differences(PAGE.replace(old, new), PAGE)
    assert f"{heading}'" in line
    assert f": {what}: " in line


def test_a_heading_that_one_readme_lacks_is_named() -> None:
    assert differences(PAGE.replace("## Scores", "## More\n\nNew 7\n\n## Scores"), PAGE) == [
        "3 / 2 headings",
        "'## More' / '## Scores': numbers: ['7'] / ['0.90', '1', '2']",
    ]
    assert differences(PAGE, PAGE + "## More\n") == ["2 / 3 headings", "only one README has '## More'"]


def test_words_order_and_links_between_the_readmes_may_differ() -> None:
    other = PAGE.replace("Cats", "貓").replace("README.md", "README.zh-TW.md")
    other = other.replace("Take 5 GB, see [data](docs/data.md) and `make`.", "`make` 和[資料](docs/data.md)要 5GB。")
    assert differences(PAGE, other) == []
