"""Fetching from mirrors on this very machine: one is whole, the others each have a fault."""

import errno
import hashlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from kdcourse import files, models
from kdcourse.files import DataError, MissingError, fetch, folder, md5, verified

FILES = {"one.gz": b"first " * 20_000, "two.gz": b"second " * 20_000}
CHECKSUMS = {name: hashlib.md5(body).hexdigest() for name, body in FILES.items()}


class Mirrors(BaseHTTPRequestHandler):
    """/whole/ serves the files; /other/ another body; /half/ the first half; /cut/ promises all of it and hangs up;
    /nonsense/ does not speak HTTP; /moved/ sends elsewhere; anything else is not found. Two never end: /silent/ says
    nothing, /stuck/ nothing after the first half; and /slow/ sends a byte now and then."""

    def do_GET(self):
        kind, name = self.path.strip("/").split("/")
        self.server.asked.append((kind, name))
        body, sent = FILES[name], FILES[name]
        if kind == "nonsense":
            self.wfile.write(b"what?\r\n\r\n")
            return
        if kind in ("moved", "astray"):
            self.send_response(302)
            self.send_header("Location", f"/{'whole' if kind == 'moved' else 'silent'}/{name}")
            self.end_headers()
            return
        if kind == "silent":
            self.server.end.wait()
            return
        if kind not in ("whole", "other", "half", "cut", "stuck", "slow"):
            self.send_error(404)
            return
        if kind == "other":
            body = sent = b"<html>please log in</html>"
        elif kind == "half":
            body = sent = body[: len(body) // 2]
        elif kind in ("cut", "stuck"):
            sent = body[: len(body) // 2]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(sent[:1000])
            self.server.look()
            while kind == "slow" and not self.server.end.wait(0.05):
                self.wfile.write(b".")
            self.wfile.write(sent[1000:])
            if kind == "stuck":
                self.server.end.wait()
        except ConnectionError:
            pass  # the client has seen enough

    def log_message(self, *message):
        pass


@pytest.fixture
def server(monkeypatch):
    """`url(kind)` is the address of a mirror; `asked` lists the requests; `look` is called in the middle of each."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirrors) as server:
        server.asked, server.look, server.end = [], lambda: None, threading.Event()
        server.url = lambda kind: f"http://127.0.0.1:{server.server_address[1]}/{kind}/"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.end.set()
        server.shutdown()


def contents(root):
    return {path.name: path.read_bytes() for path in root.iterdir()}


def test_fetch_downloads_every_file_and_nothing_else(server, tmp_path):
    root = tmp_path / "data" / "own"
    assert fetch("own", root, [server.url("whole")], CHECKSUMS) == root
    assert contents(root) == FILES
    assert verified("own", root, CHECKSUMS) == {name: root / name for name in FILES}


@pytest.mark.parametrize("fault", ["other", "half", "cut", "nonsense", "missing", "silent", "stuck", "slow", "astray"])
def test_fetch_falls_through_a_faulty_mirror_to_the_next(server, tmp_path, fault, monkeypatch):
    monkeypatch.setattr(files, "SECONDS", 0.5)
    began = time.monotonic()
    fetch("own", tmp_path, [server.url(fault), server.url("whole")], CHECKSUMS)
    assert contents(tmp_path) == FILES and time.monotonic() - began < 30
    assert {kind for kind, _ in server.asked} - {"silent"} == {fault, "whole"} - {"silent"}


@pytest.mark.parametrize("fault, said", [
    ("silent", "no answer within 0.5 s"), ("stuck", "no answer within 0.5 s"), ("astray", "no answer within 0.5 s"),
    ("slow", r"it sent \d+ bytes in \d s, which is too slow"), ("cut", "it was cut off after 60,000 of 120,000 bytes"),
])
def test_a_mirror_that_keeps_one_waiting_or_breaks_off_is_named_with_what_it_did(
    server, tmp_path, fault, said, monkeypatch
):
    monkeypatch.setattr(files, "SECONDS", 0.5)
    with pytest.raises(DataError, match=f"/{fault}/one.gz: {said}"):
        fetch("own", tmp_path, [server.url(fault)], CHECKSUMS)
    assert contents(tmp_path) == {}


def test_an_address_that_has_moved_is_followed(server, tmp_path):
    fetch("own", tmp_path, [server.url("moved")], CHECKSUMS)
    assert contents(tmp_path) == FILES


def test_what_was_fetched_may_be_read_by_whoever_may_read_other_files_there(server, tmp_path):
    fetch("own", tmp_path, [server.url("whole")], CHECKSUMS)
    (tmp_path / "other").touch()
    assert (tmp_path / "one.gz").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_disk_that_is_full_is_no_fault_of_the_mirror(server, tmp_path, monkeypatch):
    def chunks(url):
        raise OSError(errno.ENOSPC, "No space left on device")      # as file.write does: without a name

    monkeypatch.setattr(files, "_chunks", chunks)
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    with pytest.raises(DataError) as error:
        fetch("own", tmp_path / "own", [server.url("whole"), server.url("moved")], CHECKSUMS)
    assert str(error.value) == (f"cannot write to {tmp_path / 'own'}: No space left on device; make room on that disk, "
                                "or set KDCOURSE_DATA to a folder of yours, and run the command again")


def test_libraries_that_set_no_timeout_get_one_while_they_fetch_weights(monkeypatch, tmp_path):
    seen = []

    def urlopen(*arguments, **settings):
        seen.append(socket.getdefaulttimeout())
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "urlopen", urlopen)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(DataError, match="no network"):
        models.pretrained("torchvision:resnet18")
    assert seen == [files.SECONDS] and socket.getdefaulttimeout() is None


def test_fetch_falls_through_a_mirror_that_nobody_answers(server, tmp_path):
    fetch("own", tmp_path, ["http://127.0.0.1:1/", server.url("whole")], CHECKSUMS)
    assert contents(tmp_path) == FILES


def test_fetch_that_fails_names_every_mirror_and_what_to_do_and_leaves_no_file(server, tmp_path):
    mirrors = [server.url(fault) for fault in ("other", "half", "cut", "missing")]
    with pytest.raises(DataError, match=r"could not fetch one\.gz of own") as error:
        fetch("own", tmp_path, mirrors, CHECKSUMS)
    message = str(error.value)
    assert all(f"{mirror}one.gz: " in message for mirror in mirrors) and "404" in message
    assert re.findall(r"^  (\d)\. ", message, flags=re.MULTILINE) == ["1", "2"]
    assert str(tmp_path) in message and CHECKSUMS["one.gz"] in message
    assert contents(tmp_path) == {}


def test_a_file_has_its_name_only_once_it_is_whole(server, tmp_path):
    seen = []
    server.look = lambda: seen.append("one.gz" in contents(tmp_path))
    mirrors = [server.url(kind) for kind in ("half", "cut", "whole")]
    fetch("own", tmp_path, mirrors, {"one.gz": CHECKSUMS["one.gz"]})
    assert seen == [False] * 3
    assert contents(tmp_path) == {"one.gz": FILES["one.gz"]}


def test_a_whole_file_is_not_downloaded_again(server, tmp_path):
    (tmp_path / "one.gz").write_bytes(FILES["one.gz"])
    fetch("own", tmp_path, [server.url("whole")], CHECKSUMS)
    assert {name for _, name in server.asked} == {"two.gz"}
    server.asked.clear()
    fetch("own", tmp_path, [server.url("whole")], CHECKSUMS)
    assert server.asked == [] and contents(tmp_path) == FILES


def test_a_corrupt_file_is_replaced(server, tmp_path):
    (tmp_path / "one.gz").write_bytes(FILES["one.gz"][:100])
    fetch("own", tmp_path, [server.url("whole")], CHECKSUMS)
    assert contents(tmp_path) == FILES


def test_what_was_whole_stays_when_a_later_file_cannot_be_had(server, tmp_path):
    fetch("own", tmp_path, [server.url("whole")], {"one.gz": CHECKSUMS["one.gz"]})
    with pytest.raises(DataError, match=r"could not fetch two\.gz"):
        fetch("own", tmp_path, [server.url("missing")], CHECKSUMS)
    assert contents(tmp_path) == {"one.gz": FILES["one.gz"]}


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_variable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"cannot write to .*own: Not a directory; .*set KDCOURSE_DATA"):
        fetch("own", tmp_path / "file" / "own", [], CHECKSUMS)


def test_verified_names_only_the_files_that_are_missing(tmp_path):
    (tmp_path / "one.gz").write_bytes(FILES["one.gz"])
    with pytest.raises(MissingError, match=r"own is not in .*: missing two\.gz\. To get it"):
        verified("own", tmp_path, CHECKSUMS)


def test_own_images_under_the_name_of_a_known_source_are_told_which_call_takes_them(tmp_path):
    for name in FILES:
        (tmp_path / name).write_bytes(b"my own images")
    with pytest.raises(DataError, match=r"is corrupt.*\n.*data\.from_arrays\(name, x, y, classes=\.\.\.\)") as error:
        verified("mnist", tmp_path, CHECKSUMS)
    assert not isinstance(error.value, MissingError)


def test_md5_is_that_of_the_bytes(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "abc").write_bytes(b"abc")
    assert md5(tmp_path / "empty") == "d41d8cd98f00b204e9800998ecf8427e"  # RFC 1321, appendix A.5
    assert md5(tmp_path / "abc") == "900150983cd24fb0d6963f7d28e17f72"


def test_folder_is_that_of_the_environment_else_in_the_home(tmp_path, monkeypatch):
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    for value, expected in (("", tmp_path / ".cache" / "kdcourse"), ("~/data", tmp_path / "data"),
                            (str(tmp_path / "own"), tmp_path / "own")):
        monkeypatch.setenv("KDCOURSE_DATA", value)
        assert folder() == expected


@pytest.fixture
def course(tmp_path, monkeypatch):
    """An empty course. The command is started in it, a kernel in the folder of its notebook."""
    for place in ("notebooks", "kdcourse", "work/01_vanilla_kd"):
        (tmp_path / "course" / place).mkdir(parents=True)
    return tmp_path / "course"


@pytest.mark.parametrize("value", ["data", "../data", "./data/", "a b"])
def test_a_relative_folder_is_the_same_wherever_in_the_course_one_is(course, value):
    code = "from kdcourse.files import folder; print(folder())"
    found = {subprocess.run([sys.executable, "-c", code], cwd=course / place, capture_output=True, text=True,
                            env={**os.environ, "KDCOURSE_DATA": value, "PYTHONPATH": os.pathsep.join(sys.path)}).stdout
             for place in ("notebooks", "work/01_vanilla_kd")}
    assert found == {f"{course / value}\n"}


def test_outside_a_course_a_relative_folder_begins_at_the_installed_one_or_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDCOURSE_DATA", "data")
    assert folder() == Path(files.__file__).parents[1] / "data"
    monkeypatch.setattr(files, "__file__", str(tmp_path / "site-packages" / "kdcourse" / "files.py"))    # of a wheel
    with pytest.raises(DataError, match=r"KDCOURSE_DATA is 'data'.*give the whole path"):
        folder()


def test_a_folder_that_is_a_file_and_a_home_that_is_not_there_are_said(tmp_path, monkeypatch):
    (tmp_path / "data").touch()
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path / "data"))
    with pytest.raises(DataError, match=r"must name a folder; .*data is a file"):
        folder()
    monkeypatch.setenv("KDCOURSE_DATA", "~nobody-of-this-name/data")
    with pytest.raises(DataError, match=r"home directory.*whole path of a folder of yours"):
        folder()


def test_advice_is_about_the_folder_that_refused(tmp_path, monkeypatch, course):
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path / "data"))
    for path, advice in ((tmp_path / "data" / "mnist", ", or set KDCOURSE_DATA to a folder of yours, and run"),
                         (course / "work", ", or copy the course to a folder of yours, go there, and run"),
                         (tmp_path / "elsewhere" / "file", "there, and run")):
        said = files.in_words(PermissionError(errno.EACCES, "Permission denied", str(path)))
        assert said.startswith(f"{path}: Permission denied; ask for permission there") and advice in said


@pytest.mark.skipif(os.name == "nt", reason="files have no such modes there")
def test_a_file_may_be_read_by_whom_the_user_lets_read_and_one_that_was_closed_stays_closed(tmp_path):
    before = os.umask(0o022)
    try:
        files.write(tmp_path / "new", "text")
        (tmp_path / "mine").touch(mode=0o600)
        files.write(tmp_path / "mine", "text")
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("new", "mine")] == [0o644, 0o600]


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "one").touch()
    with pytest.raises(OSError):
        files.write(tmp_path / "there", "a folder is no file")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize("typed", ["5", "05", "05_mind_the_gap", "mind", "Mind_The_Gap", "05_Mind_The_Gap.ipynb",
                                   "notebooks/05_mind_the_gap.ipynb", "notebooks\\05_mind_the_gap.ipynb"])
def test_a_name_is_understood_as_one_types_it(typed):
    assert files.meant(typed, ["04_mhist_transfer", "05_mind_the_gap", "11_your_comparison"], "lesson")[:2] == "05"


@pytest.mark.parametrize("typed, near", [("05_mind_teh_gap", "did you mean 05_mind_the_gap"), ("", "choose one of"),
                                         ("12", "choose one of: 04_mhist_transfer, 05_mind_the_gap")])
def test_an_unknown_name_is_answered_with_what_is_near_and_what_there_is(typed, near):
    with pytest.raises(ValueError, match=near):
        files.meant(typed, ["04_mhist_transfer", "05_mind_the_gap"], "lesson")
