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
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import TINY, write_pairs
from ready import ROOT, run_script

from unet.data import download as downloading
from unet.data import folder as folders
from unet.data.download import NO_TUMOR, PUBLISHED, KaggleSet, download
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
        self.downloads, self.ranges, self.asked = 0, [], []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        server.asked.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
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


@pytest.fixture
def small(tmp_path) -> KaggleSet:
    """The published data set, but with 12 pairs only."""
    return replace(PUBLISHED, folder=tmp_path / "data" / "set", images=12)


@pytest.fixture
def small_no_tumor(tmp_path) -> KaggleSet:
    """The set without tumors, but with three images only."""
    return replace(NO_TUMOR, folder=tmp_path / "data" / "no-tumor", images=3)


def archive_with(*names: str) -> bytes:
    """A zip archive of files with these names; each contains its name."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return content.getvalue()


WITHOUT_TUMOR = ("Training/notumor/Tr-no_0010.jpg", "Training/notumor/2.jpg", "Testing/notumor/2.jpg")
WITH_TUMOR = ("Training/glioma/Tr-gl_0010.jpg", "Testing/meningioma/2.jpg", "Testing/pituitary/notumor.jpg", "2.jpg")


def assert_complete(folder: Path) -> None:
    """Fail unless the folder has 12 pairs and no unfinished files are next to it."""
    assert len(list((folder / "images").iterdir())) == len(list((folder / "masks").iterdir())) == 12
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]


def test_a_download_is_unpacked_recorded_and_not_repeated(serve, pairs, small):
    server = serve(archive_of(pairs))
    for _ in range(2):
        download(small, keep_zip=True)
    assert_complete(small.folder)
    assert server.downloads == 1
    record = json.loads((small.folder / "download.json").read_text())
    assert record["sha256"] == hashlib.sha256(server.archive).hexdigest()
    assert small.folder.with_suffix(".zip").read_bytes() == server.archive


def test_only_images_without_a_tumor_are_unpacked(serve, small_no_tumor):
    server = serve(archive_with(*WITH_TUMOR, *WITHOUT_TUMOR))
    for _ in range(2):
        download(small_no_tumor)
    assert server.downloads == 1 and b"brain-tumor-mri-dataset" in server.asked[0]
    files = {path.name: path.read_text() for path in small_no_tumor.folder.rglob("*.jpg")}
    names = ("training-Tr-no_0010.jpg", "training-2.jpg", "testing-2.jpg")
    assert files == dict(zip(names, WITHOUT_TUMOR, strict=True))
    assert {path.name for path in small_no_tumor.folder.iterdir()} == {"images", "download.json"}
    assert [path.name for path in small_no_tumor.folder.parent.iterdir()] == ["no-tumor"]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (WITH_TUMOR, 0),
        (WITHOUT_TUMOR[:2], 2),
        ((*WITHOUT_TUMOR, "Testing/notumor/3.jpg"), 4),
        (("a/Testing/notumor/2.jpg", *WITHOUT_TUMOR[1:]), 2),  # two files of one name
        (("glioma/notumor/2.jpg", *WITHOUT_TUMOR[1:]), 2),
    ],
)
def test_another_number_of_images_without_a_tumor_is_refused(names, found, serve, small_no_tumor):
    serve(archive_with(*names))
    with pytest.raises(UserError, match=f"contains {found} images .*, not 3: .* name them with --no-tumor"):
        download(small_no_tumor)
    assert not list(small_no_tumor.folder.parent.rglob("*.jpg"))


def test_a_hostile_archive_without_tumors_is_refused(serve, small_no_tumor):
    serve(archive_with(*WITHOUT_TUMOR, "../Training/notumor/x.jpg"))
    with pytest.raises(UserError, match="points outside"):
        download(small_no_tumor)
    assert not small_no_tumor.folder.exists()


def test_folders_without_tumors_exist_or_are_downloaded(serve, small_no_tumor, tmp_path, monkeypatch):
    serve(archive_with(*WITHOUT_TUMOR))
    monkeypatch.setattr(folders, "NO_TUMOR", small_no_tumor)
    named = (tmp_path, small_no_tumor.folder)
    assert folders.no_tumor_folders(named) == named
    assert len(list(small_no_tumor.folder.rglob("*.jpg"))) == 3
    with pytest.raises(
        UserError, match="'missing' does not exist or is not accessible: .* unet.data.download --no-tumor"
    ):
        folders.no_tumor_folders((tmp_path, Path("missing")))


def test_46_cut_off(serve, pairs, small, survived):
    server = serve(archive_of(pairs), "cuts")
    download(small)
    assert_complete(small.folder)
    assert server.downloads == 2 and server.ranges[1]
    survived(46, "connection cut in the middle", "downloaded again")


def test_46_wrong_hash(serve, pairs, small, survived):
    server = serve(archive_of(pairs))
    with pytest.raises(UserError, match="has the hash") as error:
        download(replace(small, sha256="0" * 64))
    assert server.downloads == 2 and not small.folder.exists()
    message = re.sub(r"hash \w+", "hash ", str(error.value))
    survived(46, "archive with another hash", f"downloaded again, then exit 2: {message}")


def test_46_stall(serve, pairs, small, monkeypatch, survived):
    serve(archive_of(pairs), "stalls")
    monkeypatch.setattr(downloading, "SECONDS_WITHOUT_A_BYTE", 4)
    start = time.monotonic()
    with pytest.raises(UserError, match="has sent nothing for 4 s"):
        download(small)
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
        downloading.unpack(path, replace(PUBLISHED, folder=tmp_path / "set", images=1))
    assert not path.exists()


@pytest.mark.parametrize(
    ("injected", "make", "expected"),
    [
        ("archive with ../", lambda pairs: archive_of(pairs, "../x.png"), "points outside"),
        ("archive with an absolute path", lambda pairs: archive_of(pairs, "/tmp/x.png"), "points outside"),
        ("archive with a link", lambda pairs: archive_of(pairs, link()), "points outside"),
        pytest.param("archive that unpacks to 5 GiB", zip_bomb, "would unpack to 5 GiB", marks=pytest.mark.slow),
        ("archive cut in half", lambda pairs: archive_of(pairs)[:3000], "is damaged"),
        ("archive of another data set", lambda pairs: archive_of(pairs / "images"), "does not contain 12 images"),
    ],
)
def test_47_hostile_archive(injected, make, expected, serve, pairs, small, tmp_path, survived):
    serve(make(pairs))
    before = {path for path in tmp_path.rglob("*") if "data" not in path.parts}
    with pytest.raises(UserError, match=expected) as error:
        download(small)
    created = {path for path in tmp_path.rglob("*") if "data" not in path.parts} - before
    assert all(path.is_relative_to(tmp_path / "home") for path in created)
    assert not small.folder.exists()
    assert not list(small.folder.parent.glob(".unpacking-*"))
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


@pytest.mark.parametrize(
    ("options", "dataset", "other_way"),
    [((), PUBLISHED, "--data phantom"), (("--no-tumor",), NO_TUMOR, "images of its notumor folders")],
)
def test_no_network(options, dataset, other_way, tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = [sys.executable, "-m", "unet.data.download", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    for words in ("cannot be reached", f"'{dataset.folder}'", f"kaggle.com/datasets/{dataset.slug} ", other_way):
        assert words in done.stderr
