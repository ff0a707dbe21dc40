"""Matplotlib's SVG in a third of its bytes, without a visible difference.

Matplotlib writes six decimals, a group and a name around every mark, each on a line of its own, and the style of a
marker at each of its places. Here coordinates have two decimals (a hundredth of a point), paths are relative, styles
that elements share are classes, and names that nothing refers to and groups that say nothing are gone. Pictures are
stored with as few bits to a pixel as show the same.
"""

from __future__ import annotations

import io
import re
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from string import ascii_letters
from xml.etree import ElementTree as ET

from PIL import Image

_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_REFERENCE = re.compile(r"#([\w.-]+)(?=\)|$)")
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?")
_MOVED = re.compile(r"translate\(([-\d.]+) ([-\d.]+)\)")
_PLACES = ("x", "y", "width", "height", "transform", "viewBox", "d")
PNG = "data:image/png;base64,"
_HEX = re.compile(r"#(.)\1(.)\2(.)\3\b")
_LETTER = "scale(0.015625)"
"""Outlines of letters are in units of a 64th of a hundredth of their size: some 700 in a point."""
_LONG = 400
"""Characters from which on a path is a curve of many points, for which a tenth of a point is fine enough."""
_NEAR = 0.4
"""In such a curve, points nearer than this to the one before are left out: a third of a line's width."""
_COARSER = 16
"""Outlines are rounded to so many of these units: to a fiftieth of a point."""


def compact(source: str) -> str:
    """An SVG drawing by Matplotlib, smaller and for the eye the same."""
    root = ET.fromstring(source)  # leaves out comments and the document type
    for metadata in root.findall(f"{_SVG}metadata"):
        root.remove(metadata)
    used = {name: _name(number) for number, name in enumerate(dict.fromkeys(_references(root)))}
    _simplify(root, used)
    _classes(root)
    return _written(root)


def _references(root: ET.Element) -> Iterator[str]:
    """Names that something refers to."""
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == f"{_LINK}href" or value.startswith("url("):
                yield from _REFERENCE.findall(value)


def _simplify(element: ET.Element, used: dict[str, str]) -> None:
    element.attrib = dict(_attributes(element, used))
    if element.tag != f"{_SVG}title":
        element.text = element.text.strip() if element.text and element.tag == f"{_SVG}style" else None
    children: list[ET.Element] = []
    for child in element:
        child.tail = None
        _simplify(child, used)
        if child.tag == f"{_SVG}g" and not child.attrib:
            children += child
        elif child.tag not in (f"{_SVG}g", f"{_SVG}defs") or len(child):
            children.append(child)
    element[:] = children


def _attributes(element: ET.Element, used: dict[str, str]) -> Iterator[tuple[str, str]]:
    moved = _MOVED.fullmatch(element.get("transform", "")) if element.tag == f"{_SVG}use" else None
    letter = element.get("transform") == _LETTER
    for key, value in element.attrib.items():
        if key == "id":
            if value in used:
                yield key, used[value]
        elif moved and key == "transform":
            yield from (
                (name, text) for name, text in zip("xy", map(_whole, moved.groups()), strict=True) if text != "0"
            )
        elif key == f"{_LINK}href" and value.startswith("#"):
            yield "href", f"#{used[value[1:]]}"
        elif key == f"{_LINK}href":
            yield "href", PNG + _picture(b64decode(value.removeprefix(PNG)))
        elif value.startswith("url("):
            yield key, f"url(#{used[_REFERENCE.findall(value)[0]]})"
        elif key == "style":
            yield key, _HEX.sub(r"#\1\2\3", re.sub(r"\s*([:;])\s*", r"\1", value.strip()))
        elif key == "d":
            if letter:
                yield key, relative(value, 1 / _COARSER, 0)
            elif len(value) > _LONG:
                yield key, relative(value, decimals=1, near=_NEAR)
            else:
                yield key, relative(value)
        elif letter and key == "transform":
            yield key, f"scale({_COARSER / 64:g})"
        else:
            yield key, _NUMBER.sub(lambda found: _short(found[0]), value) if key in _PLACES else value


def _name(number: int) -> str:
    """A short name for a number.

    >>> _name(0), _name(51), _name(52)
    ('a', 'Z', 'ba')
    """
    more, last = divmod(number, len(ascii_letters))
    return (_name(more) if more else "") + ascii_letters[last]


def _classes(root: ET.Element) -> None:
    """Looks that several elements share become classes of the style sheet."""
    looks = {element: _look(element) for element in root.iter()}
    count = Counter(looks.values())
    names = {look: _name(number) for number, look in enumerate(look for look, n in count.items() if look and n > 1)}
    for element, look in looks.items():
        if look in names:
            element.attrib = {k: v for k, v in element.attrib.items() if k not in ("style", "clip-path")}
            element.set("class", names[look])
    for sheet in root.iter(f"{_SVG}style"):
        sheet.text = f"{sheet.text or ''}{''.join(f'.{name}{{{look}}}' for look, name in names.items())}"


def _look(element: ET.Element) -> str:
    """Style and clipping of an element as declarations of a style sheet."""
    clip = element.get("clip-path")
    return ";".join(filter(None, [element.get("style", "").rstrip(";"), clip and f"clip-path:{clip}"]))


def relative(path: str, factor: float = 1.0, decimals: int = 2, near: float = 0.0) -> str:
    """A path of absolute moves, lines, curves and closures, with steps in place of coordinates.

    Every place is rounded before the step to it is taken, so that errors do not add up. Between two lines, a step of
    less than `near` in both directions is not taken.

    >>> relative("M 0 208.8 L 468 208.804 L 468.001 0 Q 1.5 2 3 4 z")
    'M0 208.8h468v-208.8q-466.5 2-465 4z'
    """
    written, last, grain = [], "", 10**decimals
    place = start = (0, 0)
    for (command, numbers), (following, _) in pairwise([*re.findall(r"([A-Za-z])([^A-Za-z]*)", path), ("", "")]):
        if command not in "MLQCz":
            raise ValueError(f"{command!r} is not among the commands that Matplotlib writes")
        if command == "z":
            written.append("z")
            place, last = start, "z"
            continue
        places = [round(grain * factor * float(number)) for number in numbers.split()]
        points = list(zip(places[::2], places[1::2], strict=True))
        if (
            command == following == "L"
            and max(abs(a - b) for a, b in zip(place, points[0], strict=True)) < near * grain
        ):
            continue
        letter, steps = _step(command, place, points)
        if letter != last or letter in "Mhv":
            written.append(letter)
        elif steps[0] >= 0:
            written.append(" ")
        written.append(_joined([step / grain for step in steps]))
        place, last = points[-1], letter
        start = place if command == "M" else start
    return "".join(written)


def _picture(png: bytes) -> str:
    """The same pixels, in grey or with a palette where these suffice, in the letters of a data address."""
    image, written = Image.open(io.BytesIO(png)), [png]
    for mode in ("L", "P", "RGB"):
        other, file = image.convert(mode, palette=Image.Palette.ADAPTIVE), io.BytesIO()
        if other.convert(image.mode).tobytes() == image.tobytes():
            other.save(file, "png", optimize=True)
            written.append(file.getvalue())
    return b64encode(min(written, key=len)).decode()


def _step(command: str, place: tuple[int, int], points: list[tuple[int, int]]) -> tuple[str, list[int]]:
    """A command and its numbers, in steps from a place."""
    if command == "M":
        return "M", list(points[0])
    steps = [end - begin for point in points for begin, end in zip(place, point, strict=True)]
    if command == "L" and 0 in steps:
        return ("v", steps[1:]) if not steps[0] else ("h", steps[:1])
    return command.lower(), steps


def _joined(numbers: list[float]) -> str:
    texts = [_trimmed(f"{number:.2f}") for number in numbers]
    return "".join(text if not index or text.startswith("-") else f" {text}" for index, text in enumerate(texts))


def _whole(number: str) -> str:
    """The place of a letter in its text, in hundredths of the size of the type."""
    return f"{float(number):.0f}"


def _short(number: str) -> str:
    """A number in two decimals; a small one, such as a factor of scale, in six significant digits."""
    value = float(number)
    return _trimmed(f"{value:.2f}" if abs(value) >= 1 or not value else f"{value:.6f}")


def _trimmed(text: str) -> str:
    """
    >>> _trimmed("-0.50"), _trimmed("10"), _trimmed("-0.00")
    ('-.5', '10', '0')
    """
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "0") else re.sub(r"^(-?)0\.", r"\1.", text)


def _written(root: ET.Element) -> str:
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
    root.set("xmlns", _SVG.strip("{}"))
    return ET.tostring(root, encoding="unicode").replace(" />", "/>")  # in texts and attributes, `>` is written `&gt;`
