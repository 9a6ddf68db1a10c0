"""Fetching from mirrors on this very machine: one is whole, the others each have a fault."""

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kdcourse.files import DataError, fetch, folder, md5, verified

FILES = {"one.gz": b"first " * 20_000, "two.gz": b"second " * 20_000}
CHECKSUMS = {name: hashlib.md5(body).hexdigest() for name, body in FILES.items()}


class Mirrors(BaseHTTPRequestHandler):
    """/whole/ serves the files; /other/ another body; /half/ the first half; /cut/ promises all of it and hangs up;
    /nonsense/ does not speak HTTP; anything else is not found."""

    def do_GET(self):
        kind, name = self.path.strip("/").split("/")
        self.server.asked.append((kind, name))
        body, sent = FILES[name], FILES[name]
        if kind == "nonsense":
            self.wfile.write(b"what?\r\n\r\n")
            return
        if kind not in ("whole", "other", "half", "cut"):
            self.send_error(404)
            return
        if kind == "other":
            body = sent = b"<html>please log in</html>"
        elif kind == "half":
            body = sent = body[: len(body) // 2]
        elif kind == "cut":
            sent = body[: len(body) // 2]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(sent[:1000])
            self.server.look()
            self.wfile.write(sent[1000:])
        except ConnectionError:
            pass  # the client has seen enough: it asks twice, the first time for redirects only

    def log_message(self, *message):
        pass


@pytest.fixture
def server(monkeypatch):
    """`url(kind)` is the address of a mirror; `asked` lists the requests; `look` is called in the middle of each."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirrors) as server:
        server.asked, server.look = [], lambda: None
        server.url = lambda kind: f"http://127.0.0.1:{server.server_address[1]}/{kind}/"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.shutdown()


def contents(root):
    return {path.name: path.read_bytes() for path in root.iterdir()}


def test_fetch_downloads_every_file_and_nothing_else(server, tmp_path):
    root = tmp_path / "data" / "own"
    assert fetch("own", root, [server.url("whole")], CHECKSUMS) == root
    assert contents(root) == FILES
    assert verified("own", root, CHECKSUMS) == {name: root / name for name in FILES}


@pytest.mark.parametrize("fault", ["other", "half", "cut", "nonsense", "missing"])
def test_fetch_falls_through_a_faulty_mirror_to_the_next(server, tmp_path, fault):
    fetch("own", tmp_path, [server.url(fault), server.url("whole")], CHECKSUMS)
    assert contents(tmp_path) == FILES
    assert {kind for kind, _ in server.asked} == {fault, "whole"}


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
    server.look = lambda: seen.append(sorted(contents(tmp_path)))
    mirrors = [server.url(kind) for kind in ("half", "cut", "whole")]
    fetch("own", tmp_path, mirrors, {"one.gz": CHECKSUMS["one.gz"]})
    assert len(seen) >= 3 and not any(seen)
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


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_variable(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot write to .*own \(.*set KDCOURSE_DATA"):
        fetch("own", tmp_path / "file" / "own", [], CHECKSUMS)


def test_verified_names_only_the_files_that_are_missing(tmp_path):
    (tmp_path / "one.gz").write_bytes(FILES["one.gz"])
    with pytest.raises(DataError, match=r"own is not in .*: missing two\.gz\. To get it"):
        verified("own", tmp_path, CHECKSUMS)


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
