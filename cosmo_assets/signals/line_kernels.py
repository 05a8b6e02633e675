"""Compiled loops over the lines of a text: how they begin and end, which repeat, and which of them C4 drops.

Belongs here: lines and paragraphs of one text. Does not belong here: its words (`word_kernels`), or the names of what
is counted (`statistics`).

Lines are told apart as each rule does: at newlines alone (repetition, FineWeb) or at all ends of `str.splitlines`
(Gopher, C4). Equal lines and paragraphs are told by 64 bits.
"""

import numpy as np

from cosmo_assets.signals.characters import BREAK, DIGIT, SPACE, TERMINAL, Kinds
from cosmo_assets.signals.word_kernels import key_of, sentences, slot_of, table_size
from cosmo_assets.words.compiled import Hashes, Points, compiled
from cosmo_assets.words.hashing import BASE

SHORT_LINE = 30
"""Characters up to which a line is short (FineWeb)."""
WORDS_OF_A_LINE = 3
"""Words below which C4 drops a line."""
LONGEST_WORD = 1000
"""Characters above which a word makes C4 drop its line."""

_LOREM_IPSUM, _JAVASCRIPT, _POLICY = 1, 2, 4
_PHRASES = (
    ("cookie policy", _POLICY),
    ("javascript", _JAVASCRIPT),
    ("lorem ipsum", _LOREM_IPSUM),
    ("privacy policy", _POLICY),
    ("terms of use", _POLICY),
    ("use cookies", _POLICY),
    ("use of cookies", _POLICY),
    ("uses cookies", _POLICY),
)
"""What C4 looks for in a line in lower case, by first letter, and what it stands for."""
_LETTERS = np.frombuffer("".join(phrase for phrase, _ in _PHRASES).encode(), np.uint8).astype(np.uint32)
_STARTS = np.cumsum([0, *(len(phrase) for phrase, _ in _PHRASES)])
_MEANINGS = np.array([meaning for _, meaning in _PHRASES], np.int64)
_FIRST = np.searchsorted(_LETTERS[_STARTS[:-1]], np.arange(129)).astype(np.int64)
_EDIT, _CITATION_NEEDED = (
    np.frombuffer(word.encode(), np.uint8).astype(np.uint32) for word in ("[edit]", "[citation needed]")
)

_NEWLINE, _RETURN, _BULLET, _HYPHEN, _STOP, _ELLIPSIS, _OPEN, _CLOSE, _CURLY = (
    np.uint32(ord(char)) for char in "\n\r•-.…[]{"
)
_KELVIN, _K = np.uint32(ord("\N{KELVIN SIGN}")), np.uint32(ord("k"))
_ONE = np.uint64(1)


@compiled
def marks_of(points: Points) -> tuple[int, int]:
    """How many hash signs a text has, and how many ellipses: three full stops, or the character."""
    hashes, ellipses, stops = 0, 0, 0
    for point in points:
        hashes += point == 35
        ellipses += point == _ELLIPSIS
        stops = stops + 1 if point == _STOP else 0
        if stops == 3:
            ellipses += 1
            stops = 0
    return hashes, ellipses


@compiled
def _stripped(points: Points, start: int, stop: int, kinds: Kinds) -> tuple[int, int]:
    """The bounds of a slice without the spaces around it."""
    while start < stop and kinds[points[start]] & SPACE:
        start += 1
    while stop > start and kinds[points[stop - 1]] & SPACE:
        stop -= 1
    return start, stop


@compiled
def _slice_hash(points: Points, start: int, stop: int) -> np.uint64:
    value = np.uint64(stop - start)
    for place in range(start, stop):
        value = value * BASE + np.uint64(points[place]) + _ONE
    return key_of(value)


@compiled
def _met_before(points: Points, start: int, stop: int, table: Hashes) -> bool:
    """Whether a slice stands in the table, into which it goes."""
    key = _slice_hash(points, start, stop)
    slot = slot_of(table, key)
    known = bool(table[slot] == key)
    table[slot] = key
    return known


@compiled
def paragraph_statistics(points: Points, kinds: Kinds, table: Hashes, row: np.ndarray) -> None:
    """Fill the shares of duplicate paragraphs and of their characters: paragraphs lie between two newlines or more."""
    start, end = _stripped(points, 0, len(points), kinds)
    paragraphs, duplicates, characters, at = 0, 0, 0, start
    newlines = 0
    for place in range(start, end):
        newlines += points[place] == _NEWLINE
    table = table[: table_size(newlines + 1)]
    table[:] = 0
    while at <= end:
        if at == end or (points[at] == _NEWLINE and points[at + 1] == _NEWLINE):
            paragraphs += 1
            if _met_before(points, start, at, table):
                duplicates += 1
                characters += at - start
            while at < end and points[at] == _NEWLINE:
                at += 1
            if at == end:
                break
            start = at
        else:
            at += 1
    row[0], row[1] = duplicates / paragraphs, characters / len(points) if len(points) else 0.0


@compiled
def repeated_line_statistics(points: Points, table: Hashes, row: np.ndarray) -> None:
    """Fill the shares of duplicate lines and of their characters: lines lie between runs of newlines, so that only the
    first and the last may be empty."""
    end, lines, duplicates, characters, start, newlines = len(points), 0, 0, 0, 0, 0
    for point in points:
        newlines += point == _NEWLINE
    table = table[: table_size(newlines + 1)]
    table[:] = 0
    at = 0
    while at <= end:
        if at < end and points[at] != _NEWLINE:
            at += 1
            continue
        lines += 1
        if _met_before(points, start, at, table):
            duplicates += 1
            characters += at - start
        if at == end:
            break
        while at < end and points[at] == _NEWLINE:
            at += 1
        start = at
    row[0], row[1] = duplicates / lines, characters / end if end else 0.0


@compiled
def fineweb_statistics(points: Points, kinds: Kinds, words: int, table: Hashes, row: np.ndarray) -> None:
    """Fill, over lines that are not blank: how many there are, shares that end in a terminal mark and that are short,
    the share of the characters in lines that stood there before, and newlines per word or mark."""
    end, newlines = len(points), 0
    for point in points:
        newlines += point == _NEWLINE
    table = table[: table_size(newlines + 1)]
    table[:] = 0
    filled, ended, short, characters, start = 0, 0, 0, 0, 0
    for at in range(end + 1):
        if at < end and points[at] != _NEWLINE:
            continue
        left, right = _stripped(points, start, at, kinds)
        if left < right:
            filled += 1
            ended += 1 if kinds[points[at - 1]] & TERMINAL else 0
            short += at - start <= SHORT_LINE
            if _met_before(points, start, at, table):
                characters += at - start
        start = at + 1
    row[0] = filled
    row[1] = ended / filled if filled else 0.0
    row[2] = short / filled if filled else 0.0
    row[3] = characters / (end - newlines) if filled else 0.0
    row[4] = newlines / words if words else 0.0


@compiled
def line_statistics(points: Points, kinds: Kinds, room: Points, gopher: np.ndarray, c4: np.ndarray) -> None:
    """Fill the shares of lines that begin with a bullet and that end in an ellipsis, and what C4 does with each line.

    `c4` takes how many lines there are, then how many are dropped for a long word, for no terminal mark, for few words,
    for JavaScript and for a policy; how many of the others have "lorem ipsum" and how many a curly bracket; whether a
    curly bracket comes first; the sentences of the lines that are left. `room` is as long as the text.
    """
    end, start, at, lines, bullets, ellipses = len(points), 0, 0, 0, 0, 0
    c4[:] = 0
    while start < end:
        while at < end and not kinds[points[at]] & BREAK:
            at += 1
        left, right = _stripped(points, start, at, kinds)
        lines += 1
        if left < right:
            bullets += points[left] == _BULLET or points[left] == _HYPHEN
            ellipses += points[right - 1] == _ELLIPSIS or _three_stops(points[left:right])
        _c4_line(points[left:right], kinds, room, c4)
        if at + 1 < end and points[at] == _RETURN and points[at + 1] == _NEWLINE:
            at += 1
        at += 1
        start = at
    c4[0] = lines
    gopher[0] = bullets / lines if lines else 0.0
    gopher[1] = ellipses / lines if lines else 0.0


@compiled
def _three_stops(line: Points) -> bool:
    size = len(line)
    return size > 2 and bool(line[size - 1] == _STOP and line[size - 2] == _STOP and line[size - 3] == _STOP)


@compiled
def _c4_line(line: Points, kinds: Kinds, room: Points, counts: np.ndarray) -> None:
    words, longest, length = 0, 0, 0
    for point in line:
        if kinds[point] & SPACE:
            length = 0
        else:
            words += length == 0
            length += 1
            longest = max(longest, length)
    if longest > LONGEST_WORD:
        counts[1] += 1
        return
    line = room[: _without_citations(line, kinds, room)]
    if not len(line) or not _is_end(line[len(line) - 1]) or _three_stops(line):
        counts[2] += 1
        return
    if words < WORDS_OF_A_LINE:
        counts[3] += 1
        return
    met, curly = _meanings(line)
    if met & _LOREM_IPSUM:
        counts[6] += 1
    elif met & _JAVASCRIPT:
        counts[4] += 1
    elif curly:
        counts[7] += 1
        counts[8] = 1 if counts[6] == 0 else counts[8]
    elif met & _POLICY:
        counts[5] += 1
    else:
        counts[9] += sentences(line, kinds)


@compiled
def _is_end(point: np.uint32) -> bool:
    """One of the marks . ? ! " ' with which a line of C4 ends."""
    return point in (46, 63, 33, 34, 39)


@compiled
def _without_citations(line: Points, kinds: Kinds, room: Points) -> int:
    """Write a line without its [1], [], [edit] and [citation needed]. Returns its length."""
    at, length = 0, 0
    while at < len(line):
        stop = at
        if line[at] == _OPEN:
            stop = at + 1
            while stop < len(line) and kinds[line[stop]] & DIGIT:
                stop += 1
            if stop < len(line) and line[stop] == _CLOSE:
                stop += 1
            elif _stands_at(line, at, _EDIT):
                stop = at + len(_EDIT)
            elif _stands_at(line, at, _CITATION_NEEDED):
                stop = at + len(_CITATION_NEEDED)
            else:
                stop = at
        if stop == at:
            room[length] = line[at]
            length += 1
            at += 1
        else:
            at = stop
    return length


@compiled
def _stands_at(line: Points, at: int, word: Points) -> bool:
    same = 0
    while same < len(word) and at + same < len(line) and line[at + same] == word[same]:
        same += 1
    return same == len(word)


@compiled
def _lower(point: np.uint32) -> np.uint32:
    """The lower case of what has an ASCII letter as its lower case."""
    if 65 <= point <= 90:
        return point | np.uint32(32)
    return _K if point == _KELVIN else point


@compiled
def _meanings(line: Points) -> tuple[int, bool]:
    """What the phrases stand for that a line has in any case, and whether it has a curly bracket."""
    met, curly = 0, False
    for at in range(len(line)):
        point = _lower(line[at])
        if point >= 128:
            continue
        curly |= point == _CURLY
        for phrase in range(_FIRST[point], _FIRST[point + 1]):
            start, stop = _STARTS[phrase], _STARTS[phrase + 1]
            if at + stop - start > len(line):
                continue
            same = True
            for place in range(1, stop - start):
                if _lower(line[at + place]) != _LETTERS[start + place]:
                    same = False
                    break
            if same:
                met |= _MEANINGS[phrase]
    return met, curly
