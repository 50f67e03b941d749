"""Faults 46, 47 and 49: the real kaggle client with a fake Kaggle server on this machine."""

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


def archive_of(folder: Path, *extra: str | zipfile.ZipInfo) -> bytes:
    """A zip archive of the PNG files in a folder, and of extra members."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder))
        for member in extra:
            archive.writestr(member, b"/etc/passwd")
    return content.getvalue()


class Kaggle(http.server.ThreadingHTTPServer):
    """Answers like Kaggle's API, or fails as `behavior` says."""

    def __init__(self, archive: bytes, behavior: str = "works"):
        super().__init__(("127.0.0.1", 0), Handler)
        self.archive, self.behavior = archive, behavior
        self.downloads, self.ranges = 0, []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server = self.server
        if server.behavior in ("401", "403", "404"):
            return self.answer(int(server.behavior), b"{}")
        if "GetDatasetMetadata" in self.path:
            return self.answer(200, json.dumps({"info": {"licenses": []}}).encode())
        # Like Kaggle, which stores archives elsewhere.
        self.send_response(302)
        self.send_header("Location", "http://localhost/archive.zip")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        server = self.server
        server.downloads += 1
        server.ranges.append(self.headers.get("Range"))
        if server.behavior == "stalls":
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
        cut = server.behavior == "cuts" and server.downloads == 1
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
    """serve(archive, behavior) starts a fake Kaggle, which kaggle clients started by this test will use."""
    servers = []

    def start(archive: bytes, behavior: str = "works") -> Kaggle:
        server = Kaggle(archive, behavior)
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


def assert_complete(folder: Path) -> None:
    """Fail unless the folder has 12 pairs and no unfinished files are next to it."""
    assert len(list((folder / "images").iterdir())) == len(list((folder / "masks").iterdir())) == 12
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]


def test_a_download_is_unpacked_recorded_and_not_repeated(serve, pairs, tmp_path):
    server = serve(archive_of(pairs))
    for _ in range(2):
        download(tmp_path / "data" / "set", pairs=12, keep_zip=True)
    assert_complete(tmp_path / "data" / "set")
    assert server.downloads == 1
    record = json.loads((tmp_path / "data" / "set" / "download.json").read_text())
    assert record["sha256"] == hashlib.sha256(server.archive).hexdigest()
    assert (tmp_path / "data" / "set.zip").read_bytes() == server.archive


def test_46_cut_off(serve, pairs, tmp_path, survived):
    server = serve(archive_of(pairs), "cuts")
    download(tmp_path / "data" / "set", pairs=12)
    assert_complete(tmp_path / "data" / "set")
    assert server.downloads == 2 and server.ranges[1]
    survived(46, "connection cut in the middle", "downloaded again")


def test_46_wrong_hash(serve, pairs, tmp_path, survived):
    server = serve(archive_of(pairs))
    with pytest.raises(UserError, match="has the hash") as error:
        download(tmp_path / "data" / "set", pairs=12, sha256="0" * 64)
    assert server.downloads == 2 and not (tmp_path / "data" / "set").exists()
    message = re.sub(r"hash \w+", "hash ", str(error.value))
    survived(46, "archive with another hash", f"downloaded again, then exit 2: {message}")


def test_46_stall(serve, pairs, tmp_path, monkeypatch, survived):
    serve(archive_of(pairs), "stalls")
    monkeypatch.setattr(downloading, "SECONDS_WITHOUT_A_BYTE", 4)
    start = time.monotonic()
    with pytest.raises(UserError, match="has sent nothing for 4 s"):
        download(tmp_path / "data" / "set", pairs=12)
    assert time.monotonic() - start < 20
    survived(46, "server that sends nothing", "exit 2 after 90 s (here 4)")


def link() -> zipfile.ZipInfo:
    """A member that is a symbolic link to its content."""
    member = zipfile.ZipInfo("images/link.png")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


def zip_bomb(pairs: Path) -> bytes:
    """A small archive that unpacks to 5 GiB."""
    content = io.BytesIO(archive_of(pairs))
    with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("images/zeros.png", "w", force_zip64=True) as member:
            for _ in range(5 * 64):
                member.write(bytes(2**24))
    return content.getvalue()


def test_a_damaged_member_of_an_archive_is_reported(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/0.png", bytes(range(256)) * 100)
    content = bytearray(path.read_bytes())
    content[len("images/0.png") + 30] |= 0b110  # an invalid type of deflate block
    path.write_bytes(content)
    with pytest.raises(UserError, match="archive is damaged .*: try again"):
        downloading.unpack(path, tmp_path / "set", 1)
    assert not path.exists()


@pytest.mark.parametrize(
    ("injected", "make", "expected"),
    [
        ("archive with ../", lambda pairs: archive_of(pairs, "../x.png"), "points outside"),
        ("archive with an absolute path", lambda pairs: archive_of(pairs, "/tmp/x.png"), "points outside"),
        ("archive with a link", lambda pairs: archive_of(pairs, link()), "points outside"),
        ("archive that unpacks to 5 GiB", zip_bomb, "would unpack to 5 GiB"),
        ("archive cut in half", lambda pairs: archive_of(pairs)[:3000], "is damaged"),
        ("archive of another data set", lambda pairs: archive_of(pairs / "images"), "does not contain 12 images"),
    ],
)
def test_47_hostile_archive(injected, make, expected, serve, pairs, tmp_path, survived):
    serve(make(pairs))
    before = {path for path in tmp_path.rglob("*") if "data" not in path.parts}
    with pytest.raises(UserError, match=expected) as error:
        download(tmp_path / "data" / "set", pairs=12)
    created = {path for path in tmp_path.rglob("*") if "data" not in path.parts} - before
    assert all(path.is_relative_to(tmp_path / "home") for path in created)
    assert not (tmp_path / "data" / "set").exists()
    assert not list((tmp_path / "data").glob(".unpacking-*"))
    survived(47, injected, f"exit 2: {error.value}")


@pytest.mark.parametrize(
    ("injected", "behavior", "has_token"),
    [("no credentials", "403", False), ("rejected token", "401", True), ("token without permission", "403", True)],
)
def test_49_credentials(injected, behavior, has_token, serve, pairs, tmp_path, monkeypatch, survived):
    serve(archive_of(pairs), behavior)
    if has_token:
        monkeypatch.setenv("KAGGLE_API_TOKEN", SECRET)
    done = run_script("train", *TINY, cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    for remedy in ("settings/api", "KAGGLE_API_TOKEN", "unpack it there", "--data phantom"):
        assert remedy in done.stderr
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
