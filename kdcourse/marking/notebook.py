"""A notebook that was handed in: how its file is read, and how the assignment's cells are found and restored in it.

`kdcourse check` and `kdcourse grade` both use it, so that a notebook is the same at home and where it is graded.
nbgrader restores locked cells too, but gives up on a notebook whose marks are damaged; it finds nothing left to do
here. Where files come from, and what a student may hand in beside a notebook, is not known here.
"""

import base64
import binascii
import copy
import json
import re
import warnings
from pathlib import Path

MB = 2**20
LARGEST, BRACKETS = 64 * MB, 2_000_000  # of a notebook's JSON: more of either is no notebook
CELLS, SOURCE, PICTURES = 1_000, 200_000, 10 * MB  # cells, characters of one, and of all its pictures together
KINDS = ("code", "markdown", "raw")
IMAGES = {"image/png": "png", "image/jpeg": "jpg", "image/gif": "gif", "image/webp": "webp"}
INLINE = re.compile(r"data:(image/[a-z0-9.+-]{1,40});base64,([A-Za-z0-9+/=]*)", re.IGNORECASE)


# -- the file


def read(path: Path) -> tuple[dict, list[str]]:
    """The notebook in a file, as JSON in format 4, and what is to be said about the file. Raises ValueError with what
    is wrong with it, OSError where it cannot be read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {path}") from error
    try:
        return parse(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parse(content: bytes) -> tuple[dict, list[str]]:
    """The notebook in these bytes, whichever encoding and format it has, and what is to be said about them. Raises
    ValueError where there is none."""
    if not content.strip(b"\x00\xff\xfe\xef\xbb\xbf \t\r\n"):
        raise ValueError("the file is empty")
    if len(content) > LARGEST or max(content.count(b"["), content.count(b"{")) > BRACKETS:
        raise ValueError(f"the file is larger than {LARGEST // MB} MB: clear all outputs and hand in again")
    try:
        text, notes = _decoded(content)
        notebook = json.loads(text)
        if not isinstance(notebook["nbformat"], int):
            raise ValueError("its format is no number")
        if notebook["nbformat"] < 4:
            notes.append(f"the file is in format {notebook['nbformat']} of notebooks: it was read as format 4")
            notebook = _upgraded(notebook)
        if not isinstance(notebook["cells"], list):
            raise ValueError("it has no cells")
    except Exception as error:  # a file may be anything, and old formats are converted by code that trusts them
        raise ValueError(f"the file is not a notebook ({type(error).__name__})") from error
    return notebook, notes


def _decoded(content: bytes) -> tuple[str, list[str]]:
    encoding = json.detect_encoding(content)
    try:
        text = content.decode(encoding, "surrogatepass")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace"), ["the file is not in UTF-8: it was read as Windows-1252; are all "
                                                     "letters of its answers right?"]
    name = encoding.upper().removesuffix("-LE").removesuffix("-BE")
    return text, [] if encoding in ("utf-8", "utf-8-sig") else [f"the file is in {name}, not in UTF-8: it was read"]


def _upgraded(notebook: dict) -> dict:
    import nbformat

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        upgraded = json.loads(nbformat.writes(nbformat.convert(nbformat.from_dict(notebook), 4)))
    for cell in upgraded["cells"]:
        cell.pop("id", None)  # made up, and others the next time
    return upgraded


# -- its cells


def mark(cell: dict) -> dict:
    """nbgrader's metadata of a cell, empty if it has none that could be meant."""
    metadata = cell.get("metadata")
    found = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return found if isinstance(found, dict) and isinstance(found.get("grade_id"), str) else {}


def is_check(cell: dict) -> bool:
    """Whether the cell is scored by a check."""
    return cell["cell_type"] == "code" and bool(mark(cell).get("grade")) and not mark(cell).get("solution")


def source(cell: dict) -> str:
    """A cell's text, without characters that no file can hold."""
    value = cell.get("source")
    if isinstance(value, list):
        value = "".join(part for part in value if isinstance(part, str))
    return writable(value) if isinstance(value, str) else ""


def writable(text: str) -> str:
    """Text without halves of characters (lone surrogates), which no encoding can write."""
    return text.encode("utf-8", "replace").decode()


def present(notebook: dict, released: dict) -> set[str]:
    """The names of the assignment's cells that are in a notebook; none: it is another notebook."""
    return {name for name in _names(_cells(notebook), _originals(released), []) if name}


def foreign(notebook: dict, released: dict) -> bool:
    """Whether it is an exercise or a lesson of another chapter, whose cells are called alike: of the locked cells that
    have names of the release's, three in four say something else."""
    originals, cells = _originals(released), _cells(notebook)
    found: dict[str, bool] = {}
    for name, cell in zip(_names(cells, originals, []), cells, strict=True):
        if name is not None and not mark(originals[name]).get("solution"):
            same = source(cell).split() == source(originals[name]).split()
            found[name] = found.get(name, False) or same
    return len(found) > 1 and 4 * sum(found.values()) < len(found)


def mend(notebook: dict, released: dict) -> tuple[dict, list[str]]:
    """A new notebook in the format of the released one, without outputs, and what was mended, a sentence each.

    Locked cells are those of the release; a deleted one is back where it can work; of a copied or split one the last
    counts. Parts of a written answer are joined. A cell that has lost its mark is known by its identifier, its text or
    its place. Everything that a student may write stays, in order.
    """
    originals, raw, notes = _originals(released), _cells(notebook), []
    if len(notebook["cells"]) > CELLS:
        notes.append(f"only the first {CELLS} of its {len(notebook['cells'])} cells were read")
    names, room = _names(raw, originals, notes), [PICTURES]
    locked = {name for name, cell in originals.items() if not mark(cell).get("solution")}
    pairs = [(name, _bare(cell, source(cell)) if name in locked else _plain(cell, room, notes))
             for name, cell in zip(names, raw, strict=True)]  # fmt: skip
    for name, original in originals.items():
        pairs = _unite(name, original, pairs, notes)
    pairs = _complete(originals, pairs, notes)
    fresh = [cell if name is None else {**cell, "id": originals[name].get("id", name)} for name, cell in pairs]
    taken = {cell.get("id") for cell in fresh}
    for index, cell in enumerate(fresh):
        if "id" not in cell:
            cell["id"] = next(one for one in (f"extra-{index}{'-x' * n}" for n in range(99)) if one not in taken)
    about = released["metadata"]
    metadata = {key: about[key] for key in ("kernelspec", "language_info") if key in about}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": copy.deepcopy(metadata), "cells": fresh}, notes


# -- settings that are not the same for everybody: a cell lists in its metadata what may stand in the place of what does


def variants(released: dict) -> int:
    """How many variants of an exercise there are; 1 where all students get the same. Raises ValueError where its cells
    do not agree on that, or one does not hold what is to be replaced."""
    counts = set()
    for cell in released["cells"]:
        if texts := cell["metadata"].get("variants"):
            counts.add(len(texts))
            if mark(cell).get("solution") or not mark(cell) or source(cell).count(texts[0]) != 1:
                raise ValueError(f"a cell with variants is locked and holds the first of them once, not {texts[0]!r}")
    if len(counts) > 1:
        raise ValueError(f"all cells with variants need the same number of them, not {sorted(counts)}")
    return counts.pop() if counts else 1


def varied(released: dict, number: int) -> dict:
    """The variant of an exercise that has this number; 0 is the exercise as it stands."""
    return {**released, "cells": [_varied(cell, number) for cell in released["cells"]]}


def variant(notebook: dict, released: dict) -> int | None:
    """Which variant a notebook was made from; None if it holds no cell that could tell."""
    texts = {_text(cell) for cell in _cells(notebook)}
    telling = [cell for cell in released["cells"] if cell["metadata"].get("variants")]
    return next((number for number in range(variants(released))
                 if any(_text(_varied(cell, number)) in texts for cell in telling)), None)


def _varied(cell: dict, number: int) -> dict:
    texts = cell["metadata"].get("variants")
    return {**cell, "source": source(cell).replace(texts[0], texts[number])} if texts else cell


def _originals(released: dict) -> dict[str, dict]:
    return {mark(cell)["grade_id"]: cell for cell in released["cells"] if mark(cell)}


def _cells(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"][:CELLS] if isinstance(cell, dict) and cell.get("cell_type") in KINDS]


def _names(cells: list[dict], originals: dict[str, dict], notes: list[str]) -> list[str | None]:
    """Which cell of the assignment each cell is, None for a student's own."""
    names = [mark(cell).get("grade_id") if mark(cell).get("grade_id") in originals else None for cell in cells]
    marked = set(names)
    ids = {cell["id"]: name for name, cell in originals.items() if "id" in cell and name not in marked}
    for index, cell in enumerate(cells):  # an editor has dropped the mark
        if names[index] is None and isinstance(cell.get("id"), str):
            names[index] = ids.get(cell["id"])
    known = [_text(cell) for cell in originals.values()]
    texts = {_text(cell): name for name, cell in originals.items()
             if name not in names and not mark(cell).get("solution") and known.count(_text(cell)) == 1}  # fmt: skip
    found = {texts[_text(cell)] for index, cell in enumerate(cells) if names[index] is None and _text(cell) in texts}
    for index, cell in enumerate(cells):  # and the identifier
        if names[index] is None:
            names[index] = texts.get(_text(cell))
    if len(found) > 1:
        notes.append(f"{len(found)} cells of the exercise had lost their marks: they were recognised by their text")
    for name in list(originals) if any(names) else []:  # of another notebook nothing is in its place
        if name not in names and mark(originals[name]).get("solution"):
            _by_place(name, cells, names, originals, notes)
    return names


def _by_place(name: str, cells: list[dict], names: list, originals: dict[str, dict], notes: list[str]) -> None:
    """Find an answer without a mark: what a student wrote between the cells that stand before and after it."""
    order, kind = list(originals), originals[name]["cell_type"]
    rank = order.index(name)
    before = max((index for index, other in enumerate(names) if other in order[:rank]), default=-1) + 1
    after = min((index for index, other in enumerate(names) if other in order[rank + 1 :]), default=len(names))
    own = [index for index in range(before, after) if names[index] is None and cells[index]["cell_type"] == kind]
    own = [index for index in own if source(cells[index]).strip()]
    if own and kind == "code":
        names[own[-1]] = name
    elif own and before > 0:
        for index in own:
            names[index] = name
        notes.append(f"{name} had lost its mark: what stands in its place was taken for the answer")


def _text(cell: dict) -> tuple[str, str]:
    return cell["cell_type"], " ".join(source(cell).split())


def _unite(name: str, original: dict, pairs: list[tuple], notes: list[str]) -> list[tuple]:
    """The cells with those of one name made one, with the marks of the release."""
    own = [cell for found, cell in pairs if found == name]
    if not own:
        return pairs
    stub, one = source(original).strip(), _released(original)
    locked, text = not mark(original).get("solution"), original["cell_type"] != "code"
    if len(own) > 1:
        what = "the last counts" if locked or not text else "the parts were joined"
        notes.append(f"{name} is there {len(own)} times: {what}")
    if locked and all(cell["source"].strip() != stub for cell in own):
        if original["cell_type"] == "code" or source(original).strip():
            notes.append(f"{name} was changed: it is not the student's to change, and was restored")
    elif text and not locked:
        texts, attached = _joined(own)
        parts = [text for text in texts if text.strip() != stub]
        one.update({"source": "\n\n".join(parts)} if parts else {}, **({"attachments": attached} if attached else {}))
    elif not locked:
        one["source"] = own[-1]["source"]
    rest, left = [], len(own)
    for found, cell in pairs:
        left -= found == name
        if found != name:
            rest.append((found, cell))
        elif left == 0:
            rest.append((name, one))
        elif not locked and not text:
            rest.append((None, cell))  # an earlier try: it still runs
    return rest


def _joined(cells: list[dict]) -> tuple[list[str], dict[str, dict]]:
    """The texts of an answer's cells and all their pictures; of two with one name the second is renamed."""
    texts, attached = [], {}
    for number, cell in enumerate(cells):
        text = cell["source"]
        for name, picture in cell.get("attachments", {}).items():
            if attached.get(name, picture) != picture:
                text = text.replace(f"attachment:{name}", f"attachment:{number}-{name}")
                name = f"{number}-{name}"
            attached[name] = picture
        texts.append(text)
    return texts, attached


def _complete(originals: dict[str, dict], pairs: list[tuple], notes: list[str]) -> list[tuple]:
    """The cells with the deleted ones put back, except a student's own code: its stub would undo it elsewhere."""
    order = list(originals)
    for rank, (name, original) in enumerate(originals.items()):
        place = {found: index for index, (found, _) in enumerate(pairs)}
        if name in place:
            continue
        if mark(original).get("solution") and original["cell_type"] == "code" and not mark(original).get("grade"):
            notes.append(f"{name} was deleted: it is the cell of an answer, and stays away")
            continue
        before = max((place[other] for other in order[:rank] if other in place), default=-1) + 1
        after = min((place[other] for other in order[rank + 1 :] if other in place), default=len(pairs))
        # a check comes as late as it may: the answer may have moved into a cell of the student's own
        pairs.insert(max(before, after) if is_check(original) else before, (name, _released(original)))
        notes.append(f"{name} was deleted: it was put back")
    return pairs


def _released(original: dict) -> dict:
    cell = {key: copy.deepcopy(original[key]) for key in ("cell_type", "metadata", "attachments") if key in original}
    code = {"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {}
    return {**cell, "source": source(original), **code}


# -- its texts and pictures


def _plain(raw: dict, room: list[int], notes: list[str]) -> dict:
    """A cell with nothing but its type, its source, and the pictures in its text, as attachments."""
    text, attached = source(raw), {}
    if raw["cell_type"] == "markdown":
        given = raw.get("attachments")
        for name, data in given.items() if isinstance(given, dict) else []:
            for mime, content in data.items() if isinstance(data, dict) else []:
                if picture := _picture(mime, content, room, notes):
                    attached[writable(str(name))] = picture

        def outside(found: re.Match) -> str:
            name, mime = f"inline-{len(attached) + 1}", found[1].lower()
            if picture := _picture(mime, found[2], room, notes):
                attached[f"{name}.{IMAGES[mime]}"] = picture
                return f"attachment:{name}.{IMAGES[mime]}"
            return "attachment:left-out"

        text = INLINE.sub(outside, text)
    if len(text) > SOURCE:
        notes.append(f"a cell of {len(text):,} characters was cut after {SOURCE:,}")
    cell = _bare(raw, text[:SOURCE])
    return {**cell, "attachments": attached} if attached else cell


def _bare(raw: dict, text: str) -> dict:
    cell = {"cell_type": raw["cell_type"], "metadata": {}, "source": text}
    return {**cell, "outputs": [], "execution_count": None} if cell["cell_type"] == "code" else cell


def _picture(mime: str, content: object, room: list[int], notes: list[str]) -> dict[str, str]:
    """The picture as an attachment if it is one and there is room for it; else nothing, and a note."""
    try:
        encoded = base64.b64encode(base64.b64decode(content)).decode() if mime in IMAGES else ""
    except (binascii.Error, ValueError, TypeError):
        encoded = ""
    if not encoded:
        kinds = ", ".join(name.upper() for name in IMAGES.values())
        notes.append(f"something attached ({writable(str(mime))[:40]}) was left out: it is no picture ({kinds})")
    elif len(encoded) > room[0]:
        notes.append(f"a picture of {len(encoded) / MB:.1f} MB was left out: {PICTURES // MB} MB is the most for all")
    else:
        room[0] -= len(encoded)
        return {mime: encoded}
    return {}
