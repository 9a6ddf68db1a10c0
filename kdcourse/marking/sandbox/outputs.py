"""Reads what came out of the sandbox: frames, outputs, recordings. None is trusted, all was a student's to write.

What is kept is text and pictures that are what they claim to be. HTML, scripts, SVG and LaTeX are left out: a marker
opens the notebook in a browser that is logged in to Jupyter.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from kdcourse.marking.sandbox.base import Execution

PICTURES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
LONGEST = 100_000  # characters of text that a cell shows, and entries of its list of outputs
CELL_JSON = 16 * 2**20  # bytes of one cell's outputs as they come
FRAME = re.compile(rb"([a-z]+) ([^ \n]{1,100}) (\d{1,12})\n")
DIED = "its process ended (by exit() or the like, killed, or out of memory)"
ENDS = {
    "died": DIED,
    "stuck": "it could not be interrupted when its time was up",
}


def understood(said: bytes, names: Iterable[str], why: str) -> Execution | None:
    """What the frames say, as far as they can be read; None if the notebook was never started.

    `why` is the reason for which the run was ended from outside, or nothing.
    """
    execution, started, ended, allowed = Execution(), False, False, set(names)
    for kind, name, content in _frames(said):
        started = started or kind == "ready"
        if kind in ("begin", "undone", "cell") and name.isdecimal() and len(name) < 6:
            execution.outputs.pop(int(name), None)
            if kind != "undone":  # what began last is what was running when the run was ended
                execution.outputs[int(name)] = cleaned(_parsed(content)) if kind == "cell" else []
        elif kind == "recording" and name in allowed:
            execution.recordings[name] = content
        elif kind == "stopped":
            why, ended = why or ENDS.get(name, "it stopped"), True
        elif kind == "end":
            ended = True
    if not started:
        return None
    execution.stopped = why or ("" if ended else DIED)
    return execution


def doubtful(execution: Execution) -> bool:
    """Whether the machine may have ended it, or a cell of it, and not what it does: the clock may, which runs on while
    a disk is waited for, and so may the system, which ends processes when memory is short."""
    shown = [output for outputs in execution.outputs.values() for output in outputs]
    said = [execution.stopped, *(output["evalue"] for output in shown if output.get("ename") == "Timeout")]
    return execution.stopped in ENDS.values() or any("by the clock" in one for one in said)


def cleaned(outputs: Any) -> list[dict]:
    """Outputs as nbformat defines them, of known kinds only, with text of bounded length and no metadata."""
    room, found = LONGEST, []
    for output in outputs[:1000] if isinstance(outputs, list) else []:
        if not isinstance(output, dict) or room <= 0:
            continue
        kind = output.get("output_type")
        if kind == "stream":
            text = _text(output.get("text"))[:room]
            name = "stderr" if output.get("name") == "stderr" else "stdout"
            found.append({"output_type": kind, "name": name, "text": text})
            room -= len(text)
        elif kind == "error":
            lines = output.get("traceback")
            traceback = "\n".join(map(_text, lines if isinstance(lines, list) else []))[:room].split("\n")
            ename, evalue = _text(output.get("ename"))[:200], _text(output.get("evalue"))[:2000]
            found.append({"output_type": kind, "ename": ename, "evalue": evalue, "traceback": traceback})
            room -= sum(map(len, traceback)) + len(evalue)
        elif kind in ("display_data", "execute_result"):
            data = _data(output.get("data"), room)
            room -= len(data.get("text/plain", ""))
            shown = {"output_type": kind, "metadata": {}, "data": data}
            found.append({**shown, "execution_count": None} if kind == "execute_result" else shown)
    if room <= 0:
        found.append({"output_type": "stream", "name": "stdout", "text": "\n... the rest is left out ...\n"})
    return found


def _data(data: Any, room: int) -> dict[str, str]:
    """Of one output's representations: plain text, and pictures whose bytes are those of such a picture."""
    kept = {}
    for mime, start in PICTURES.items():
        try:
            content = base64.b64decode(_text(data.get(mime)), validate=False) if isinstance(data, dict) else b""
        except (binascii.Error, ValueError):
            continue
        if content.startswith(start):
            kept[mime] = base64.b64encode(content).decode()
    text = _text(data.get("text/plain")) if isinstance(data, dict) else ""
    if text or not kept:
        kept["text/plain"] = (text or "(an output that is not shown here: neither text nor a PNG or JPEG)")[:room]
    return kept


def _text(value: Any) -> str:
    """A string out of what should be one, or a list of them, without characters that no file can hold."""
    if isinstance(value, list):
        value = "".join(part for part in value[:LONGEST] if isinstance(part, str))
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _parsed(content: bytes) -> Any:
    """JSON, unless it is so large or so nested that reading it is an attack."""
    if len(content) > CELL_JSON or max(content.count(b"["), content.count(b"{")) > LONGEST:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _frames(said: bytes) -> Iterator[tuple[str, str, bytes]]:
    """The whole frames, in order, until one makes no sense."""
    position = 0
    while found := FRAME.match(said, position):
        kind, name, size = found[1].decode(), found[2].decode("ascii", "replace"), int(found[3])
        position = found.end() + size
        if position > len(said):
            return
        yield kind, name, said[found.end() : position]
