"""Files of words in columns, a word a line and a blank line between sentences: which files are ones, and what they hold."""

from __future__ import annotations

import re
import warnings
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tlx.runtime.errors import DataError, UsageError
from tlx.runtime.shards import only_file_of_split
from tlx.runtime.tables import Source, Table, has_labels, has_tabs, read_table, warn_of
from tlx.runtime.text_files import UTF16, open_bytes, read_text, suffix_of

__all__ = ["COLUMNS", "TABBED", "Sentence", "file_format", "read_once", "read_sentences"]

COLUMNS = (".conll", ".conllu", ".bio", ".iob", ".iob2", ".gold_conll", ".v4_gold_conll")
"""The suffixes of such files."""
FASTTEXT = ".fasttext"
"""A format that has no suffix of its own: a .txt with labels."""
TABBED = ".tabbed"
"""Another: a .txt that is a table between tabs, as SMS Spam, LCQMC and SICK are passed on."""
UNTOLD = (".txt", ".tsv")
SEEN_BYTES = 1 << 18  # of those, to tell whether it is one
USUAL = 0.95  # the share of its lines that have the same columns
TAGGED = 0.9  # the share of its lines that end in a tag
_COMMENT = re.compile(r"#\s*\w+ = ")
_TAG = re.compile(r"[BIESLUM](-[^\W\d]\S*)?")
_MARKS = (re.compile(r"(?P<mark>[a-z]{2,3}(-[a-z]+)?):(?P<word>.+)"), re.compile(r"(?P<word>[^\W\d_]|\D)(?P<mark>\d)"))
MOST_MARKS = 10
_DOCUMENT = "#begin document"
"""How files of OntoNotes (CoNLL-2012) begin, whose fourth column is the word and whose eleventh has the names in brackets."""
_NUMBER = re.compile(r"\d+|\d+-\d+|\d+\.\d+")

Shape = tuple[bool, int]
Block = list[tuple[int, str]]


class Sentence(NamedTuple):
    """Words, their tags and the lines (from 1) where they stand, parallel."""

    words: list[str]
    tags: list[str]
    lines: list[int]


class Layout(NamedTuple):
    """Which columns hold the word and its tag, from 1 (None: the last), and the shape that most lines have.

    `uniform` files are refused where a line has another. `brackets`: tags are as in OntoNotes, `(PERSON*`, `*` and `*)`.
    """

    usual: Shape
    word: int
    tag: int | None
    conllu: bool
    uniform: bool
    brackets: bool


def file_format(source: Source) -> str:
    """The suffix that tells how a file is read: its own, lower-cased, but .conll for a .txt or .tsv that is evidently columns,
    .fasttext for a .txt that begins with one of fastText's labels, and .tabbed for one all of whose lines have as many tabs.

    It is columns where blank lines part blocks whose lines have the same columns, two or more, and end in O or a tag with a
    prefix, with some of either; or where they are those of CoNLL-U.
    """
    if isinstance(source, Table):
        suffix = suffix_of(source.source)
        return FASTTEXT if suffix == ".txt" and len(source.columns) > 1 else suffix
    path = Path(source)
    suffix = suffix_of(path)
    if suffix not in UNTOLD or not path.is_file():
        return suffix
    try:
        with open_bytes(path) as stream:
            content = stream.read(SEEN_BYTES)
    except (OSError, EOFError, zlib.error):  # whoever reads the file tells
        return suffix
    text = content.decode("utf-16" if content.startswith(UTF16) else "utf-8-sig", "replace")
    if suffix == ".txt" and has_labels(text):
        return FASTTEXT
    lines = text.split("\n")
    lines = lines[:-1] if len(content) == SEEN_BYTES else lines
    if _are_columns(lines):
        return COLUMNS[0]
    return TABBED if suffix == ".txt" and has_tabs("\n".join(lines)) else suffix


def read_once(source: Source, *, split: str = "train") -> Source:
    """The table that the source is, so that nobody who is handed it reads it again; the source itself where it is a file
    of lines or of words in columns, which the task reads in its own way, or that file where it is a folder with one."""
    if not isinstance(source, Table) and Path(source).is_dir():
        source = only_file_of_split(Path(source), split, (".txt", *COLUMNS)) or source
    return source if file_format(source) in (".txt", *COLUMNS) else read_table(source, split=split)


def read_sentences(source: str | Path, columns: Mapping[str, str]) -> tuple[list[Sentence], str]:
    """The sentences of a file, and the sha256 of its bytes. Columns are parted by tabs, or in a line without any by spaces.

    The word is the first column (the second, where the first numbers the words) and its tag the last, in CoNLL-U the second
    and the fourth, in OntoNotes the fourth and the eleventh; where the first of two holds tags and the last does not, they have
    changed places. `columns` may say otherwise with numbers from 1 as "text" and "label". Left out are -DOCSTART- lines,
    comments before a sentence (lines that begin with # and have other columns than the rest) and CoNLL-U's multiword tokens
    and empty nodes. Lines of a sentence have the same columns, those of a .txt all of them. Raises DataError naming file and line, UsageError for a column that is no number.
    """
    text, sha256 = read_text(source)
    blocks = _blocks(text.split("\n"))
    layout = _layout(source, columns, blocks)
    sentences: list[Sentence] = []
    for block in blocks:
        sentence = Sentence([], [], [])
        lines = _without_comments(block, layout.usual)
        _check_columns(source, lines, layout)
        for number, line in lines:
            found = _word_and_tag(line, f"{source} line {number}", layout)
            if found is not None:
                sentence.words.append(found[0])
                sentence.tags.append(found[1])
                sentence.lines.append(number)
        if sentence.words:
            sentences.append(sentence._replace(tags=_out_of_brackets(sentence.tags)) if layout.brackets else sentence)
    if not sentences:
        raise DataError(f"{source} holds no sentence: wanted a token and its tag on each line")
    return _without_marks(source, sentences), sha256


def _without_marks(source: str | Path, sentences: list[Sentence]) -> list[Sentence]:
    """The sentences without what some files write to every word: its language (WikiANN's `en:Anna`), or the place of a Chinese
    character in its word (Weibo's `科0`). A warning tells it."""
    words = [word for sentence in sentences for word in sentence.words]
    found = next((mark for mark in _MARKS if len(words) >= 10 and all(map(mark.fullmatch, words))), None)
    if found is None or len({match["mark"] for word in words[:1000] if (match := found.fullmatch(word))}) > MOST_MARKS:
        return sentences
    warn_of(str(source), "what is written to every word is left out", f"{words[0]!r}")
    return [
        sentence._replace(words=[found.sub(r"\g<word>", word) for word in sentence.words]) for sentence in sentences
    ]


def _layout(source: str | Path, columns: Mapping[str, str], blocks: Sequence[Block]) -> Layout:
    asked = {flag: _number_of(source, flag, columns[flag]) for flag in ("text", "label") if flag in columns}
    suffix = suffix_of(source)
    usual, _ = _usual_shape(blocks)
    conllu = suffix == ".conllu" or _is_conllu(blocks, usual)
    ontonotes = bool(blocks) and blocks[0][0][1].startswith(_DOCUMENT)
    word: int = 1
    tag: int | None = None
    if ontonotes:
        word, tag = 4, 11
    elif conllu:
        word, tag = 2, 4
    elif _are_numbered(blocks, usual):
        word = 2
    elif not asked and usual[1] == 2 and _has_tags(blocks, usual, 0) and not _has_tags(blocks, usual, -1):
        word, tag = 2, 1
    if tag is None and not asked and usual[1] > 2 and _are_nested(blocks, usual):
        tag = usual[1] - 1
        warnings.warn(
            f"{source}: columns {tag} and {tag + 1} hold tags of the same kinds: {tag} is read (--label {tag + 1} says otherwise)",
            UserWarning,
            stacklevel=4,
        )
    brackets = ontonotes and "label" not in asked
    return Layout(
        usual,
        asked.get("text", word),
        asked.get("label", tag),
        conllu,
        suffix not in COLUMNS and not ontonotes,
        brackets,
    )


def _check_columns(source: str | Path, lines: Block, layout: Layout) -> None:
    """Raises DataError where a line of a sentence has other columns than its first one; those of two sentences may differ."""
    if layout.conllu or layout.brackets or layout.uniform:
        return
    counts = [len(_fields(line)) for _, line in lines]
    for (number, _), count in zip(lines, counts, strict=True):
        if count != counts[0] and min(count, counts[0]) > 1:
            raise DataError(
                f"{source} line {number} has {count} columns, the sentence's first line has {counts[0]}: give each line the "
                "same, a word and its tag among them"
            )


def _word_and_tag(line: str, where: str, layout: Layout) -> tuple[str, str] | None:
    """Both of a line, the word "" where it is white space; None for a line of CoNLL-U that is no word."""
    fields = _fields(line)
    if layout.conllu:
        if len(fields) != 10 or "\t" not in line or not _NUMBER.fullmatch(fields[0].strip()):
            raise DataError(f"{where} has {len(fields)} columns: wanted CoNLL-U's ten between tabs, the first a number")
        if not fields[0].strip().isdecimal():
            return None
    if layout.uniform and _shape(line) != layout.usual:
        raise DataError(
            f"{where} has {len(fields)} columns, most lines have {layout.usual[1]}: wanted a word a line, with its tag"
        )
    if len(fields) < 2 or (layout.tag is None and not fields[-1].strip()):
        raise DataError(f"{where} has no tag behind {line.strip()!r}: wanted a token and its tag")
    for flag, column in (("text", layout.word), ("label", layout.tag or len(fields))):
        if column > len(fields) or (flag == "label" and not fields[column - 1].strip()):
            raise DataError(f"{where} has nothing in column {column} of {len(fields)}: name another with --{flag}")
    word = fields[layout.word - 1]
    if not word:
        raise DataError(f"{where} has a tag but no token: wanted both, or an empty line")
    return word.strip(), fields[(layout.tag or 0) - 1].strip()


def _are_columns(lines: Sequence[str]) -> bool:
    blocks = _blocks(lines)
    if blocks and blocks[0][0][1].startswith(_DOCUMENT):
        return True
    usual, share = _usual_shape(blocks)
    if len(blocks) < 2 or usual[1] < 2 or share < USUAL:
        return False
    return _is_conllu(blocks, usual) or _has_tags(blocks, usual, -1)


def _has_tags(blocks: Sequence[Block], usual: Shape, column: int) -> bool:
    """Whether the column holds O and tags with a prefix (or prefixes alone), and hardly anything else."""
    found = [_fields(line)[column] for block in blocks for _, line in _without_comments(block, usual)]
    outside, tagged = found.count("O"), sum(_TAG.fullmatch(tag) is not None for tag in found)
    return outside > 0 and tagged > 0 and outside + tagged >= TAGGED * len(found)


def _are_nested(blocks: Sequence[Block], usual: Shape) -> bool:
    """Whether the last two columns hold spans of the same kinds, outer and inner ones (GermEval 2014)."""
    if not all(_has_tags(blocks, usual, column) for column in (-2, -1)):
        return False
    lines = [_fields(line) for block in blocks for _, line in _without_comments(block, usual)]
    outer, inner = ({fields[column].partition("-")[2] for fields in lines} - {""} for column in (-2, -1))
    return bool(inner) and inner <= outer


def _out_of_brackets(tags: Sequence[str]) -> list[str]:
    """`(PERSON*`, `*`, `*)` and `(GPE)` as B- and I- tags, all else being O."""
    found, kind = [], ""
    for tag in tags:
        opened = tag.startswith("(")
        if opened:
            kind = tag.strip("()*")
        found.append(f"{'B' if opened else 'I'}-{kind}" if kind else "O")
        if tag.endswith(")"):
            kind = ""
    return found


def _blocks(lines: Sequence[str]) -> list[Block]:
    """The numbered lines between blank ones and -DOCSTART- ones."""
    blocks: list[Block] = [[]]
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("-DOCSTART-"):
            blocks.append([])
        else:
            blocks[-1].append((number, line.rstrip("\r")))
    return [block for block in blocks if block]


def _fields(line: str) -> list[str]:
    """The columns of a line; spaces but the plain one belong to words."""
    return line.split("\t") if "\t" in line else [field for field in line.split(" ") if field]


def _shape(line: str) -> Shape:
    """Whether tabs part the line's columns, and how many there are."""
    return "\t" in line, len(_fields(line))


def _usual_shape(blocks: Sequence[Block]) -> tuple[Shape, float]:
    """The shape that most lines have, and their share; lines that may be comments count where there are no others."""
    lines = [line for block in blocks for _, line in block]
    shapes = Counter(map(_shape, [line for line in lines if not line.startswith("#")] or lines))
    return next(((shape, count / shapes.total()) for shape, count in shapes.most_common(1)), ((False, 0), 0.0))


def _without_comments(block: Block, usual: Shape) -> Block:
    """The block from its first line on that is no comment: the token # has the columns of the other lines."""
    for place, (_, line) in enumerate(block):
        if not line.startswith("#") or (_shape(line) == usual and not _COMMENT.match(line)):
            return block[place:]
    return []


def _is_conllu(blocks: Sequence[Block], usual: Shape) -> bool:
    """Whether lines have ten columns between tabs, and each sentence begins with the number 1 (or 1-2, or 0.1)."""
    if usual != (True, 10):
        return False
    first = [rest[0][1] for block in blocks if (rest := _without_comments(block, usual))]
    numbered = sum(re.match(r"(1|1-\d+|0\.1)\t", line) is not None for line in first)
    return numbered >= USUAL * len(first) > 0


def _are_numbered(blocks: Sequence[Block], usual: Shape) -> bool:
    """Whether the first of three columns or more counts the words of each sentence from 1, or from 0."""
    sentences = [_without_comments(block, usual) for block in blocks]
    return usual[1] > 2 and any(
        all(_fields(line)[0].strip() == str(n) for block in sentences for n, (_, line) in enumerate(block, start=first))
        for first in (0, 1)
    )


def _number_of(source: str | Path, flag: str, asked: str) -> int:
    if not asked.isdecimal() or int(asked) < 1:
        raise UsageError(
            f"--{flag} is {asked!r}, but the columns of {source} have no names: give a column's number, from 1"
        )
    return int(asked)
