"""Faults 46, 47 and 49: Kaggle's real client against a server of ours on this machine."""

import hashlib
import http.server
import io
import json
import re
import stat
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest
from conftest import TINY, write_pairs
from ready import ROOT, run_script

from unet.data import download as downloading
from unet.data.download import download
from unet.errors import UserError

SECRET = "KGAT_5ecre7-sentinel-0123456789abcdef"


def archive_of(folder: Path, **extra: bytes | zipfile.ZipInfo) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder))
        for name, what in extra.items():
            archive.writestr(what, b"/etc/passwd") if isinstance(what, zipfile.ZipInfo) else (
                archive.writestr(name, what)
            )
    return content.getvalue()


class Kaggle(http.server.ThreadingHTTPServer):
    """Answers as Kaggle's interface does; `behaviour` says how it fails."""

    def __init__(self, archive: bytes, behaviour: str = "works"):
        super().__init__(("127.0.0.1", 0), Handler)
        self.archive, self.behaviour = archive, behaviour
        self.downloads, self.ranges = 0, []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server = self.server
        if server.behaviour in ("401", "403", "404"):
            return self.answer(int(server.behaviour), b"{}")
        if "GetDatasetMetadata" in self.path:
            return self.answer(200, json.dumps({"info": {"licenses": []}}).encode())
        # As Kaggle does: the archive is elsewhere.
        self.send_response(302)
        self.send_header("Location", "http://localhost/archive.zip")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        server = self.server
        server.downloads += 1
        server.ranges.append(self.headers.get("Range"))
        if server.behaviour == "stalls":
            time.sleep(30)
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        content, size = server.archive[start:], len(server.archive)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"one"')
        self.send_header("Last-Modified", "Sun, 01 Nov 2026 00:00:00 GMT")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        cut = server.behaviour == "cuts" and server.downloads == 1
        self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = True

    def answer(self, code: int, content: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """serve(archive, behaviour) starts a Kaggle that the client of this and child processes reaches."""
    servers = []

    def start(archive: bytes, behaviour: str = "works") -> Kaggle:
        server = Kaggle(archive, behaviour)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.delenv("no_proxy", raising=False)
        return server

    yield start
    for server in servers:
        server.shutdown()


@pytest.fixture
def pairs(tmp_path) -> Path:
    write_pairs(tmp_path / "pairs", 12)
    return tmp_path / "pairs"


def assert_whole(folder: Path) -> None:
    assert len(list((folder / "images").iterdir())) == len(list((folder / "masks").iterdir())) == 12
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]


def test_a_download_is_unpacked_recorded_and_never_repeated(serve, pairs, tmp_path):
    server = serve(archive_of(pairs))
    for _ in range(2):
        download(tmp_path / "data" / "set", pairs=12, keep_zip=True)
    assert_whole(tmp_path / "data" / "set")
    assert server.downloads == 1
    record = json.loads((tmp_path / "data" / "set" / "download.json").read_text())
    assert record["sha256"] == hashlib.sha256(server.archive).hexdigest()
    assert (tmp_path / "data" / "set.zip").read_bytes() == server.archive


def test_46_cut_off(serve, pairs, tmp_path, survived):
    server = serve(archive_of(pairs), "cuts")
    download(tmp_path / "data" / "set", pairs=12)
    assert_whole(tmp_path / "data" / "set")
    assert server.downloads == 2 and server.ranges[1]
    survived(46, "connection cut in the middle", "downloaded again")


def test_46_wrong_hash(serve, pairs, tmp_path, survived):
    server = serve(archive_of(pairs))
    with pytest.raises(UserError, match="has the hash") as error:
        download(tmp_path / "data" / "set", pairs=12, sha256="0" * 64)
    assert server.downloads == 2 and not (tmp_path / "data" / "set").exists()
    told = re.sub(r"hash \w+", "hash ...", str(error.value))
    survived(46, "archive with another hash", f"downloaded again, then exit 2: {told}")


def test_46_stall(serve, pairs, tmp_path, monkeypatch, survived):
    serve(archive_of(pairs), "stalls")
    monkeypatch.setattr(downloading, "SECONDS_WITHOUT_A_BYTE", 4)
    start = time.monotonic()
    with pytest.raises(UserError, match="has sent nothing for 4 s"):
        download(tmp_path / "data" / "set", pairs=12)
    assert time.monotonic() - start < 20
    survived(46, "server that sends nothing", "exit 2 after its deadline, 90 s (here 4)")


def link() -> zipfile.ZipInfo:
    member = zipfile.ZipInfo("images/link.png")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


def zip_bomb(pairs: Path) -> bytes:
    content = io.BytesIO(archive_of(pairs))
    with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("images/zeros.png", "w", force_zip64=True) as member:
            for _ in range(5 * 64):
                member.write(bytes(2**24))
    return content.getvalue()


def test_a_damaged_stream_in_an_archive_is_told(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/0.png", bytes(range(256)) * 100)
    content = bytearray(path.read_bytes())
    content[len("images/0.png") + 30] |= 0b110  # a kind of deflated block that there is not
    path.write_bytes(content)
    with pytest.raises(UserError, match="archive is damaged .*: try again"):
        downloading.unpack(path, tmp_path / "set", 1)
    assert not path.exists()


@pytest.mark.parametrize(
    ("injected", "make", "expected"),
    [
        ("../ in an archive", lambda pairs: archive_of(pairs, **{"../x.png": b""}), "points elsewhere"),
        ("absolute path in one", lambda pairs: archive_of(pairs, **{"/tmp/x.png": b""}), "points elsewhere"),
        ("link in one", lambda pairs: archive_of(pairs, link=link()), "points elsewhere"),
        ("archive that unpacks to 5 GiB", zip_bomb, "would unpack to 5 GiB"),
        ("archive cut in half", lambda pairs: archive_of(pairs)[:3000], "is damaged"),
        ("archive of another set", lambda pairs: archive_of(pairs / "images"), "does not hold 12 images"),
    ],
)  # fmt: skip
def test_47_hostile_archive(injected, make, expected, serve, pairs, tmp_path, survived):
    serve(make(pairs))
    before = {path for path in tmp_path.rglob("*") if "data" not in path.parts}
    with pytest.raises(UserError, match=expected) as error:
        download(tmp_path / "data" / "set", pairs=12)
    assert {path for path in tmp_path.rglob("*") if "data" not in path.parts} - before <= {
        tmp_path / "home",
        *(tmp_path / "home").rglob("*"),
    }
    assert not (tmp_path / "data" / "set").exists()
    assert not list((tmp_path / "data").glob(".unpacking-*"))
    survived(47, injected, "exit 2: " + re.sub(r"'/.*?/(set.zip)'", r"'\1'", str(error.value)))


@pytest.mark.parametrize(
    ("injected", "behaviour", "token"),
    [
        ("no credentials", "403", False),
        ("refused token", "401", True),
        ("token without right", "403", True),
    ],
)
def test_49_credentials(injected, behaviour, token, serve, pairs, tmp_path, monkeypatch, survived):
    serve(archive_of(pairs), behaviour)
    if token:
        monkeypatch.setenv("KAGGLE_API_TOKEN", SECRET)
    done = run_script("train", *TINY, cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    for way in ("settings/api", "KAGGLE_API_TOKEN", "Place the unpacked set", "--data phantom"):
        assert way in done.stderr
    assert SECRET not in done.stdout + done.stderr
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()
    survived(49, injected, f"exit 2: {done.stderr.strip()}")


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = [sys.executable, "-m", "unet.data.download"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "cannot be reached" in done.stderr
    assert len(done.stderr.splitlines()) == 1
